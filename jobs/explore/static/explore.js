// @ts-check
// READ FIRST. The page: what is chosen, and what follows from it.
//
// Whatever changes the view calls `changed`: handles and figures follow at once, from the bins; what
// is exact, and documents, when the hand has rested.

import { Latest, ask, askBytes } from "./ask.js";
import { Distribution } from "./bins.js";
import { Chart } from "./chart.js";
import { byId, fill, inputOf, make, selectOf } from "./dom.js";
import { showExamples } from "./examples.js";
import { Groups, showCards, showLegend } from "./groups.js";
import { introduce } from "./intro.js";
import { listenToJudging, showStanding } from "./judge.js";
import { listenToKeys } from "./keys.js";
import { exactly, typed } from "./numbers.js";
import { copyCommand, listenToCopy, showRule } from "./take.js";
import { ends, readAddress, remember, same, state } from "./view.js";

/** @typedef {import("./bins.js").Band} Band */
/** @typedef {import("./bins.js").Sizes} Sizes */
/** @typedef {import("./view.js").Side} Side */
/** @typedef {import("./view.js").Unit} Unit */
/** @typedef {import("./view.js").Place} Place */

const RESTED = 250;
/** @type {any} */
let run = null;
/** What is drawn: of the documents that the condition leaves. @type {Distribution | null} */
let shape = null;
/** Of all documents: percentiles are of these. @type {Distribution | null} */
let base = null;
let turns = 0;
/** @type {Groups | null} */
let table = null;
const counting = new Latest(RESTED);
const reading = new Latest(RESTED);
const sorting = new Latest(4 * RESTED);
const chart = new Chart(byId("chart"), (side, place) => drag(side, place), (side, steps) => nudge(side, steps));

/** @param {Error | null} error */
const complain = (error) =>
  byId("notes").replaceChildren(...(error ? [make("p", { class: "note" }, error.message)] : []));

/** The question's words for a distribution; columns are named by their places. */
const about = () => ({
  metric: run.metrics.findIndex((/** @type {any} */ one) => one.name === state.metric),
  by: state.by === "" ? null : run.columns.indexOf(state.by),
});
const narrow = () => ({ where: state.where || null });
const asked = () => ({ ...about(), ...narrow(), unit: state.unit, ...state.band });

/** The values at the ends, for one group or all. @param {number | null} group @returns {Band} */
function bandOf(group) {
  if (!base || state.unit === "value") return state.band;
  const own = state.unit === "within" && group !== null ? base.groups[group] : base.whole;
  const at = (/** @type {number | null} */ end) => (end === null || !own.bins.length ? null : own.valueAt(end));
  return { low: at(state.band.low), high: at(state.band.high) };
}

/** A handle was moved. @param {Side} side @param {number} place from 0 to 1 */
function drag(side, place) {
  if (!shape) return;
  const isOpen = side === "low" ? place <= 0 : place >= 1;
  setEnd(side, isOpen ? null : endOf(shape.valueOf(place)));
}

/** The keyboard moves a handle: by bins, or by percents. @param {Side} side @param {number} steps */
function nudge(side, steps) {
  if (!shape) return;
  if (state.unit === "value") {
    drag(side, Math.min(1, Math.max(0, chart.places[side] + steps / shape.span)));
    return;
  }
  const percent = Number(((state.band[side] ?? (side === "low" ? 0 : 100)) + steps).toFixed(1));
  setEnd(side, percent <= 0 && side === "low" ? null : percent >= 100 && side === "high" ? null : percent);
}

/** A value in the unit of the cut: so few digits that a person would type them. @param {number} value */
function endOf(value) {
  if (!base) return null;
  // What is shown is what is counted and exported.
  if (state.unit === "value") return Number(value.toPrecision(base.scale.kind === "log" ? 4 : 6));
  return Number(base.whole.percentOf(value).toFixed(1));
}

/** Ends do not cross. @param {Side} side @param {number | null} end */
function setEnd(side, end) {
  const other = state.band[side === "low" ? "high" : "low"];
  const crossed = end !== null && other !== null && (side === "low" ? end > other : end < other);
  state.band = { ...state.band, [side]: crossed ? other : end };
  changed();
}

