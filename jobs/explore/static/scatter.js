// @ts-check
// One metric in two runs: how many documents are where, and the band as two lines across.
//
// Owns where a value is a line. A difference is the same along a diagonal of linear axes, a ratio
// along one of log axes; any other metric is the first run's own, and upright.

import { framed } from "./bins.js";
import { dark, penOf, themed, ticksOf } from "./chart.js";
import { make } from "./dom.js";
import { makeHandle, tellHandle } from "./handle.js";
import { figure } from "./numbers.js";
import { ends } from "./view.js";

/** @typedef {import("./bins.js").Band} Band */
/** @typedef {import("./view.js").Side} Side */
/** @typedef {[number, number]} Point across and up, from 0 to 1 */

const LEFT = 46;
const BELOW = 24;
const RIGHT = 12;
const MOST = 460;
const PALE = 0.25;
const FAINTEST = 0.3;
/** How far apart the handles are along their lines. */
const APART = { low: -0.15, high: 0.15 };

export class Scatter {
  /**
   * @param {HTMLElement} holder
   * @param {(side: Side, value: number | null) => void} moved null is to the end
   * @param {import("./handle.js").Moves["nudge"]} nudge
   */
  constructor(holder, moved, nudge) {
    this.holder = holder;
    this.canvas = make("canvas", { role: "img" });
    const drag = (/** @type {Side} */ side, /** @type {number} */ place) =>
      moved(side, place === (side === "low" ? 0 : 1) ? null : this.#valueOf(place));
    const placeOf = (/** @type {PointerEvent} */ event) => this.#placeOf(event);
    this.handles = {
      low: makeHandle("low", "Lower line", placeOf, { drag, nudge }),
      high: makeHandle("high", "Upper line", placeOf, { drag, nudge }),
    };
    for (const side of ends) this.handles[side].id = `scatter-${side}`;
    holder.replaceChildren(this.canvas, this.handles.low, this.handles.high);
    /** @type {Band} */
    this.band = { low: null, high: null };
    this.metric = "";
    this.size = 0;
    this.side = 1;
    this.scale = /** @type {import("./bins.js").Scale} */ ({ kind: "linear", start: 0, width: 1 });
    new ResizeObserver(() => this.#draw()).observe(holder);
    dark.addEventListener("change", () => this.#draw(true));
  }

  /** @param {ArrayBuffer} buffer as two.py encodes it @param {string} metric @param {string} label */
  show(buffer, metric, label) {
    const { header, numbers } = framed(buffer);
    this.metric = metric;
    this.side = header.side;
    this.scale = header.scale;
    this.counts = numbers;
    this.canvas.setAttribute("aria-label", label);
    this.#draw(true);
  }

  /** @param {Band} band in values @param {{low: number, high: number}} places on the bars @param {{low: string, high: string}} said */
  cut(band, places, said) {
    this.band = band;
    for (const side of ends) tellHandle(this.handles[side], places[side], said[side]);
    this.#draw();
  }

  get isUpright() {
    return this.metric !== "difference" && this.metric !== "ratio";
  }

  /** The least that a line can be right of the diagonal, or of the left side; the most is 1. */
  get least() {
    return this.isUpright ? 0 : -1;
  }

  /** How far right it is. @param {number | null} value @param {Side} side */
  #offsetOf(value, side) {
    if (value === null) return side === "low" ? this.least : 1;
    const { kind, start, width } = this.scale;
    const at = (kind === "log" ? Math.log(Math.max(0, value)) : value) - (this.isUpright ? start : 0);
    return Math.min(1, Math.max(this.least, at / (width * this.side)));
  }

  /** Of the line through a point, from 0 to 1. @param {PointerEvent} event */
  #placeOf(event) {
    const { left, top } = this.holder.getBoundingClientRect();
    const across = (event.clientX - left - LEFT) / this.size;
    const up = 1 - (event.clientY - top) / this.size;
    return ((this.isUpright ? across : across - up) - this.least) / (1 - this.least);
  }

  /** The value of its line. @param {number} place */
  #valueOf(place) {
    const { kind, start, width } = this.scale;
    const offset = this.least + place * (1 - this.least);
    const at = offset * width * this.side + (this.isUpright ? start : 0);
    return kind === "log" ? Math.min(Math.exp(at), Number.MAX_VALUE) : at;
  }

