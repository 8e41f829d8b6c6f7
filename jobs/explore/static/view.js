// @ts-check
// What is chosen on the page, and the same in the part of its address that is never sent.

import { figure } from "./numbers.js";

/** @typedef {import("./bins.js").Band} Band */
/** @typedef {"low" | "high"} Side */
/** @typedef {"value" | "percentile" | "within" | "each"} Unit values of all, percentiles of all or in each group, values of each group */
/** @typedef {"low" | "high" | "random"} Place */
/** @typedef {{metrics: string[], columns: string[], by: string | null}} Run */

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
  /** Of the unit "each": the bands of groups that have another one, by their places. */
  own: /** @type {Map<number, Band>} */ (new Map()),
  place: /** @type {Place} */ ("high"),
  /** The group whose documents are shown, by its place; empty for all. */
  group: "",
  seed: 0,
};

/** The bands of groups that have one of their own, as in an address; null where none is asked for. */
export const ownWords = () => (state.unit !== "each" ? null : [...state.own]
  .filter(([, { low, high }]) => low !== state.band.low || high !== state.band.high)
  .map(([place, { low, high }]) => [place, low ?? "", high ?? ""].join(":")).join(","));

/** Write the view into the address. */
export function remember() {
  const words = new URLSearchParams({ metric: state.metric, by: state.by, cut: state.unit, at: state.place });
  if (state.where) words.set("where", state.where);
  if (state.size) words.set("size", `${state.size}`);
  for (const side of ends) if (state.band[side] !== null) words.set(side, `${state.band[side]}`);
  const own = ownWords();
  if (own) words.set("own", own);
  history.replaceState(null, "", `#${words}`);
}

/** Read it back; what the run does not have is left at its default. @param {Run} run @param {string} first the metric */
export function readAddress(run, first) {
  const words = new URLSearchParams(location.hash.slice(1));
  const metric = words.get("metric") ?? first;
  state.metric = run.metrics.includes(metric) ? metric : first;
  const by = words.get("by") ?? run.by ?? "";
  state.by = run.columns.includes(by) ? by : "";
  state.where = words.get("where") ?? "";
  const unit = words.get("cut");
  state.unit = unit === "percentile" || ((unit === "within" || unit === "each") && state.by !== "") ? unit : "value";
  const place = words.get("at");
  state.place = place === "low" || place === "random" ? place : "high";
  state.size = ["0", "1", "2"].indexOf(words.get("size") ?? "0");
  if (state.size < 0) state.size = 0;
  const number = (/** @type {string | null | undefined} */ word) => (word && Number.isFinite(Number(word)) ? Number(word) : null);
  state.band = { low: number(words.get("low")), high: number(words.get("high")) };
  const own = (words.get("own") ?? "").split(",").map((one) => one.split(":")).filter(([place]) => /^\d{1,4}$/.test(place));
  state.own = new Map(own.map(([place, low, high]) => [Number(place), { low: number(low), high: number(high) }]));
}

/** The same band in the other unit. @param {import("./bins.js").Distribution} base @param {Band} whole */
export function same(base, whole) {
  if (state.band.low === null && state.band.high === null) return state.where || (state.unit === "each" && state.own.size) ? "" : "Nothing is cut off yet.";
  const { low, high } = whole;
  if (state.unit === "value" || state.unit === "each") {
    const percent = (/** @type {number | null} */ end, /** @type {number} */ open) =>
      end === null ? open : base.whole.percentOf(end);
    const others = state.unit === "each" && state.own.size ? `; ${state.own.size} of the groups have a band of their own` : "";
    return `about percentiles ${percent(low, 0).toFixed(1)} to ${percent(high, 100).toFixed(1)}${others}`;
  }
  const of = state.unit === "within" ? ", all groups together: " : ": ";
  return `${state.metric}${of}about ${low === null ? "the lowest" : figure(low)} to ${high === null ? "the highest" : figure(high)}`;
}
