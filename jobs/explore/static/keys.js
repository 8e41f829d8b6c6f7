// @ts-check
// What single keys do, and the list of them. None is taken from who types or chooses.

import { byId, dialogOf, make } from "./dom.js";
import { step } from "./examples.js";

const KEYS = [
  ["j, k", "go to the next or the previous document"],
  ["Enter", "open the document's whole text"],
  ["[, ]", "show documents at the lower end, or at the upper end"],
  ["r", "draw documents at random, again"],
  ["g, b, s", "judge the document good, bad or unsure, and go to the next"],
  ["u", "take the last judgement back"],
  ["c", "copy the command"],
  ["?", "show these keys"],
  ["arrows, Page Up, Page Down, Home, End", "move the handle that has the focus"],
];
const TYPED_IN = "input:not([type=radio]), select, dialog";

/** @param {Record<string, () => unknown>} actions by key, besides those that move among documents */
export function listenToKeys(actions) {
  const help = () => dialogOf("keys").showModal();
  byId("help").addEventListener("click", help);
  byId("keys-list").append(...KEYS.flatMap(([key, what]) => [make("dt", {}, key), make("dd", {}, what)]));
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest(TYPED_IN)) return;
    const isReading = target.closest("#examples") !== null;
    /** @type {Record<string, () => unknown>} */
    const moves = { j: () => step(1), k: () => step(-1), "?": help };
    if (isReading) Object.assign(moves, { ArrowDown: moves.j, ArrowUp: moves.k });
    const act = moves[event.key] ?? actions[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}
