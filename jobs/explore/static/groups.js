// @ts-check
// What stays: three figures, and a row for each group with its own small distribution.

import { barsOf, drawBars, penOf } from "./chart.js";
import { byId, make } from "./dom.js";
import { about, exactly, share } from "./numbers.js";

/** @typedef {import("./bins.js").Distribution} Distribution */
/** @typedef {import("./bins.js").Band} Band */
/** @typedef {import("./bins.js").Sizes} Sizes */
/** @typedef {{before: Sizes, after: Sizes}} Kept */

const SIZES = ["documents", "tokens", "bytes"];
const SMALL = { width: 110, height: 30 };

/** The figures of everything. @param {Kept} whole @param {boolean} isExact */
export function showCards(whole, isExact) {
  const said = isExact ? exactly : about;
  byId("cards").replaceChildren(
    ...SIZES.map((name, i) =>
      make(
        "div",
        {},
        make("dt", {}, name),
        make("dd", {}, share(whole.after[i], whole.before[i]),
          make("small", {}, `${said(whole.after[i])} of ${exactly(whole.before[i])}`)),
      ),
    ),
  );
}

/** The table of groups; its cells are filled again and again, its canvases drawn. */
export class Groups {
  /** @param {Distribution} shape @param {string} column */
  constructor(shape, column) {
    this.shape = shape;
    this.size = 0;
    this.bars = barsOf(shape, SMALL.width, this.size);
    /** @type {{canvas: HTMLCanvasElement, cells: HTMLElement[], mix: HTMLElement[]}[]} */
    this.rows = [];
    const body = make("tbody");
    for (const [i, name] of shape.names.entries()) {
      const swatch = make("span", { class: `swatch c${Math.min(i, 9)}` });
      const canvas = make("canvas", { role: "img", "aria-label": `Distribution of ${name}` });
      const cells = [0, 1, 2, 3, 4].map(() => make("td"));
      const mix = ["before", "after"].map((one) => make("div", { class: `mix ${one} c${Math.min(i, 9)}` }));
      body.append(
        make("tr", {}, make("th", { scope: "row" }, swatch, name), make("td", { class: "small" }, canvas),
          ...cells, make("td", { class: "mixes" }, ...mix)),
      );
      this.rows.push({ canvas, cells, mix });
    }
    const heads = ["distribution", "documents", "kept", "share", "of tokens", "of bytes", "mix"];
    const table = make("table", {},
      make("caption", {}, make("span", {}, "How much of each group stays, and its share of the mix: upper bar before the cut, lower bar after.")),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, column), ...heads.map((one) => make("th", { scope: "col" }, one)))),
      body);
    const box = make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": `Groups by ${column}` }, table);
    byId("groups").replaceChildren(box);
  }

  /** @param {Band[]} bands @param {number} size */
  draw(bands, size) {
    if (size !== this.size) {
      this.size = size;
      this.bars = barsOf(this.shape, SMALL.width, size);
    }
    const bars = this.bars;
    for (const [i, { canvas }] of this.rows.entries()) {
      const pen = penOf(canvas, SMALL.width, SMALL.height);
      const top = Math.max(1e-9, ...bars.totals[i]);
      drawBars(pen, this.shape, bars, bands, { ...SMALL, top, groups: [i], gap: 0 });
    }
  }

  /** @param {Kept[]} groups @param {Kept} whole @param {boolean} isExact */
  fill(groups, whole, isExact) {
    const said = isExact ? exactly : about;
    const mixes = groups.map(({ before, after }) => [before[0] / (whole.before[0] || 1), after[0] / (whole.after[0] || 1)]);
    const most = Math.max(1e-9, ...mixes.flat());
    for (const [i, { before, after }] of groups.entries()) {
      const { cells, mix } = this.rows[i];
      const texts = [
        exactly(before[0]), said(after[0]), share(after[0], before[0]),
        share(after[1], before[1]), share(after[2], before[2]),
      ];
      for (const [j, text] of texts.entries()) cells[j].textContent = text;
      for (const [j, part] of mixes[i].entries()) {
        mix[j].style.width = `${(100 * part) / most}%`;
        mix[j].title = share(part, 1);
      }
    }
  }
}

/** Names beside their colours. @param {Distribution} shape */
export function showLegend(shape) {
  const named = shape.names.length > 1 ? shape.names : [];
  const shown = named.length > 10 ? [...named.slice(0, 9), `${named.length - 9} more`] : named;
  byId("legend").replaceChildren(
    ...shown.map((name, i) => make("li", {}, make("span", { class: `swatch c${i}` }), name)),
  );
}

