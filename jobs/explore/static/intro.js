// @ts-check
// The first words: what is looked at, and what can be done with it.

import { byId, make } from "./dom.js";
import { exactly } from "./numbers.js";

/**
 * @param {{run: string, corpus: string, model: string, documents: number, is_partial: boolean,
 *   no_texts: string | null}} run
 */
export function introduce(run) {
  document.title = `Where to cut: ${run.run}`;
  const said = [
    `${exactly(run.documents)} documents of ${run.corpus}, scored by ${run.model}.`,
    "Perplexity is low where the model expects the text, high where it is surprised.",
    "Drag an end of the band or type a number; below is what stays, and the documents at the cut.",
    "Nothing is written but your judgements.",
  ];
  byId("about").textContent = said.join(" ");
  if (run.is_partial) {
    byId("about").append(make("strong", { class: "note" }, " The run is not complete: this is what there is of it."));
  }
  if (run.no_texts) byId("about").append(make("span", { class: "note" }, ` No texts: ${run.no_texts}.`));
}
