// @ts-check
// The bars, and the two handles over them.
//
// Owns drawing on a canvas. Every document stays as a pale bar behind what is kept. What a band means
// is the caller's: it gives one for each group.

import { make } from "./dom.js";
import { makeHandle, moveHandle } from "./handle.js";
import { figure, about } from "./numbers.js";
import { drawOutline, outlineOf } from "./outline.js";
import { ends } from "./view.js";

/** @typedef {import("./bins.js").Distribution} Distribution */
/** @typedef {import("./bins.js").Band} Band */

const HEIGHT = 260;
const BELOW = 22;
const LEFT = 14;
const NARROW = 520;
const MOST_BARS = 220;
const COLOURS = 10;
const PALE = 0.22;
const MOST_DECADES = 12;
const MOST_TICKS = 20;
const EMPTY = "No document to show";

/** Colours of the theme, read once: asking for one makes the browser lay out the page. */
/** @type {Map<string, string>} */
const colours = new Map();
export const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => colours.clear());

/** A colour of the style sheet. @param {string} name */
export function themed(name) {
  const known = colours.get(name);
  if (known !== undefined) return known;
  const found = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  colours.set(name, found);
  return found;
}

/** The name of a group's colour; the last is shared by all others. @param {number} group */
export const colourOf = (group) => `--g${Math.min(group, COLOURS - 1)}`;

/**
 * Bars of a distribution for so many pixels: totals of each group by bar.
 * @param {Distribution} shape @param {number} width @param {number} size
 */
export function barsOf(shape, width, size) {
  const wanted = shape.scale.kind === "whole" ? shape.span : Math.max(12, Math.ceil(4 * Math.cbrt(shape.whole.scored[0])));
  const most = Math.min(wanted, MOST_BARS, Math.floor(width / (width < NARROW ? 3 : 4)));
  const perBar = Math.max(1, Math.ceil(shape.span / Math.max(1, most)));
  const count = Math.ceil(shape.span / perBar);
  const totals = shape.groups.map((group) => {
    const bars = new Float64Array(count);
    for (const [i, bin] of group.bins.entries()) {
      bars[shape.barOf(bin, perBar)] += group.before[i + 1][size] - group.before[i][size];
    }
    return bars;
  });
  return { perBar, count, totals };
}

/**
 * Draw bars: the whole pale, what is kept solid, one group on the other.
 * @param {CanvasRenderingContext2D} pen @param {Distribution} shape
 * @param {ReturnType<typeof barsOf>} bars @param {Band[]} bands
 * @param {{width: number, height: number, top: number, groups: number[], gap: number}} box
 */
export function drawBars(pen, shape, bars, bands, { width, height, top, groups, gap }) {
  const each = (width * bars.perBar) / shape.span;
  const at = new Float64Array(bars.count).fill(height);
  const unit = top > 0 ? height / top : 0;
  for (const group of groups) {
    pen.fillStyle = themed(colourOf(group));
    const { low, high } = bands[group];
    const from = low === null ? 0 : (shape.edgeOf(low, "low") * shape.span) / bars.perBar;
    const to = high === null ? bars.count : (shape.edgeOf(high, "high") * shape.span) / bars.perBar;
    const own = bars.totals[group];
    for (let i = 0; i < bars.count; i += 1) {
      if (!own[i]) continue;
      const tall = own[i] * unit;
      const right = (i + 1) * each - gap;
      pen.globalAlpha = PALE;
      pen.fillRect(i * each, at[i] - tall, Math.max(0.5, right - i * each), tall);
      const [start, end] = [Math.max(i, from) * each, Math.min(right, to * each)];
      if (end > start) {
        pen.globalAlpha = 1;
        pen.fillRect(start, at[i] - tall, Math.max(0.5, end - start), tall);
      }
      at[i] -= tall;
    }
  }
  pen.globalAlpha = 1;
}

