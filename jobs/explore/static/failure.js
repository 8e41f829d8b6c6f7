// @ts-check
// What the page says where something cannot be done.

import { byId, make } from "./dom.js";
import { showNoExamples } from "./examples.js";
import { dropRule } from "./take.js";

/** @param {Error | null} error */
export const complain = (error) =>
  byId("notes").replaceChildren(...(error ? [make("p", { class: "note" }, error.message)] : []));

/** There is not even a run. @param {Error} error */
export function showNoRun(error) {
  complain(error);
  byId("about").replaceChildren();
}

/** The figures stay estimates. @param {Error} error */
export function showNoCount(error) {
  complain(error);
  byId("exactly").textContent = "Estimated from the bins; not counted exactly.";
  dropRule();
}

/** Nothing of the view before stays under the names of this one. @param {Error} error @param {string} metric */
export function showNothing(error, metric) {
  complain(error);
  for (const id of ["legend", "cards", "groups", "same"]) byId(id).replaceChildren();
  byId("what").textContent = `Documents by ${metric}`;
  byId("exactly").textContent = "Not counted.";
  showNoExamples();
  dropRule();
}
