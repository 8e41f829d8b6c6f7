// @ts-check
// The first words: what is looked at, and what can be done with it.

import { byId, make } from "./dom.js";
import { counted } from "./numbers.js";

/**
 * @param {{run: string, corpus: string, model: string, documents: number, is_partial: boolean,
 *   no_texts: string | null}} run
 */
export function introduce(run) {
  document.title = `Where to cut: ${run.run}`;
  const said = [
    `${counted(run.documents, "document")} of ${run.corpus}, scored by ${run.model}.`,
    "Perplexity is low where the model expects the text, and high where the text surprises it.",
    "Drag an end of the band or type a number; the page shows what stays, and documents at the cut.",
    "Only your judgements are saved.",
  ];
  byId("about").textContent = said.join(" ");
  if (run.is_partial) {
    byId("about").append(make("strong", { class: "note" }, " The run is not complete: only the documents scored so far are shown."));
  }
  if (run.no_texts) byId("about").append(make("span", { class: "note" }, ` Texts cannot be shown: ${run.no_texts}.`));
}