/** A canvas that is as sharp as the screen. @param {HTMLCanvasElement} canvas @param {number} width @param {number} height */
export function penOf(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

/** The bars of all groups with an axis, and a handle at each end of the band. */
export class Chart {
  /** @param {HTMLElement} holder @param {import("./handle.js").Moves} moves */
  constructor(holder, moves) {
    this.canvas = make("canvas", { role: "img" });
    const placeOf = (/** @type {PointerEvent} */ event) =>
      (event.clientX - holder.getBoundingClientRect().left - LEFT) / this.width;
    this.handles = {
      low: makeHandle("low", "Lower end", placeOf, moves),
      high: makeHandle("high", "Upper end", placeOf, moves),
    };
    for (const side of ends) this.handles[side].id = `handle-${side}`;
    holder.replaceChildren(this.canvas, this.handles.low, this.handles.high);
    this.holder = holder;
    /** @type {Distribution | null} */
    this.shape = null;
    /** @type {Distribution | null} */
    this.outline = null;
    this.size = 0;
    this.width = 1;
    this.top = 1;
    /** @type {Band[]} */
    this.bands = [];
    this.places = { low: 0, high: 1 };
    this.said = { low: "", high: "" };
    new ResizeObserver(() => this.#resized()).observe(holder);
    dark.addEventListener("change", () => this.#resized());
  }

  /**
   * @param {Distribution} shape @param {number} size which of Sizes is drawn @param {string} label
   * @param {Distribution | null} outline of a second run
   */
  show(shape, size, label, outline = this.outline) {
    this.outline = outline;
    this.shape = shape;
    this.size = size;
    this.canvas.setAttribute("aria-label", shape.whole.scored[0] ? label : EMPTY);
    this.#resized();
  }

  /** Show nothing. */
  clear() {
    this.shape = null;
    penOf(this.canvas, this.width + 2 * LEFT, HEIGHT + BELOW);
  }

  /**
   * Move the handles and draw what is kept.
   * @param {Band[]} bands one for each group
   * @param {{low: number, high: number}} places of the handles
   * @param {{low: string, high: string}} said of them
   */
  cut(bands, places, said) {
    this.bands = bands;
    this.places = places;
    this.said = said;
    this.#draw();
  }

  #resized() {
    const width = this.holder.clientWidth;
    if (!this.shape || !width) return;
    this.width = width - 2 * LEFT;
    this.bars = barsOf(this.shape, this.width, this.size);
    const sums = new Float64Array(this.bars.count);
    for (const own of this.bars.totals) for (let i = 0; i < sums.length; i += 1) sums[i] += own[i];
    this.line = this.outline && outlineOf(this.shape, this.outline, this.bars, this.size);
    this.top = Math.max(1e-9, ...sums, ...(this.line ?? [])) * 1.1;
    this.#draw();
  }

  #draw() {
    const { shape, bars, width, bands } = this;
    if (!shape || !bars || bands.length !== shape.groups.length) return;
    const pen = penOf(this.canvas, width + 2 * LEFT, HEIGHT + BELOW);
    pen.translate(LEFT, 0);
    this.#axes(pen);
    const groups = shape.groups.map((_, i) => i);
    const each = (width * bars.perBar) / shape.span;
    const gap = width < NARROW || each < 3 ? 0 : 1;
    drawBars(pen, shape, bars, bands, { width, height: HEIGHT, top: this.top, groups, gap });
    if (this.line) drawOutline(pen, this.line, themed("--fg"), { each, height: HEIGHT, top: this.top });
    for (const side of ends) {
      moveHandle(this.handles[side], this.places[side], LEFT + this.places[side] * width, this.said[side]);
    }
  }

  /** @param {CanvasRenderingContext2D} pen */
  #axes(pen) {
    const { shape, width, top } = this;
    if (!shape) return;
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = themed("--soft");
    if (!shape.whole.scored[0]) {
      pen.textAlign = "center";
      pen.fillText(EMPTY, width / 2, HEIGHT / 2);
      return;
    }
    pen.strokeStyle = themed("--line");
    pen.beginPath();
    pen.moveTo(0, HEIGHT + 0.5);
    pen.lineTo(width, HEIGHT + 0.5);
    const step = niceStep(top / 4);
    pen.textAlign = "left";
    for (let value = step; value < top; value += step) {
      const y = Math.round(HEIGHT * (1 - value / top)) + 0.5;
      pen.moveTo(0, y);
      pen.lineTo(width, y);
      pen.fillText(about(value), 2, y - 3);
    }
    pen.textAlign = "center";
    let free = -Infinity;
    for (const value of ticksOf(shape)) {
      const x = shape.placeOf(value) * width;
      const text = figure(value);
      const half = pen.measureText(text).width / 2;
      if (x - half < free || x + half > width + LEFT) continue;
      free = x + half + 10;
      pen.moveTo(x, HEIGHT);
      pen.lineTo(x, HEIGHT + 5);
      pen.fillText(text, Math.max(half - LEFT, x), HEIGHT + 18);
    }
    pen.stroke();
  }
}

/** 1, 2 or 5 times a power of ten, not below a number. @param {number} least */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1e-300)));
  return power * ([1, 2, 5].find((one) => one * power >= least) ?? 10);
}

/**
 * Values to write below the bars, the rounder ones first in line.
 * @param {Pick<Distribution, "scale" | "hasZero" | "zeroBins" | "span" | "valueOf">} shape
 */
export function ticksOf(shape) {
  const [low, high] = [shape.valueOf(0), shape.valueOf(1)];
  const found = [];
  if (shape.scale.kind === "log") {
    if (shape.hasZero) found.push(0);
    const start = Math.max(shape.valueOf(shape.zeroBins / shape.span), 1e-300);
    const powers = [Math.floor(Math.log10(start)), Math.ceil(Math.log10(high))];
    const decades = powers[1] - powers[0];
    const steps = decades > 6 ? [1] : [1, 2, 5];
    const apart = decades > MOST_DECADES ? niceStep(decades / MOST_DECADES) : 1;
    for (let power = Math.ceil(powers[0] / apart) * apart; power <= powers[1]; power += apart) {
      for (const step of steps) {
        const value = Number(`${step}e${power}`);
        if (value >= start && value <= high) found.push(value);
      }
    }
    if (found.length > 2) return found;
  }
  const step = Math.max(niceStep((high - low) / 6), shape.scale.kind === "whole" ? 1 : 0);
  const first = Math.ceil(low / step);
  // Counted: beside a value of 1e20, adding a step may change nothing.
  for (let i = 0; i < MOST_TICKS && (first + i) * step <= high; i += 1) found.push((first + i) * step);
  return [...new Set(found)].sort((a, b) => a - b);
}
