// @ts-check
// The rule to take away: as a command, as TOML, and the address of the view.

import { addressOf } from "./ask.js";
import { byId, make, withOptions } from "./dom.js";

/** @typedef {{command: string | null, toml: string | null, file: string | null}} Rule */

/** @type {Rule | null} */
let rule = null;

/**
 * The rule that was counted; null while another one is counted.
 * @param {Rule | null} counted @param {import("./ask.js").Words} [words] that it was asked by
 */
export function showRule(counted, words = {}) {
  rule = counted;
  byId("copied").textContent = "";
  if (rule === null) return;
  byId("command").replaceChildren(...withOptions(
    rule.command ??
    (rule.toml
      ? "The metric's name cannot be written in an option: copy the TOML instead."
      : "Nothing is cut off yet: drag an end of the band, or type a number."),
  ));
  byId("toml").textContent = rule.toml ?? "";
  const { file } = rule;
  const link = file && make("a", { href: addressOf("cutoffs", words), download: file }, `Save ${file}`);
  byId("file").replaceChildren(...(link ? [link, " where you run it: the cut-offs of each group."] : []));
}

/** There is none: the cut could not be counted. */
export function dropRule() {
  showRule(null);
  byId("command").textContent = "There is no command: this cut was not counted.";
  byId("toml").textContent = "";
  byId("file").replaceChildren();
}

/** @param {string | null | undefined} text @param {string} what */
async function copy(text, what) {
  if (!text) {
    byId("copied").textContent = "There is nothing to copy yet.";
    return;
  }
  try {
    await navigator.clipboard.writeText(text);
    byId("copied").textContent = `${what} copied.`;
  } catch {
    byId("copied").textContent = "The browser does not let this page copy: select the text.";
  }
}

export const copyCommand = () => copy(rule?.command, "Command");

export function listenToCopy() {
  byId("copy-command").addEventListener("click", copyCommand);
  byId("copy-toml").addEventListener("click", () => copy(rule?.toml, "TOML"));
  byId("copy-address").addEventListener("click", () => copy(location.href, "Address"));
}
