// @ts-check
// A second run beside the first: a scatter of the documents that both have, or an outline.

import { Latest, askBytes } from "./ask.js";
import { Distribution } from "./bins.js";
import { byId } from "./dom.js";
import { Scatter } from "./scatter.js";

/** @typedef {{names: [string, string], said: string, is_paired: boolean, missing: (string | null)[]}} Other */

export class Two {
  /**
   * @param {Other} other what the server says of it; empty without one
   * @param {ConstructorParameters<typeof Scatter>[1]} moved
   * @param {ConstructorParameters<typeof Scatter>[2]} nudge
   */
  constructor(other, moved, nudge) {
    this.other = other;
    this.scatter = other.is_paired ? new Scatter(byId("scatter"), moved, nudge) : null;
    this.asking = new Latest(0);
    byId("two").hidden = !other.said;
  }

  /** What is drawn first. */
  get metric() {
    return this.other.is_paired ? "difference" : "perplexity";
  }

  /**
   * Another metric, or condition: draw the scatter, and give the outline if there is one.
   * @param {import("./ask.js").Words} words @param {string} metric @returns {Promise<Distribution | null>}
   */
  async reshape(words, metric) {
    const { other, scatter } = this;
    if (!other.said) return null;
    const isMade = other.is_paired && (metric === "difference" || metric === "ratio");
    const missing = other.missing[Number(words.metric)];
    const say = (/** @type {string} */ more) => (byId("said").textContent = `${other.said}${more}`);
    say(missing === null ? "" : ` Of ${metric} nothing is drawn for ${other.names[1]}: ${missing}.`);
    // Until its documents are there, the lines are of another metric.
    byId("scatter").inert = true;
    if (missing !== null) byId("scatter").hidden = true;
    if (missing !== null) return null;
    const failed = (/** @type {Error} */ error) => say(` ${error.message}`);
    const label = `Documents by ${isMade ? "bits_per_byte" : metric} in ${other.names.join(" and ")}`;
    this.asking.later(async (signal) => {
      if (!scatter) return;
      const found = await askBytes("density", words, signal);
      byId("scatter").hidden = byId("scatter").inert = false;
      scatter.show(found, metric, label);
    }, failed);
    if (isMade) return null;
    return askBytes("outline", words).then((found) => new Distribution(found)).catch((error) => (failed(error), null));
  }

  /** The band was moved. @type {Scatter["cut"]} */
  cut(band, places, said) {
    this.scatter?.cut(band, places, said);
  }
}
