// @ts-check
// The band, or the band of each group: in the unit of the cut, as values, and how its ends move.

import { remark } from "./dom.js";
import { typed } from "./numbers.js";
import { ends, state } from "./view.js";

/** @typedef {import("./bins.js").Band} Band */
/** @typedef {import("./bins.js").Distribution} Distribution */
/** @typedef {import("./view.js").Side} Side */
/** @typedef {import("./view.js").Unit} Unit */
/** @typedef {number | null} Of a group, by its place; null for the band of all that have none of their own */

/** In the unit of the cut. @param {Of} group @returns {Band} */
export const givenTo = (group) => (group !== null && state.unit === "each" ? state.own.get(group) : null) ?? state.band;

/** @param {Of} group @param {Band} band */
export function give(group, band) {
  if (group === null || state.unit !== "each") state.band = band;
  else state.own.set(group, band);
}

/** Keep everything. */
export function openAll() {
  state.band = { low: null, high: null };
  dropOwn();
}

/** Its ends as values. @param {Distribution} base of all documents @param {Of} group @returns {Band} */
export function valuesOf(base, group) {
  const { low, high } = givenTo(group);
  if (isOfValues()) return { low, high };
  const own = state.unit === "within" && group !== null ? base.groups[group] : base.whole;
  const at = (/** @type {number | null} */ end) => (end === null || !own.bins.length ? null : own.valueAt(end));
  return { low: at(low), high: at(high) };
}

const isOfValues = () => state.unit === "value" || state.unit === "each";

/** @param {Distribution} base */
const digitsOf = (base) => ({ log: 4, linear: 6, whole: 17 })[base.scale.kind];

/** A value in the unit of the cut: so few digits that a person would type them. @param {Distribution} base @param {number} value */
function endOf(base, value) {
  // What is shown is what is counted and exported.
  if (isOfValues()) {
    const near = Number(value.toPrecision(digitsOf(base)));
    return Number.isFinite(near) ? near : value;
  }
  return Number(base.whole.percentOf(value).toFixed(1));
}

/** Ends do not cross. @param {Side} side @param {number | null} end @param {Of} group */
function setEnd(side, end, group) {
  const band = givenTo(group);
  const other = band[side === "low" ? "high" : "low"];
  const crossed = end !== null && other !== null && (side === "low" ? end > other : end < other);
  give(group, { ...band, [side]: crossed ? other : end });
}

/** To a place from 0 to 1. @param {Distribution} shape @param {Distribution} base @param {Side} side @param {number} place @param {Of} group */
export function dragEnd(shape, base, side, place, group) {
  const isOpen = side === "low" ? place <= 0 : place >= 1;
  moveEnd(base, side, isOpen ? null : shape.endAt(place, side), group);
}

/** To a value; null is to the end. @param {Distribution} base @param {Side} side @param {number | null} value @param {Of} group */
export function moveEnd(base, side, value, group) {
  setEnd(side, value === null ? null : endOf(base, value), group);
}

/** By bins, or by percents. @param {Distribution} shape @param {Distribution} base @param {Side} side @param {number} steps @param {Of} group */
export function nudgeEnd(shape, base, side, steps, group) {
  const end = givenTo(group)[side];
  if (isOfValues()) {
    dragEnd(shape, base, side, Math.min(1, Math.max(0, placeOf(shape, side, end) + steps / shape.span)), group);
    return;
  }
  const percent = Number(((end ?? (side === "low" ? 0 : 100)) + steps).toFixed(1));
  const isOpen = side === "low" ? percent <= 0 : percent >= 100;
  setEnd(side, isOpen ? null : percent, group);
}

/** Where an end is on the axis. @param {Distribution} shape @param {Side} side @param {number | null} value */
export const placeOf = (shape, side, value) => (value === null ? (side === "low" ? 0 : 1) : shape.edgeOf(value, side));

/** In words. @param {number | null} end */
export const saidOf = (end) => (end === null ? "open" : `${end} ${isOfValues() ? state.metric : "percent"}`);