  /** @param {boolean} [anew] the dots, too */
  #draw(anew = false) {
    const { counts, holder } = this;
    if (!counts || !holder.clientWidth) return;
    if (anew || !this.image) this.image = imageOf(counts, this.side);
    const image = this.image;
    this.size = Math.min(MOST, holder.clientWidth - LEFT - RIGHT);
    const size = this.size;
    holder.style.height = `${size + BELOW}px`;
    const pen = penOf(this.canvas, size + LEFT + RIGHT, size + BELOW);
    pen.translate(LEFT, 0);
    this.#axes(pen);
    const [low, high] = ends.map((side) => this.#offsetOf(this.band[side], side));
    const line = (/** @type {number} */ offset) =>
      /** @type {Point[]} */ (this.isUpright ? [[offset, 0], [offset, 1]] : [[offset - 1, -1], [offset + 2, 2]]);
    const draw = (/** @type {Point[]} */ points) => {
      pen.beginPath();
      for (const [across, up] of points) pen.lineTo(across * size, (1 - up) * size);
    };
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, size, size);
    pen.clip();
    pen.imageSmoothingEnabled = false;
    pen.globalAlpha = PALE;
    pen.drawImage(image, 0, 0, size, size);
    pen.globalAlpha = 1;
    pen.save();
    draw([...line(low), ...line(high).reverse()]);
    pen.clip();
    pen.clearRect(0, 0, size, size);
    pen.drawImage(image, 0, 0, size, size);
    pen.restore();
    pen.strokeStyle = themed("--soft");
    pen.setLineDash([3, 4]);
    draw([[0, 0], [1, 1]]);
    pen.stroke();
    pen.setLineDash([]);
    pen.strokeStyle = themed("--fg");
    pen.lineWidth = 2;
    for (const offset of [low, high]) {
      draw(line(offset));
      pen.stroke();
    }
    pen.restore();
    pen.strokeStyle = themed("--line");
    pen.strokeRect(0.5, 0.5, size - 1, size - 1);
    for (const side of ends) {
      const offset = side === "low" ? low : high;
      const [across, up] = this.#grip(offset, APART[side]);
      this.handles[side].style.transform = `translate(${LEFT + across * size}px, ${(1 - up) * size}px)`;
    }
  }

  /** Where a handle is on its line. @param {number} offset @param {number} along @returns {Point} */
  #grip(offset, along) {
    if (this.isUpright) return [offset, 0.5 + along];
    const own = along * (1 - Math.abs(offset));
    return [(1 + offset) / 2 + own, (1 - offset) / 2 + own];
  }

  /** @param {CanvasRenderingContext2D} pen */
  #axes(pen) {
    const { size, side, scale } = this;
    const { kind, start, width } = scale;
    const span = width * side;
    const axis = { scale, hasZero: false, zeroBins: 0, span: side,
      valueOf: (/** @type {number} */ place) => (kind === "log" ? Math.exp(start + place * span) : start + place * span) };
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = themed("--soft");
    let [free, under] = [-Infinity, Infinity];
    for (const value of ticksOf(axis)) {
      const at = (((kind === "log" ? Math.log(value) : value) - start) / span) * size;
      const text = figure(value);
      const half = pen.measureText(text).width / 2;
      pen.textAlign = "center";
      if (at - half > free && at >= 0 && at + half <= size + RIGHT) {
        pen.fillText(text, at, size + 18);
        free = at + half + 10;
      }
      pen.textAlign = "right";
      if (size - at < under && at >= 0 && at <= size) {
        pen.fillText(text, -6, Math.max(10, size - at + 4));
        under = size - at - 16;
      }
    }
  }
}

/** Counts as dots, the more the darker. @param {Float64Array} counts first run's cell by cell @param {number} side */
function imageOf(counts, side) {
  const canvas = make("canvas", { width: side, height: side });
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.fillStyle = themed("--dots");
  const most = Math.log1p(counts.reduce((a, b) => Math.max(a, b), 1));
  for (const [i, count] of counts.entries()) {
    if (!count) continue;
    pen.globalAlpha = FAINTEST + ((1 - FAINTEST) * Math.log1p(count)) / most;
    pen.fillRect(Math.floor(i / side), side - 1 - (i % side), 1, 1);
  }
  return canvas;
}