/** Handles, figures and the table follow from the bins; then the server is asked. */
function changed() {
  if (!shape) return;
  showRule(null);
  showBand();
  counting.later(count, complain);
  read();
}

function showBand() {
  if (!shape || !base) return;
  const whole = bandOf(null);
  const bands = shape.groups.map((_, i) => bandOf(i));
  const places = {
    low: whole.low === null ? 0 : shape.placeOf(whole.low),
    high: whole.high === null ? 1 : shape.placeOf(whole.high),
  };
  const unit = state.unit === "value" ? state.metric : "percent";
  const said = (/** @type {number | null} */ end) => (end === null ? "open" : `${end} ${unit}`);
  chart.cut(bands, places, { low: said(state.band.low), high: said(state.band.high) });
  for (const side of ends) {
    const input = inputOf(side);
    if (document.activeElement !== input) input.value = state.band[side] === null ? "" : `${state.band[side]}`;
    input.removeAttribute("aria-invalid");
  }
  byId("same").textContent = same(base, whole);
  const all = base.groups;
  const groups = shape.groups.map((group, i) => ({ before: all[i].all, after: group.kept(bands[i]) }));
  const sum = /** @type {Sizes} */ ([0, 1, 2].map((i) => groups.reduce((all, one) => all + one.after[i], 0)));
  figures({ before: base.whole.all, after: sum }, groups, false);
  byId("exactly").textContent = "Estimated from the bins; counting exactly …";
  table?.draw(bands, state.size);
}

/** @param {import("./groups.js").Kept} whole @param {import("./groups.js").Kept[]} groups @param {boolean} isExact */
function figures(whole, groups, isExact) {
  showCards(whole, isExact);
  table?.fill(groups, whole, isExact);
}

/** @param {AbortSignal} signal */
async function count(signal) {
  remember(); // not at every move: browsers take only so many
  const found = await ask("count", asked(), signal);
  const sizes = (/** @type {any} */ one) => /** @type {Sizes} */ ([one.documents, one.tokens, one.bytes]);
  complain(null);
  figures(
    { before: sizes(found.before), after: sizes(found.after) },
    found.groups.map((/** @type {Sizes[]} */ [before, after]) => ({ before, after })), true);
  const unscored = /** @type {number[]} */ (Object.values(found.unscored)).reduce((a, b) => a + b, 0);
  byId("exactly").textContent = `Counted exactly.${unscored ? ` ${exactly(unscored)} documents without a score are dropped.` : ""}`;
  showRule(found);
  showStanding();
}

function read() {
  const isOpen = state.place !== "random" && state.band[state.place] === null;
  const words = { ...asked(), place: state.place, seed: state.seed, group: state.group || null };
  byId("draw").hidden = state.place !== "random";
  reading.later(async (signal) => {
    showExamples(await ask("examples", words, signal), state.place, state.metric, isOpen);
  }, complain);
}

/** Another metric or column: another distribution. */
async function reshape() {
  const turn = (turns += 1);
  byId("exactly").textContent = "Reading the scores; counting exactly …";
  showRule(null);
  const whole = new Distribution(await askBytes("bins", about()));
  const own = state.where ? new Distribution(await askBytes("bins", { ...about(), ...narrow() })) : whole;
  if (turn !== turns) return; // another choice was made meanwhile
  [base, shape] = [whole, own];
  byId("what").textContent = `Documents by ${state.metric}`;
  chart.show(shape, state.size, `Distribution of ${state.metric}, ${shape.names.length} groups`);
  showLegend(shape);
  complain(null);
  table = state.by === "" ? null : new Groups(shape, state.by);
  if (!table) byId("groups").replaceChildren();
  const choices = shape.names.map((name, i) => /** @type {[string, string]} */ ([`${i}`, name]));
  sorting.later(async (signal) => {
    byId("sorts").textContent = (await ask("sorts", { by: about().by }, signal)).said;
  }, complain);
  if (state.by === "" || Number(state.group) >= choices.length) state.group = "";
  fill(selectOf("group"), [["", "all groups"], ...(state.by === "" ? [] : choices)], state.group);
  changed();
}

