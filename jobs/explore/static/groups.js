// @ts-check
// What stays: three figures, and a row for each group with its own small distribution.

import { placeOf, saidOf, showEnds } from "./bands.js";
import { barsOf, colourOf, drawBars, penOf } from "./chart.js";
import { byId, make } from "./dom.js";
import { makeHandle, moveHandle } from "./handle.js";
import { about, exactly, share } from "./numbers.js";
import { ends, state } from "./view.js";

/** @typedef {import("./bins.js").Distribution} Distribution */
/** @typedef {import("./bins.js").Band} Band */
/** @typedef {import("./bins.js").Sizes} Sizes */
/** @typedef {import("./view.js").Side} Side */
/** @typedef {{before: Sizes, after: Sizes}} Kept */
/** @typedef {{low: HTMLInputElement, high: HTMLInputElement}} Fields */
/**
 * What may be done to the band of a group.
 * @typedef {{movesOf: (group: number) => import("./handle.js").Moves,
 *   type: (side: Side, fields: Fields, group: number) => void, follow: (group: number) => void}} Bands
 */

const SIZES = ["documents", "tokens", "bytes"];
const SMALL = { width: 110, height: 30 };
const LARGE = { width: 200, height: 44 };

/** In the colour of a group. @param {HTMLElement} element @param {number} group */
function coloured(element, group) {
  element.style.background = `var(${colourOf(group)})`;
  return element;
}

/** @param {number} group */
const swatch = (group) => coloured(make("span", { class: "swatch" }), group);

/** What stays, of everything and of each group. @param {Kept} whole @param {Kept[]} groups @param {Groups | null} table @param {boolean} isExact */
export function showFigures(whole, groups, table, isExact) {
  table?.fill(groups, whole, isExact);
  const said = isExact ? exactly : about;
  byId("cards").replaceChildren(
    ...SIZES.map((name, i) =>
      make(
        "div",
        {},
        make("dt", {}, name),
        make("dd", {}, share(whole.after[i], whole.before[i]),
          make("small", {}, `${said(whole.after[i])} of ${exactly(whole.before[i])}`)),
      ),
    ),
  );
}

