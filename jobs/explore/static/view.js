// @ts-check
// What is chosen on the page, and the same in the part of its address that is never sent.

import { figure } from "./numbers.js";

/** @typedef {import("./bins.js").Band} Band */
/** @typedef {"low" | "high"} Side */
/** @typedef {"value" | "percentile" | "within"} Unit */
/** @typedef {"low" | "high" | "random"} Place */
/** @typedef {{metrics: {name: string}[], columns: string[], by: string | null}} Run */

export const ends = /** @type {Side[]} */ (["low", "high"]);

export const state = {
  metric: "",
  /** The column of groups; empty for none. */
  by: "",
  unit: /** @type {Unit} */ ("value"),
  /** Which of Sizes the bars show. */
  size: 0,
  /** A condition; empty for none. */
  where: "",
  band: /** @type {Band} */ ({ low: null, high: null }),
  place: /** @type {Place} */ ("high"),
  /** The group whose documents are shown, by its place; empty for all. */
  group: "",
  seed: 0,
};

/** Write the view into the address. */
export function remember() {
  const words = new URLSearchParams({ metric: state.metric, by: state.by, cut: state.unit, at: state.place });
  if (state.where) words.set("where", state.where);
  if (state.size) words.set("size", `${state.size}`);
  for (const side of ends) if (state.band[side] !== null) words.set(side, `${state.band[side]}`);
  history.replaceState(null, "", `#${words}`);
}

/** Read it back; what the run does not have is left at its default. @param {Run} run */
export function readAddress(run) {
  const words = new URLSearchParams(location.hash.slice(1));
  const names = run.metrics.map((one) => one.name);
  const metric = words.get("metric") ?? "perplexity";
  state.metric = names.includes(metric) ? metric : names[0];
  const by = words.get("by") ?? run.by ?? "";
  state.by = run.columns.includes(by) ? by : "";
  state.where = words.get("where") ?? "";
  const unit = words.get("cut");
  state.unit = unit === "percentile" || (unit === "within" && state.by !== "") ? unit : "value";
  const place = words.get("at");
  state.place = place === "low" || place === "random" ? place : "high";
  state.size = ["0", "1", "2"].indexOf(words.get("size") ?? "0");
  if (state.size < 0) state.size = 0;
  for (const side of ends) {
    const end = Number(words.get(side) || NaN);
    state.band[side] = Number.isFinite(end) ? end : null;
  }
}

/** The same band in the other unit. @param {import("./bins.js").Distribution} base @param {Band} whole */
export function same(base, whole) {
  if (state.band.low === null && state.band.high === null) return state.where ? "" : "Nothing is cut off yet.";
  const { low, high } = whole;
  if (state.unit === "value") {
    const percent = (/** @type {number | null} */ end, /** @type {number} */ open) =>
      end === null ? open : base.whole.percentOf(end);
    return `about percentiles ${percent(low, 0).toFixed(1)} to ${percent(high, 100).toFixed(1)}`;
  }
  const of = state.unit === "within" ? ", all groups together: " : ": ";
  return `${state.metric}${of}about ${low === null ? "the lowest" : figure(low)} to ${high === null ? "the highest" : figure(high)}`;
}
