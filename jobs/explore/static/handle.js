// @ts-check
// A handle at an end of a band: what pointer and keys do to it.

import { make } from "./dom.js";

/** @typedef {import("./view.js").Side} Side */
/** @typedef {{drag: (side: Side, place: number) => void, nudge: (side: Side, steps: number) => void}} Moves
 *   to a place from 0 to 1; by steps of the keyboard */

const STEP = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };

/**
 * @param {Side} side @param {string} label
 * @param {(event: PointerEvent) => number} placeOf where a pointer is on the axis, from 0 to 1
 * @param {Moves} moves
 */
export function makeHandle(side, label, placeOf, { drag, nudge }) {
  const handle = make("div", {
    class: `handle ${side}`,
    role: "slider",
    tabindex: 0,
    "aria-label": label,
    "aria-orientation": "horizontal",
    "aria-valuemin": 0,
    "aria-valuemax": 1000,
  });
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    handle.focus();
    event.preventDefault();
  });
  handle.addEventListener("pointermove", (event) => {
    if (handle.hasPointerCapture(event.pointerId)) drag(side, Math.min(1, Math.max(0, placeOf(event))));
  });
  handle.addEventListener("keydown", (event) => {
    if (event.key === "Home") drag(side, 0);
    else if (event.key === "End") drag(side, 1);
    else if (event.key in STEP) nudge(side, STEP[/** @type {keyof typeof STEP} */ (event.key)] * (event.shiftKey ? 10 : 1));
    else return;
    event.preventDefault();
  });
  return handle;
}

/** @param {HTMLElement} handle @param {number} place from 0 to 1 @param {number} x in pixels @param {string} said */
export function moveHandle(handle, place, x, said) {
  tellHandle(handle, place, said);
  handle.style.transform = `translateX(${x}px)`;
}

/** Where it stands, for who cannot see it. @param {HTMLElement} handle @param {number} place @param {string} said */
export function tellHandle(handle, place, said) {
  handle.setAttribute("aria-valuenow", `${Math.round(place * 1000)}`);
  handle.setAttribute("aria-valuetext", said);
}