function restore() {
  readAddress(run);
  const names = run.metrics.map((/** @type {any} */ one) => one.name);
  const metrics = names.map((/** @type {string} */ name) => [name, name]);
  fill(selectOf("metric"), metrics, state.metric);
  fill(selectOf("by"), [["", "none"], ...run.columns.map((/** @type {string} */ name) => [name, name])], state.by);
  inputOf("where").value = state.where;
  selectOf("unit").value = state.unit;
  selectOf("size").value = `${state.size}`;
  choosePlace(state.place);
}

/** @param {Place} place */
function choosePlace(place) {
  state.place = place;
  for (const input of byId("places").querySelectorAll("input")) input.checked = input.value === place;
}

/** Ends that a person typed; crossed ones sort themselves. @param {Side} side */
function type(side) {
  try {
    state.band[side] = typed(inputOf(side).value);
  } catch (error) {
    inputOf(side).setAttribute("aria-invalid", "true");
    complain(/** @type {Error} */ (error));
    return;
  }
  complain(null);
  const { low, high } = state.band;
  if (low !== null && high !== null && low > high) state.band = { low: high, high: low };
  changed();
  for (const one of ends) inputOf(one).value = state.band[one] === null ? "" : `${state.band[one]}`;
}

/** Keep the cut where it is in the new unit. @param {Unit} unit */
function chooseUnit(unit) {
  if (unit === "within" && state.by === "") {
    selectOf("unit").value = state.unit;
    complain(new Error("Choose a column of groups first."));
    return;
  }
  const values = bandOf(null);
  state.unit = unit;
  for (const side of ends) {
    const value = values[side];
    if (value !== null) state.band[side] = endOf(value);
  }
  changed();
}

const draw = () => {
  if (state.place === "random") state.seed += 1;
  choosePlace("random");
  changed();
};

function listen() {
  const chosen = (/** @type {string} */ id, /** @type {(value: string) => void} */ then) =>
    selectOf(id).addEventListener("change", () => then(selectOf(id).value));
  chosen("metric", (value) => {
    state.metric = value;
    if (state.unit === "value") state.band = { low: null, high: null };
    reshape().catch(complain);
  });
  chosen("by", (value) => {
    state.by = value;
    if (value === "" && state.unit === "within") state.unit = "percentile";
    selectOf("unit").value = state.unit;
    reshape().catch(complain);
  });
  chosen("unit", (value) => chooseUnit(/** @type {Unit} */ (value)));
  chosen("size", (value) => {
    state.size = Number(value);
    if (shape) chart.show(shape, state.size, `Distribution of ${state.metric}`);
    showBand();
    changed();
  });
  chosen("group", (value) => { state.group = value; read(); });
  inputOf("where").addEventListener("change", () => {
    state.where = inputOf("where").value.trim();
    reshape().catch(complain);
  });
  for (const side of ends) inputOf(side).addEventListener("change", () => type(side));
  byId("reset").addEventListener("click", () => { state.band = { low: null, high: null }; changed(); });
  byId("places").addEventListener("change", (event) => {
    choosePlace(/** @type {any} */ (event.target).value);
    remember();
    read();
  });
  byId("draw").addEventListener("click", draw);
  listenToCopy();
  window.addEventListener("hashchange", () => { restore(); reshape().catch(complain); });
  const look = (/** @type {Place} */ place) => () => { choosePlace(place); remember(); read(); };
  const judging = listenToJudging({
    asked,
    cut: (side, value) => { state.band = { low: null, high: null, [side]: value }; changed(); },
  }, run.judgements);
  listenToKeys({ ...judging, c: copyCommand, r: draw, "[": look("low"), "]": look("high") });
}

async function begin() {
  run = await ask("run");
  introduce(run);
  restore();
  listen();
  await reshape();
}

begin().catch(complain);
