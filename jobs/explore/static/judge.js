// @ts-check
// Judging: documents drawn at random one after another, what the judgements say of the cut, and the
// cut that serves an aim. The score of a document is not shown, so that it does not judge.

import { Latest, ask, tell } from "./ask.js";
import { byId, inputOf, make, selectOf, textOf } from "./dom.js";
import { judgeExample, mark } from "./examples.js";
import { counted, exactly, figure, typed } from "./numbers.js";

/** @typedef {"good" | "bad" | "unsure"} Said */
/** @typedef {{value: number, low: number | null, high: number | null} | null} Figure */
/** @typedef {{cut: number | null, precision: Figure, recall: Figure} | null} Proposal */
/** @typedef {{asked: () => import("./ask.js").Words, cut: (side: "low" | "high", value: number | null) => void}} View */

const RESTED = 400;
/** What an aim asks for at first, in percent. */
const SHARES = { recall: "99", precision: "5" };
const standing = new Latest(RESTED);
/** @type {View} */
let view;
/** The document that was drawn and waits. @type {string | null} */
let waiting = null;
let number = 0;
let isBusy = false;

/** @param {string} text @param {boolean} [isWrong] */
function say(text, isWrong) {
  byId("saved").className = isWrong ? "note" : "soft";
  byId("saved").textContent = text;
}
const complain = (/** @type {Error} */ error) => say(error.message, true);

/** One thing at a time: what is pressed meanwhile is not taken for the next document. @param {() => Promise<void>} act */
async function inTurn(act) {
  if (isBusy) return;
  isBusy = true;
  try {
    await act();
  } catch (error) {
    complain(/** @type {Error} */ (error));
  }
  isBusy = false;
}

const scope = () => (byId("scopes").querySelector("input:checked")?.getAttribute("value") ?? "all");

async function drawNext() {
  waiting = null;
  const found = await ask("next", { ...view.asked(), scope: scope() });
  waiting = found.at;
  byId("begin").hidden = waiting !== null;
  byId("drawn").replaceChildren(...(waiting === null ? [make("p", { class: "soft" }, "All documents to draw from are judged.")] : [
    textOf(found.text, found.missing, { class: "drawn", tabindex: 0, "aria-label": "The text to judge" }),
    make("p", { class: "soft" }, `${found.file}, row ${exactly(found.row)}`,
      found.judged ? `; you judged it ${found.judged} before, but not at random: judge it again` : ""),
  ]));
}

/** What is judged: the example that has the focus, else the document that was drawn. @param {Said} said */
function judge(said) {
  const example = document.activeElement?.closest("#examples li");
  return inTurn(async () => {
    if (example) await judgeExample(/** @type {HTMLElement} */ (example), said);
    else if (waiting !== null && said !== "unsure" && !byId("drawn").querySelector("pre")) return say("A document without its text cannot be judged.", true);
    else if (waiting === null) return say("Draw a document first, or go to one at the cut (j, k).");
    else {
      await tell("judge", { ...view.asked(), at: waiting, said, drawn: "yes" });
      mark(waiting, said);
      await drawNext();
    }
    say(`Saved: ${said}.`);
    number += 1;
    showStanding();
  });
}

const undo = () => inTurn(async () => {
  const found = await tell("undo", {});
  if (found.at === null) return say("There is no judgement of this session to take back.");
  mark(found.at, found.judged);
  if (waiting !== null) await drawNext();
  say(found.judged ? `Taken back: the document is ${found.judged} again.` : "Taken back.");
  showStanding();
});

