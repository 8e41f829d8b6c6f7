// @ts-check
// Documents on both sides of the cut, to be read with the keyboard.

import { ask, tell } from "./ask.js";
import { byId, dialogOf, make, textOf } from "./dom.js";
import { counted, exactly, figure } from "./numbers.js";
import { showSurprise } from "./surprise.js";

/**
 * @typedef {{at: string, file: string, row: number, doc_id: string | null, group: string | null,
 *   value: number, num_tokens: number, excerpt: string | null, is_whole?: boolean,
 *   missing: string | null, judged: string | null}} Example
 */

const TITLES = {
  low: ["Kept, just above the lower end", "Removed, just below it"],
  high: ["Kept, just below the upper end", "Removed, just above it"],
  random: ["Kept, at random", "Removed, at random"],
};
const OPEN = { low: "Kept: the lowest", high: "Kept: the highest" };

/**
 * @param {{kept: Example[], removed: Example[]}} found
 * @param {"low" | "high" | "random"} place @param {string} metric @param {boolean} isOpen nothing is cut off there
 */
export function showExamples(found, place, metric, isOpen) {
  const [kept, removed] = TITLES[place];
  const first = isOpen && place !== "random" ? OPEN[place] : kept;
  byId("examples").replaceChildren(
    side(first, found.kept, metric, "No document is kept."),
    side(removed, found.removed, metric, "No document is removed here."),
  );
}

/** None can be shown, for a reason that is said elsewhere. */
export const showNoExamples = () =>
  byId("examples").replaceChildren(make("p", { class: "soft" }, "No documents are shown: they could not be read for this view."));

/** @param {string} title @param {Example[]} examples @param {string} metric @param {string} none */
function side(title, examples, metric, none) {
  const list = make("ol", { class: "documents" }, ...examples.map((one) => item(one, metric)));
  return make("div", {}, make("h3", {}, title), examples.length ? list : make("p", { class: "soft" }, none));
}

/** @param {Example} one @param {string} metric */
function item(one, metric) {
  const value = make("strong", {}, figure(one.value));
  const button = make("button", { type: "button", class: "open", "data-at": one.at }, value, ` ${metric}`);
  button.addEventListener("click", () => openDocument(one.at, button));
  const about = [one.group, counted(one.num_tokens, "token"), one.doc_id, `${one.file}, row ${exactly(one.row)}`];
  const text = textOf(one.excerpt, one.missing);
  if (one.excerpt !== null && !one.is_whole) text.append(make("span", { class: "soft" }, " …"));
  const said = [["good", "g"], ["bad", "b"]].map(([name, key]) =>
    make("button", { type: "button", class: "said", tabindex: -1, "data-said": name, title: `key ${key}`, "aria-pressed": `${one.judged === name}` }, name));
  return make("li", { "data-at": one.at }, button, ...said, make("p", { class: "soft" }, about.filter((word) => word).join(" · ")), text);
}

/** Save what is said of a document that a person picked, and move on. @param {HTMLElement} example @param {string} said */
export async function judgeExample(example, said) {
  const at = example.dataset.at ?? "";
  example.querySelector("button")?.focus();
  await tell("judge", { at, said });
  mark(at, said);
  step(1);
}

/** Show what is said of a document, where it is shown. @param {string} at @param {string | null} said */
export function mark(at, said) {
  for (const one of byId("examples").querySelectorAll(`li[data-at="${at}"] .said`)) {
    one.setAttribute("aria-pressed", `${one.getAttribute("data-said") === said}`);
  }
}

/** Move the focus to the next document, or back. @param {number} step */
export function step(step) {
  const all = /** @type {HTMLButtonElement[]} */ ([...byId("examples").querySelectorAll("button.open")]);
  if (!all.length) return;
  const now = all.findIndex((one) => one === document.activeElement);
  const next = now < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, now + step));
  all[next].focus();
  all[next].scrollIntoView({ block: "nearest" });
}

/** The whole text and all scores; then its tokens. @param {string} at @param {HTMLElement} from */
async function openDocument(at, from) {
  const dialog = dialogOf("document");
  const body = byId("document-body");
  body.replaceChildren(make("p", { class: "soft" }, "Reading …"));
  dialog.showModal();
  dialog.addEventListener("close", () => from.focus(), { once: true });
  try {
    const found = await ask("document", { at });
    byId("document-title").textContent = `${found.file}, row ${exactly(found.row)}`;
    const text = textOf(found.text, found.missing, { class: "whole", tabindex: 0, "aria-label": "The text" });
    const scores = Object.entries(found.scores).filter(([, value]) => value !== null);
    const rows = scores.map(([name, value]) =>
      make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, typeof value === "number" ? figure(value) : value)));
    const table = make("table", { class: "facts" }, make("caption", {}, "Scores"), make("tbody", {}, ...rows));
    const surprise = make("div");
    body.replaceChildren(text, surprise, table);
    if (found.text !== null) await showSurprise(at, text, surprise);
  } catch (error) {
    body.append(make("p", { class: "note" }, /** @type {Error} */ (error).message));
  }
}
