// @ts-check
// Elements made and found. Text is only ever text here: no module of this page makes HTML of it.

/** @typedef {Node | string | null | undefined} Child */

/**
 * A new element; `attributes` that are null are left out.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number | boolean | null>} attributes
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : `${value}`);
  }
  made.append(...children.filter((one) => one !== null && one !== undefined));
  return made;
}

/**
 * The element of an id, which is on the page.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element ${id}`);
  return /** @type {T} */ (found);
}

/** @param {string} id */
export const selectOf = (id) => /** @type {HTMLSelectElement} */ (byId(id));
/** @param {string} id */
export const inputOf = (id) => /** @type {HTMLInputElement} */ (byId(id));
/** @param {string} id */
export const dialogOf = (id) => /** @type {HTMLDialogElement} */ (byId(id));

/**
 * Say something at a field, in the element that describes it; null takes back what was said.
 * @param {HTMLInputElement} field @param {string | null} message @param {boolean} [isWrong]
 */
export function remark(field, message, isWrong = message !== null) {
  if (isWrong) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
  const place = byId(field.getAttribute("aria-describedby") ?? "");
  if (place.textContent !== (message ?? "")) place.textContent = message;
  if (message) place.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** A text, or why there is none. @param {string | null} text @param {string | null} missing @param {Record<string, string | number>} [attributes] */
export const textOf = (text, missing, attributes = {}) =>
  (text === null ? make("p", { class: "note" }, missing ?? "no text") : make("pre", attributes, text));

/** A text in which no line ends inside the name of an option, as it would after its hyphens. @param {string} text */
export const withOptions = (text) =>
  text.split(/(?<![\w-])(--[a-z][a-z-]*)/).map((part, i) => (i % 2 ? make("span", { class: "option" }, part) : part));

const LONGEST = 60;

/**
 * Fill a select with choices; a label that no screen is wide enough for is cut.
 * @param {HTMLSelectElement} select
 * @param {[string, string][]} choices value and label
 * @param {string} chosen
 */
export function fill(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, label]) => make("option", { value }, cut(label))));
  select.value = chosen;
}

/** @param {string} label */
const cut = (label) => (label.length > LONGEST ? `${label.slice(0, LONGEST)}…` : label);
