// @ts-check
// A text shaded token by token: the darker, the less the model expected it.
//
// Tokens that share a character are one stretch, as the server merged them. The value stands in a
// line of its own for the token under the pointer or the focus; one stop of Tab for all of them,
// arrows between them; and a table says the same without colours.

import { ask, tell } from "./ask.js";
import { make } from "./dom.js";
import { figure } from "./numbers.js";

/** @typedef {[string, number, number[]]} Token text, shade, log-probabilities */

const MOST_SHADED = 20000;
const MOST_LISTED = 20;

/** @param {Token} token */
const nllOf = ([, , logprobs]) => -logprobs.reduce((sum, one) => sum + one, 0);

/** @param {Token} token */
function said(token) {
  const [text, , logprobs] = token;
  const shown = JSON.stringify(text);
  if (!logprobs.length) return `${shown}: not scored`;
  const nll = nllOf(token);
  const parts = logprobs.length > 1 ? `, ${logprobs.length} tokens: ${logprobs.map((one) => figure(-one)).join(" + ")}` : "";
  return `${shown}: ${figure(nll)} nats, chance ${figure(100 * Math.exp(-nll))}%${parts}`;
}

/**
 * Shade a text that is shown, once its tokens are there.
 * @param {string} at @param {HTMLElement} shown the text @param {HTMLElement} below where what is said of it goes
 */
export async function showSurprise(at, shown, below) {
  below.replaceChildren(make("p", { class: "soft", role: "status" }, "Reading the tokens; the first time, the model's tokenizer is loaded …"));
  const found = await ask("tokens", { at });
  if (!shown.isConnected) return;
  if (found.scorer) await offer(at, shown, below, found.scorer);
  else if (found.missing !== null) below.replaceChildren(make("p", { class: "soft" }, `Not shaded: ${found.missing}.`));
  else shadeBy(found, shown, below);
}

/**
 * Have the tokens scored now: at once where the model is loaded, else if the person wants it.
 * @param {string} at @param {HTMLElement} shown @param {HTMLElement} below
 * @param {{model: string, is_loaded: boolean}} scorer
 */
async function offer(at, shown, below, { model, is_loaded }) {
  if (!is_loaded) {
    const button = make("button", { type: "button", id: "score" }, "Score its tokens now");
    const asked = new Promise((resolve) => button.addEventListener("click", resolve, { once: true }));
    below.replaceChildren(make("p", { class: "soft" }, `The run did not store log-probabilities of tokens. `, button, ` loads ${model} on this machine, once, until winnow explore ends.`));
    await asked;
    shown.focus(); // the button is gone
  }
  const seconds = make("span", { "aria-hidden": "true" });
  below.replaceChildren(make("p", { class: "soft", role: "status" }, is_loaded ? "Scoring …" : `Loading ${model}, then scoring …`, seconds));
  const since = Date.now();
  const timer = setInterval(() => (seconds.textContent = ` ${Math.round((Date.now() - since) / 1000)} s`), 1000);
  try {
    const found = await tell("score", { at });
    if (!shown.isConnected) return;
    if (found.missing !== null) throw new Error(found.missing);
    shadeBy(found, shown, below);
    below.append(make("p", { class: "soft" }, `Scored now: ${figure(found.nll)} nats in all; the run has ${figure(found.stored_nll)}.`));
  } catch (error) {
    below.replaceChildren(make("p", { class: "soft", role: "status" }, `Not shaded: ${/** @type {Error} */ (error).message}.`));
  } finally {
    clearInterval(timer);
  }
}

/** @param {{tokens: Token[], edges: number[]}} found @param {HTMLElement} shown @param {HTMLElement} below */
function shadeBy({ tokens, edges }, shown, below) {
  const plain = shown.textContent ?? "";
  const line = make("p", { class: "soft value", role: "status" }, "Point at a token, or move with the arrow keys, to see its surprise.");
  const toggle = make("input", { type: "checkbox", id: "shaded", checked: true });
  const spans = tokens.slice(0, MOST_SHADED).map((token, i) =>
    make("span", { class: `s${token[1]}`, "data-i": i, tabindex: i ? -1 : 0 }, token[0]));
  const rest = tokens.slice(MOST_SHADED).map((token) => token[0]).join("");
  const draw = () => shown.replaceChildren(...(toggle.checked ? [...spans, rest] : [plain]));
  const tell = (/** @type {Event} */ event) => {
    const i = /** @type {HTMLElement} */ (event.target).dataset.i;
    if (i !== undefined) line.textContent = said(tokens[Number(i)]);
  };
  shown.addEventListener("pointerover", tell);
  shown.addEventListener("focusin", tell);
  shown.addEventListener("keydown", (event) => {
    const now = spans.indexOf(/** @type {HTMLSpanElement} */ (document.activeElement));
    const next = event.key === "ArrowRight" ? now + 1 : event.key === "ArrowLeft" ? now - 1 : -1;
    if (now < 0 || next < 0 || next >= spans.length) return;
    event.preventDefault();
    spans[now].tabIndex = -1;
    spans[next].tabIndex = 0;
    spans[next].focus();
  });
  toggle.addEventListener("change", draw);
  draw();
  const names = [`below ${edges[0]}`, ...edges.map((edge) => `from ${edge}`)];
  const legend = make("p", { class: "soft" }, "-ln p of a token: ",
    ...names.flatMap((name, i) => [make("span", { class: `shade s${i}` }, name), " "]));
  below.replaceChildren(make("p", {}, make("label", { for: "shaded" }, toggle, " Shade by surprise")), line, legend, listOf(tokens));
}

/** The most surprising tokens. @param {Token[]} tokens */
function listOf(tokens) {
  const scored = tokens.filter((token) => token[2].length);
  const most = scored.sort((a, b) => nllOf(b) - nllOf(a)).slice(0, MOST_LISTED);
  const rows = most.map((token) =>
    make("tr", {}, make("th", { scope: "row" }, JSON.stringify(token[0])), make("td", {}, figure(nllOf(token)))));
  const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "token"), make("th", { scope: "col" }, "-ln p, nats")));
  const table = make("table", {}, make("caption", {}, "The most surprising tokens"), head, make("tbody", {}, ...rows));
  return make("details", {}, make("summary", {}, "The most surprising tokens, as a table"), table);
}
