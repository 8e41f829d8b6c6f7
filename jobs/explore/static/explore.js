// @ts-check
// READ FIRST. The page: what is chosen, and what follows from it.
//
// Whatever changes the view calls `changed`: handles and figures follow at once, from the bins; what
// is exact, and documents, when the hand has rested.

import { Latest, Refused, ask, askBytes } from "./ask.js";
import { convert, dragEnd, dropOwn, givenTo, moveEnd, nudgeEnd, openAll, placeOf, saidOf, showEnds, turnTo, typeEnd, valuesOf } from "./bands.js";
import { Distribution } from "./bins.js";
import { Chart } from "./chart.js";
import { byId, fill, inputOf, remark, selectOf, withOptions } from "./dom.js";
import { showExamples, showNoExamples } from "./examples.js";
import { complain, showNoCount, showNoRun, showNothing } from "./failure.js";
import { Groups, showFigures, showLegend } from "./groups.js";
import { introduce } from "./intro.js";
import { listenToJudging, showStanding } from "./judge.js";
import { listenToKeys } from "./keys.js";
import { counted } from "./numbers.js";
import { copyCommand, listenToCopy, showRule } from "./take.js";
import { Two } from "./two.js";
import { ends, ownWords, readAddress, remember, same, state } from "./view.js";

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
/** The last condition that could be read. */
let goodWhere = "";
/** @type {Two} */
let two;
/** @type {Groups | null} */
let table = null;
const counting = new Latest(RESTED);
const reading = new Latest(RESTED);
const sorting = new Latest(4 * RESTED);
const fields = { low: inputOf("low"), high: inputOf("high") };

/** The question's words for a distribution; columns are named by their places. */
const about = () => ({
  metric: run.metrics.indexOf(state.metric),
  by: state.by === "" ? null : run.columns.indexOf(state.by),
});
const narrow = () => ({ where: state.where || null });
const asked = () => ({ ...about(), ...narrow(), unit: state.unit, ...state.band, own: ownWords() });

/**
 * Ends are moved, of all documents or of a group; then what follows.
 * @param {(shape: Distribution, base: Distribution) => void} move
 */
function moved(move) {
  if (!shape || !base) return;
  move(shape, base);
  changed();
}

/** What handles do. @param {number | null} group null for all @returns {import("./handle.js").Moves} */
const movesOf = (group) => ({
  drag: (side, place) => moved((shape, base) => dragEnd(shape, base, side, place, group)),
  nudge: (side, steps) => moved((shape, base) => nudgeEnd(shape, base, side, steps, group)),
});
/** What is done to the band of a group. @type {import("./groups.js").Bands} */
const ownBands = { movesOf, type, follow: (group) => { state.own.delete(group); changed(); } };
const chart = new Chart(byId("chart"), movesOf(null));

/** Handles, figures and the table follow from the bins; then the server is asked. What was said of
 * the cut before is marked as old at once, however long the answer takes. */
function changed() {
  if (!shape) return;
  showRule(null);
  showBand();
  showStanding();
  counting.later(count, showNoCount);
  read();
}

function showBand() {
  if (!shape || !base) return;
  const whole = valuesOf(base, null);
  const bands = shape.groups.map((_, i) => valuesOf(/** @type {Distribution} */ (base), i));
  const places = { low: placeOf(shape, "low", whole.low), high: placeOf(shape, "high", whole.high) };
  const words = { low: saidOf(state.band.low), high: saidOf(state.band.high) };
  chart.cut(bands, places, words);
  two.cut(whole, places, words);
  showEnds(fields, state.band);
  byId("same").textContent = same(base, whole);
  const all = base.groups;
  const groups = shape.groups.map((group, i) => ({ before: all[i].all, after: group.kept(bands[i]) }));
  const sum = /** @type {Sizes} */ ([0, 1, 2].map((i) => groups.reduce((all, one) => all + one.after[i], 0)));
  showFigures({ before: base.whole.all, after: sum }, groups, table, false);
  byId("exactly").textContent = "Estimated from the bins; counting exactly …";
  table?.draw(bands, state.size);
}

/** @param {AbortSignal} signal */
async function count(signal) {
  remember(); // not at every move: browsers take only so many
  const words = asked();
  const found = await ask("count", words, signal);
  const sizes = (/** @type {any} */ one) => /** @type {Sizes} */ ([one.documents, one.tokens, one.bytes]);
  complain(null);
  const groups = found.groups.map((/** @type {Sizes[]} */ [before, after]) => ({ before, after }));
  showFigures({ before: sizes(found.before), after: sizes(found.after) }, groups, table, true);
  const unscored = found.num_unscored;
  const dropped = unscored ? ` ${counted(unscored, "document")} without a score ${unscored === 1 ? "is" : "are"} dropped.` : "";
  byId("exactly").textContent = `Counted exactly.${dropped}`;
  showRule(found, words);
}

function read() {
  const { place } = state;
  const shown = state.group === "" ? (shape?.groups.keys() ?? []) : [Number(state.group)];
  const isOpen = place !== "random" && [...shown].every((group) => givenTo(group)[place] === null);
  const words = { ...asked(), place: state.place, seed: state.seed, group: state.group || null };
  byId("draw").hidden = state.place !== "random";
  reading.later(async (signal) => {
    showExamples(await ask("examples", words, signal), state.place, state.metric, isOpen);
  }, (error) => { complain(error); showNoExamples(); });
}