const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(1)}%`;
/** @param {Figure} one */
const between = (one) => (one && one.low !== null && one.high !== null ? `${percent(one.low)} to ${percent(one.high)}` : "no interval yet");

/** @param {string} name @param {Figure} one @param {string} meaning */
const card = (name, one, meaning) => make("div", {}, make("dt", {}, name),
  make("dd", {}, one ? percent(one.value) : "-", make("small", {}, one ? `95%: ${between(one)}` : "not known yet"), make("small", {}, meaning)));

/** What the judgements say of the rule; asked when the hand has rested. */
export function showStanding() {
  if (!number) return;
  const words = view.asked();
  byId("quality").classList.add("old");
  standing.later(async (signal) => {
    const found = await ask("standing", words, signal);
    byId("quality").classList.remove("old");
    byId("quality").replaceChildren(
      card("recall", found.quality.recall, "of the good documents are kept"),
      card("precision", found.quality.precision, "of the kept documents are good"));
    const others = [
      found.num_others ? `${counted(found.num_others, "judgement")} of documents that you picked, or drew by other scores, ${found.num_others === 1 ? "is kept and does" : "are kept and do"} not count` : "",
      found.num_unsure ? `${counted(found.num_unsure, "document")} judged unsure` : "",
      found.num_elsewhere ? `${counted(found.num_elsewhere, "judgement")} of texts that this run does not have` : "",
    ].filter((one) => one);
    byId("counts").textContent = [
      `${counted(found.num_drawn, "judgement")} of drawn documents ${found.num_drawn === 1 ? "counts" : "count, each"} for its share of one of ${found.num_bands} bands of ${found.metric}.`,
      others.length ? `${others.join("; ")}.` : "",
      found.missing ? `Still missing: ${found.missing}.` : "",
    ].filter((one) => one).join(" ");
  }, complain);
}

/** @param {string} title @param {Proposal} one @param {"low" | "high"} side */
function proposal(title, one, side) {
  if (one === null) return make("p", {}, make("strong", {}, title), ": no cut at this end reaches the target.");
  const cut = one.cut === null ? "cut nothing off here" : `keep ${side === "high" ? "up to" : "from"} ${figure(one.cut)}`;
  const share = (/** @type {Figure} */ own) => (own ? `${percent(own.value)} (${between(own)})` : "-");
  const button = make("button", { type: "button" }, "Take this cut");
  button.addEventListener("click", () => view.cut(side, one.cut));
  return make("p", {}, make("strong", {}, title), `: ${cut}. Keeps ${share(one.recall)} of the good; of the kept ${share(one.precision)} are good. `, button);
}

const proposeCut = () => inTurn(async () => {
  const place = byId("proposal");
  const aim = /** @type {"recall" | "precision"} */ (selectOf("aim").value);
  try {
    const asked = typed(inputOf("share").value);
    const share = asked !== null && aim === "precision" ? 100 - asked : asked;
    const side = /** @type {"low" | "high"} */ (selectOf("end").value);
    place.replaceChildren(make("p", { class: "soft" }, "Looking for a cut …"));
    const found = await ask("propose", { ...view.asked(), aim, share, side });
    place.replaceChildren(
      proposal("By the estimate", found.likely, side),
      proposal("To be on the safe side", found.sure, side),
      make("p", { class: "soft" }, "The figures assume that only this end is cut off; on the safe side, the whole interval reaches the target. The cut is chosen by the judgements that its interval is computed from, so both are a little too good: judge more documents near the cut, and propose again."));
  } catch (error) {
    place.replaceChildren(make("p", { class: "note" }, /** @type {Error} */ (error).message));
  }
});

/** @param {View} shown @param {{file: string, number: number}} kept @returns keys */
export function listenToJudging(shown, kept) {
  [view, number] = [shown, kept.number];
  byId("kept-in").textContent = `Each judgement is saved at once, in ${kept.file}.`;
  const draw = () => inTurn(async () => { say(""); await drawNext(); });
  byId("begin").addEventListener("click", draw);
  byId("scopes").addEventListener("change", () => { if (waiting !== null) draw(); });
  for (const said of /** @type {Said[]} */ (["good", "bad", "unsure"])) byId(said).addEventListener("click", () => judge(said));
  byId("undo").addEventListener("click", undo);
  byId("propose").addEventListener("click", proposeCut);
  selectOf("aim").addEventListener("change", () => { inputOf("share").value = SHARES[/** @type {"recall" | "precision"} */ (selectOf("aim").value)]; });
  byId("examples").addEventListener("click", (event) => {
    const said = /** @type {HTMLElement} */ (event.target).dataset.said;
    if (said) judge(/** @type {Said} */ (said));
  });
  return { g: () => judge("good"), b: () => judge("bad"), s: () => judge("unsure"), u: undo };
}