/** An end in the unit of the cut. Throws where that has no such end. @param {string} text */
function readEnd(text) {
  const end = typed(text);
  const said = text.trim();
  if (isOfValues() && end !== null && said.endsWith("%")) {
    throw new Error(`${said} is no value of ${state.metric}: to cut by percentiles, choose them under "Cut by"`);
  }
  if (!isOfValues() && end !== null && (end < 0 || end > 100)) throw new Error(`${said} is no percentile: they go from 0 to 100`);
  return end;
}

/**
 * Ends that a person typed; gives whether they were crossed, and have been put in order. Throws, and
 * changes nothing, where it is no end. @param {Side} side @param {string} text @param {Of} group
 */
export function typeEnd(side, text, group) {
  const end = readEnd(text);
  /** @type {Band} */
  const band = { ...givenTo(group) };
  band[side] = end;
  const { low, high } = band;
  const isCrossed = low !== null && high !== null && low > high;
  give(group, isCrossed ? { low: high, high: low } : { low, high });
  return isCrossed;
}

/** Show the band in its two fields, but not in one that is typed in. @param {Record<Side, HTMLInputElement>} fields @param {Band} band */
export function showEnds(fields, band) {
  for (const side of ends) {
    const field = fields[side];
    if (document.activeElement !== field) field.value = band[side] === null ? "" : `${band[side]}`;
  }
  // What is refused stays refused while it stands there.
  if (ends.some((side) => fields[side] === document.activeElement && fields[side].hasAttribute("aria-invalid"))) return;
  for (const side of ends) remark(fields[side], null);
}

/** The same, rounded so that what the end kept stays. @param {Distribution} base @param {number} value @param {Side} side */
function outside(base, value, side) {
  if (!isOfValues()) {
    const tenths = 10 * base.whole.percentTo(value, side);
    return (side === "low" ? Math.floor(tenths) : Math.ceil(tenths)) / 10;
  }
  const near = endOf(base, value);
  if (side === "low" ? near <= value : near >= value) return near;
  const step = 10 ** (Math.floor(Math.log10(Math.abs(value))) - digitsOf(base) + 1);
  return endOf(base, near + (side === "low" ? -step : step));
}

/** What the cut was in other units, until an end is moved. @type {Map<Unit, {band: Band, own: Map<number, Band>}>} */
const remembered = new Map();
let converted = "";
const wordsOfCut = () => JSON.stringify([state.metric, state.by, state.unit, state.band, ...state.own]);

/** Another unit, with the cut where it is. @param {Unit} unit @param {Distribution} shape @param {Distribution} base */
export function convert(unit, shape, base) {
  if (converted !== wordsOfCut()) remembered.clear();
  const was = state.unit;
  remembered.set(was, { band: state.band, own: new Map(state.own) });
  const whole = valuesOf(base, null);
  const each = shape.groups.map((_, group) => valuesOf(base, group));
  const wereValues = isOfValues();
  state.unit = unit;
  const into = (/** @type {Band} */ { low, high }) => ({
    low: low === null ? null : outside(base, low, "low"), high: high === null ? null : outside(base, high, "high"),
  });
  const known = remembered.get(unit);
  if (known) [state.band, state.own] = [known.band, new Map(known.own)];
  else if (wereValues !== isOfValues()) state.band = into(whole);
  if (!known && unit === "each" && was === "within") state.own = new Map(each.map((band, group) => [group, into(band)]));
  converted = wordsOfCut();
}

/** @type {Map<string, Map<number, Band>>} */
const ownByColumn = new Map();

/** Group by another column; that one's bands of groups come back with it. @param {string} column */
export function turnTo(column) {
  ownByColumn.set(state.by, state.own);
  state.by = column;
  state.own = ownByColumn.get(column) ?? new Map();
}

/** No group has a band of its own, by any column. */
export function dropOwn() {
  state.own = new Map();
  ownByColumn.clear();
}