/** The table of groups; its cells are filled again and again, its canvases drawn. */
export class Groups {
  /** @param {Distribution} shape @param {string} column @param {Bands | null} bands where each has one of its own */
  constructor(shape, column, bands) {
    this.shape = shape;
    this.size = 0;
    this.box = bands ? LARGE : SMALL;
    this.bars = barsOf(shape, this.box.width, this.size);
    const body = make("tbody");
    this.rows = shape.names.map((name, i) => {
      const canvas = make("canvas", { role: "img", "aria-label": `Distribution of ${name}` });
      const cells = [0, 1, 2, 3, 4].map(() => make("td"));
      const mix = ["before", "after"].map((one) => coloured(make("div", { class: `mix ${one}` }), i));
      const own = bands && this.#controls(name, i, canvas, bands);
      body.append(
        make("tr", {}, make("th", { scope: "row" }, swatch(i), name),
          make("td", { class: "small" }, make("div", { class: "own" }, canvas, own?.handles.low, own?.handles.high),
            own && make("div", { class: "typed" }, own.fields.low, own.fields.high, own.asAll, own.note)),
          ...cells, make("td", { class: "mixes" }, ...mix)),
      );
      return { canvas, cells, mix, own };
    });
    if (bands) this.#walk(body);
    const heads = ["distribution", "documents", "kept", "share", "of tokens", "of bytes", "mix"];
    const how = bands ? " Drag or type the band of each; the arrows up and down go from field to field." : "";
    const table = make("table", {},
      make("caption", {}, make("span", {}, `How much of each group stays, and its share of the mix: upper bar before the cut, lower bar after.${how}`)),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, column), ...heads.map((one) => make("th", { scope: "col" }, one)))),
      body);
    const box = make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": `Groups by ${column}` }, table);
    byId("groups").replaceChildren(box);
  }

  /** @param {string} name @param {number} group @param {HTMLElement} canvas @param {Bands} bands */
  #controls(name, group, canvas, { movesOf, type, follow }) {
    const onAxis = (/** @type {PointerEvent} */ event) =>
      (event.clientX - canvas.getBoundingClientRect().left) / this.box.width;
    const field = (/** @type {string} */ word, /** @type {string} */ open) =>
      make("input", { "aria-label": `${name}: keep ${word}`, inputmode: "decimal", autocomplete: "off", placeholder: open, "aria-describedby": `note-${group}` });
    const note = make("p", { class: "note", id: `note-${group}`, role: "alert" });
    const fields = { low: field("from", "lowest"), high: field("to", "highest") };
    for (const side of ends) fields[side].addEventListener("change", () => type(side, fields, group));
    const handles = {
      low: makeHandle("low", `${name}: lower end`, onAxis, movesOf(group)),
      high: makeHandle("high", `${name}: upper end`, onAxis, movesOf(group)),
    };
    const asAll = make("button", { type: "button", "aria-label": `as all: ${name}` }, "as all");
    asAll.addEventListener("click", () => { handles.low.focus(); follow(group); });
    return { handles, fields, asAll, note, controls: [handles.low, handles.high, fields.low, fields.high, asAll] };
  }

  /** One row at a time is reached by Tab: there may be fifty. @param {HTMLElement} body */
  #walk(body) {
    const enter = (/** @type {number} */ row) => {
      for (const [i, { own }] of this.rows.entries()) for (const one of own?.controls ?? []) one.tabIndex = i === row ? 0 : -1;
    };
    const rowOf = (/** @type {Event} */ event) =>
      this.rows.findIndex(({ own }) => own?.controls.includes(/** @type {any} */ (event.target)));
    enter(0);
    body.addEventListener("focusin", (event) => enter(rowOf(event)));
    body.addEventListener("keydown", (event) => {
      const from = rowOf(event);
      const at = this.rows[from]?.own?.controls.indexOf(/** @type {any} */ (event.target)) ?? -1;
      const next = this.rows[from + (event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : NaN)]?.own;
      if (at < 2 || !next) return; // of a handle these keys move it
      event.preventDefault();
      next.controls[at].focus();
    });
  }

  /** @param {Band[]} bands @param {number} size */
  draw(bands, size) {
    const { shape, box } = this;
    if (size !== this.size) {
      this.size = size;
      this.bars = barsOf(shape, box.width, size);
    }
    const bars = this.bars;
    for (const [i, { canvas, own }] of this.rows.entries()) {
      const pen = penOf(canvas, box.width, box.height);
      const top = Math.max(1e-9, ...bars.totals[i]);
      drawBars(pen, shape, bars, bands, { ...box, top, groups: [i], gap: 0 });
      if (!own) continue;
      showEnds(own.fields, bands[i]);
      own.asAll.hidden = !state.own.has(i);
      for (const side of ends) {
        const place = placeOf(shape, side, bands[i][side]);
        moveHandle(own.handles[side], place, place * box.width, saidOf(bands[i][side]));
      }
    }
  }

  /** @param {Kept[]} groups @param {Kept} whole @param {boolean} isExact */
  fill(groups, whole, isExact) {
    const said = isExact ? exactly : about;
    const mixes = groups.map(({ before, after }) => [before[0] / (whole.before[0] || 1), after[0] / (whole.after[0] || 1)]);
    const most = Math.max(1e-9, ...mixes.flat());
    for (const [i, { before, after }] of groups.entries()) {
      const { cells, mix } = this.rows[i];
      const texts = [
        exactly(before[0]), said(after[0]), share(after[0], before[0]),
        share(after[1], before[1]), share(after[2], before[2]),
      ];
      for (const [j, text] of texts.entries()) cells[j].textContent = text;
      for (const [j, part] of mixes[i].entries()) {
        mix[j].style.width = `${(100 * part) / most}%`;
        mix[j].title = share(part, 1);
      }
    }
  }
}

/** Names beside their colours. @param {Distribution} shape */
export function showLegend(shape) {
  const named = shape.names.length > 1 ? shape.names : [];
  const shown = named.length > 10 ? [...named.slice(0, 9), `${named.length - 9} more`] : named;
  byId("legend").replaceChildren(
    ...shown.map((name, i) => make("li", {}, swatch(i), name)),
  );
}

