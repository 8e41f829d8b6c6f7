"""A table that is laid out and not yet drawn; those of paired documents.

Owns what a comparison needs to know of a table. Cells are text of unknown origin, not escaped.
"""

from dataclasses import dataclass, field

from pipeline.comparisons.agreement import RULES, Agreement
from pipeline.comparisons.comparison import Change, RunFinding, RunShift
from pipeline.comparisons.pairing import Moved, Pairing
from pipeline.rendering.formats import (
    chance,
    count,
    estimate,
    estimated_change,
    number,
    share,
    signed,
    size,
)
from pipeline.rendering.table import Marked, Table, Whole, Words
from pipeline.reports.wording import values_of, verdict

SHOWN_CHARACTERS = 120
"""Characters of a text in a table cell; comparison.json has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared(Table):
    """A table of a comparison, and what is drawn beside it."""

    key: str
    """What the section shows: runs, trend, matrix, shift, requirements, files, pairs, agreement,
    groups, quantiles or moved."""
    on_terminal: bool = True
    changes: dict[str, Change] = field(default_factory=dict)
    """Changes in `unit` by name, for a chart."""
    unit: str = ""


def requirements_section(found: list[RunFinding]) -> Compared:
    """What was required of the runs."""
    return Compared(
        key="requirements",
        title="Requirements",
        caption="A run fails if an expression is true or cannot be judged.",
        columns=("run", Words("fail if"), Whole(""), Words("found")),
        rows=[
            (
                one.run,
                one.expression,
                Marked(verdict(one), "bad" if one.failed else "good"),
                values_of(one),
            )
            for one in found
        ],
    )


def files_section(shifts: list[RunShift]) -> Compared:
    """What happened to the files of a corpus from one run to another."""
    counted = [(shift.run, shift.files) for shift in shifts if shift.files is not None]
    rows = [
        (name, *map(count, (files.added, files.removed, files.changed, files.unchanged)))
        for name, files in counted
    ]
    return Compared(
        key="files",
        title="Files since the baseline",
        columns=("run", "added", "removed", "changed", "unchanged"),
        rows=rows,
    )


PAIRED_BY = {"locator": "file and row", "doc_id": "doc_id", "text_hash": "text"}


def pairs_section(shifts: list[RunShift]) -> Compared:
    """What became of the documents that two runs have in common."""
    rows = []
    for shift in shifts:
        if (pairing := shift.pairing) is not None:
            counts = (
                pairing.num_matched,
                pairing.num_only_in_baseline,
                pairing.num_only_in_run,
                pairing.num_texts_changed,
                pairing.num_not_scored,
                pairing.num_compared,
            )
            by = pairing.paired_by.model_dump()
            ways = [f"{count(by[key])} by {name}" for key, name in PAIRED_BY.items() if by[key]]
            moved = map(count, (pairing.num_rose, pairing.num_fell, pairing.num_equal))
            rose = share(pairing.share_rose)
            mean = estimated_change(pairing.mean_difference, pairing.interval)
            p_value = chance(pairing.wilcoxon_p_value)
            shown = (*map(count, counts), *moved, rose, *mean, p_value)
            rows.append((shift.run, ", ".join(ways) or "-", *shown))
    return Compared(
        key="pairs",
        title="Document by document",
        caption="Bits per byte of documents with the same text and a score in both runs. "
        "Documents are paired by file and row, else by doc_id, else by text (repeated texts in "
        "order).",
        columns=(
            "run",
            Words("paired"),
            "in both",
            "only before",
            "only after",
            "other text",
            "no score",
            "compared",
            "rose",
            "fell",
            "stayed",
            "% rose",
            "mean change",
            "95% interval",
            "Wilcoxon p",
        ),
        rows=rows,
        narrow=(0, 1, 2, 7, 12, 13, 14),
    )


def agreement_section(shifts: list[RunShift]) -> Compared:
    """Whether two models rank documents alike, as a whole and by group."""
    rows = []
    for shift in shifts:
        if (found := shift.agreement) is not None:
            rows.append((shift.run, "all", *_agreement(found.overall)))
            for column, groups in found.groups.items():
                for group in groups:
                    name = f"{column}: {group.value}"
                    rows.append((shift.run, name, *_agreement(group.agreement)))
    return Compared(
        key="agreement",
        title="Agreement of models",
        caption="For the documents compared, by bits per byte: Spearman's rank correlation with "
        "the baseline, and the overlap of what a percentile band keeps by each model: kept by "
        "both / kept by either (Jaccard). Groups use the same cut-offs.",
        columns=(
            "run",
            Words("documents"),
            "compared",
            "Spearman",
            "95% interval",
            *(f"overlap p{low}-p{high}" for low, high in RULES),
        ),
        rows=rows,
    )


def _agreement(found: Agreement) -> tuple[str, ...]:
    overlaps = (share(one.jaccard) for one in found.overlaps)
    return (count(found.num_compared), *estimate(found.spearman, found.interval), *overlaps)


def moved_sections(shift: RunShift, pairing: Pairing) -> list[Compared]:
    """The documents that moved most, up and down."""
    return [
        _moved(f"{shift.run} against {shift.baseline}, documents whose score {word} most", moved)
        for word, moved in (("rose", pairing.rose_most), ("fell", pairing.fell_most))
        if moved
    ]


def _moved(title: str, moved: list[Moved]) -> Compared:
    return Compared(
        key="moved",
        title=title,
        caption="Scores and their changes in bits per byte.",
        columns=(
            "file",
            Words("text"),
            "row",
            Words("doc_id"),
            "bytes",
            "before",
            "after",
            "change",
        ),
        rows=[
            (
                one.file,
                _beginning(one),
                str(one.row),
                one.doc_id or "-",
                size(one.num_scored_bytes),
                number(one.baseline),
                number(one.value),
                signed(one.difference),
            )
            for one in moved
        ],
        on_terminal=False,
    )


def _beginning(document: Moved) -> str:
    """The text in a line, or why it is not there."""
    if document.excerpt is None:
        return f"({document.missing})" if document.missing else "-"
    line = " ".join(document.excerpt.split())
    is_whole = document.is_whole and len(line) <= SHOWN_CHARACTERS
    return line if is_whole else line[:SHOWN_CHARACTERS] + "…"
