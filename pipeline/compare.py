"""Runs side by side, and what may be compared between them.

Owns the rule for tokenizers: a perplexity is per token, so two tokenizers' perplexities are of
different things. Across tokenizers runs are ranked by bits per byte, and it is said.
"""

from pydantic import BaseModel

from pipeline.figures import Figures, whole_figures
from pipeline.store import RunStore

COMPARISON_VERSION = 1
TOKENIZERS_DIFFER = (
    "These runs use different tokenizers, so their perplexities are not comparable: "
    "compare bits per byte."
)


class ComparedRun(BaseModel):
    """One run's figures and what they hold for."""

    run: str
    model: str
    corpus: str
    tokenizer: str
    """Digest."""
    complete: bool
    figures: Figures


class Comparison(BaseModel):
    """Runs from the least to the most surprised."""

    comparison_version: int = COMPARISON_VERSION
    ranked_by: str
    """perplexity, or bits_per_byte where tokenizers differ."""
    notes: list[str]
    runs: list[ComparedRun]


def compare_runs(stores: list[RunStore]) -> Comparison:
    """Read every run's totals. Raises RunError where one is not a run."""
    runs = [_compared(store) for store in stores]
    same_tokenizer = len({run.tokenizer for run in runs}) == 1
    notes = [] if same_tokenizer else [TOKENIZERS_DIFFER]
    if len({run.corpus for run in runs}) > 1 and not same_tokenizer:
        notes.append("They are of different corpora too: model and text both differ.")
    notes += [f"{run.run} is not finished." for run in runs if not run.complete]

    def surprise(run: ComparedRun) -> float:
        figures = run.figures
        value = figures.corpus_perplexity if same_tokenizer else figures.bits_per_byte
        return float("inf") if value is None else value

    return Comparison(
        ranked_by="perplexity" if same_tokenizer else "bits_per_byte",
        notes=notes,
        runs=sorted(runs, key=surprise),
    )


def _compared(store: RunStore) -> ComparedRun:
    manifest = store.require_manifest()
    return ComparedRun(
        run=store.location,
        model=manifest.model.name,
        corpus=manifest.corpus,
        tokenizer=str(manifest.fingerprint["tokenizer"]),
        complete=store.success() is not None,
        figures=whole_figures(store, manifest),
    )
