// @ts-check
// A handle at an end of the band: what pointer and keys do to it.

import { make } from "./dom.js";

/** @typedef {import("./view.js").Side} Side */

const STEP = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };

/**
 * An end of the band, to be dragged or moved by keys.
 * @param {Side} side @param {string} id @param {string} label
 * @param {{pointed: (event: PointerEvent) => void, ended: (side: Side, place: number) => void,
 *   nudged: (side: Side, steps: number) => void}} then
 */
export function makeHandle(side, id, label, { pointed, ended, nudged }) {
  const handle = make("div", {
    class: `handle ${side}`,
    id,
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
    if (handle.hasPointerCapture(event.pointerId)) pointed(event);
  });
  handle.addEventListener("keydown", (event) => {
    if (event.key === "Home") ended(side, 0);
    else if (event.key === "End") ended(side, 1);
    else if (event.key in STEP) {
      nudged(side, STEP[/** @type {keyof typeof STEP} */ (event.key)] * (event.shiftKey ? 10 : 1));
    } else return;
    event.preventDefault();
  });
  return handle;
}