/** Another metric or column: another distribution. */
async function reshape() {
  const turn = (turns += 1);
  try {
    await draw(turn);
  } catch (error) {
    if (turn !== turns) return;
    if (error instanceof Refused && state.where !== goodWhere) {
      state.where = goodWhere;
      remark(inputOf("where"), `${error.message}\nNot applied: the page shows what it did before.`);
      await reshape();
      return;
    }
    [base, shape, table] = [null, null, null];
    for (const questions of [counting, reading]) questions.drop();
    chart.clear();
    showNothing(/** @type {Error} */ (error), state.metric);
  }
}

/** @param {number} turn */
async function draw(turn) {
  byId("exactly").textContent = "Reading the scores; counting exactly …";
  showRule(null);
  const whole = new Distribution(await askBytes("bins", about()));
  const own = state.where ? new Distribution(await askBytes("bins", { ...about(), ...narrow() })) : whole;
  const outline = await two.reshape({ ...about(), ...narrow() }, state.metric);
  if (turn !== turns) return; // another choice was made meanwhile
  [base, shape] = [whole, own];
  goodWhere = state.where;
  if (inputOf("where").value.trim() === state.where) remark(inputOf("where"), null);
  byId("what").textContent = `Documents by ${state.metric}`;
  if (outline) shape.cover(outline);
  chart.show(shape, state.size, `Distribution of ${state.metric}, ${shape.names.length} groups`, outline);
  showLegend(shape);
  complain(null);
  makeTable();
  const choices = shape.names.map((name, i) => /** @type {[string, string]} */ ([`${i}`, name]));
  sorting.later(async (signal) => {
    byId("sorts").replaceChildren(...withOptions((await ask("sorts", { by: about().by }, signal)).said));
  }, complain);
  if (state.by === "" || Number(state.group) >= choices.length) state.group = "";
  fill(selectOf("group"), [["", "all groups"], ...(state.by === "" ? [] : choices)], state.group);
  changed();
}

function makeTable() {
  table = state.by === "" || !shape ? null : new Groups(shape, state.by, state.unit === "each" ? ownBands : null);
  if (!table) byId("groups").replaceChildren();
}

function restore() {
  dropOwn();
  readAddress(run, two.metric);
  const choices = (/** @type {string[]} */ names) => names.map((name) => /** @type {[string, string]} */ ([name, name]));
  fill(selectOf("metric"), choices(run.metrics), state.metric);
  fill(selectOf("by"), [["", "none"], ...choices(run.columns)], state.by);
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

/** @param {Side} side @param {Record<Side, HTMLInputElement>} typedIn @param {number | null} group null for all */
function type(side, typedIn, group) {
  let isCrossed = false;
  try {
    isCrossed = typeEnd(side, typedIn[side].value, group);
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    remark(typedIn[side], `${message}. Nothing has changed.`);
    return;
  }
  const band = givenTo(group);
  for (const one of ends) {
    remark(typedIn[one], null);
    typedIn[one].value = `${band[one] ?? ""}`;
  }
  changed();
  if (isCrossed) remark(typedIn.low, "The lower end was above the upper one: they have been exchanged.", false);
}

/** Keep the cut where it is in the new unit. @param {Unit} unit */
function chooseUnit(unit) {
  if (!shape || !base) return;
  if ((unit === "within" || unit === "each") && state.by === "") {
    selectOf("unit").value = state.unit;
    complain(new Error("Choose a column of groups first."));
    return;
  }
  convert(unit, shape, base);
  makeTable();
  changed();
}

const drawAgain = () => {
  if (state.place === "random") state.seed += 1;
  choosePlace("random");
  changed();
};

function listen() {
  const chosen = (/** @type {string} */ id, /** @type {(value: string) => void} */ then) =>
    selectOf(id).addEventListener("change", () => then(selectOf(id).value));
  chosen("metric", (value) => {
    state.metric = value;
    if (state.unit === "value" || state.unit === "each") openAll(); else dropOwn();
    reshape();
  });
  chosen("by", (value) => {
    turnTo(value);
    if (value === "") state.unit = state.unit === "within" ? "percentile" : state.unit === "each" ? "value" : state.unit;
    selectOf("unit").value = state.unit;
    reshape();
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
    reshape();
  });
  for (const side of ends) fields[side].addEventListener("change", () => type(side, fields, null));
  byId("reset").addEventListener("click", () => { openAll(); changed(); });
  byId("places").addEventListener("change", (event) => {
    choosePlace(/** @type {any} */ (event.target).value);
    remember();
    read();
  });
  byId("draw").addEventListener("click", drawAgain);
  listenToCopy();
  window.addEventListener("hashchange", () => { restore(); reshape(); });
  const look = (/** @type {Place} */ place) => () => { choosePlace(place); remember(); read(); };
  const judging = listenToJudging({
    asked,
    cut: (side, value) => {
      selectOf("unit").value = state.unit = "value";
      state.band = { low: null, high: null, [side]: value };
      makeTable();
      changed();
    },
  }, run.judgements);
  listenToKeys({ ...judging, c: copyCommand, r: drawAgain, "[": look("low"), "]": look("high") });
}

async function begin() {
  run = await ask("run");
  const move = (/** @type {Side} */ side, /** @type {number | null} */ value) =>
    moved((_, base) => moveEnd(base, side, value, null));
  two = new Two(await ask("two"), move, movesOf(null).nudge);
  introduce(run);
  restore();
  listen();
  await reshape();
}

begin().catch(showNoRun);
