"""What a reader of a comparison has to know, beside its figures: notes that scores decide."""

from pipeline.comparisons.comparability import Question
from pipeline.comparisons.comparison import RunShift
from pipeline.runs.sample import Draw


def confounded(
    question: Question, references: list[int | None], shifts: dict[int, RunShift]
) -> list[str]:
    """Notes on runs that differ from their reference in more than one way.

    Files may differ where texts do not: of another order, or name. Then there is nothing to note.
    """
    notes = []
    for i, reference in enumerate(references):
        if reference is None:
            continue
        subject, other = question.subjects[i], question.subjects[reference]
        if subject.model == other.model or subject.dataset == other.dataset:
            continue
        pairing = shifts[i].pairing
        if pairing is not None and not (
            pairing.num_only_in_baseline + pairing.num_only_in_run + pairing.num_texts_changed
        ):
            continue
        shared = ""
        if pairing is not None and pairing.num_compared:
            shared = (
                f" {pairing.num_compared:,} documents have the same text in both and are compared "
                "one by one."
            )
        notes.append(
            f"{subject.name} and {other.name} differ in model and in text: a change may come from "
            f"either.{shared}"
        )
    return notes


def on_samples(question: Question, draws: list[Draw | None]) -> list[str]:
    """Notes on runs that are of some of their corpus's rows."""
    return [
        f"{subject.name} is a sample, {draw.num_drawn:,} of {draw.num_rows:,} rows: its figures, "
        "quantiles and their changes are estimates for the corpus; distances (KS, PSI, moved) and "
        "paired documents cover the sampled rows only."
        for subject, draw in zip(question.subjects, draws, strict=True)
        if draw is not None
    ]
