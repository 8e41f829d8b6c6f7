"""A table that is laid out and not yet drawn; those of paired documents.

Owns what every output needs to know of a table. Cells are text of unknown origin, not escaped.
"""

from dataclasses import dataclass, field

from pipeline.comparisons.agreement import RULES, Agreement
from pipeline.comparisons.comparison import Change, RunFinding, RunShift
from pipeline.comparisons.pairing import Moved, Pairing
from pipeline.rendering.formats import chance, estimate, estimated_change, number, signed
from pipeline.reports.wording import values_of, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table with its title; cells are text that is not escaped yet."""

    key: str
    """What it is of: runs, trend, matrix, shift, requirements, files, pairs, agreement, groups,
    quantiles or moved."""
    title: str
    about: str = ""
    columns: tuple[str, ...]
    """The first is the name of a row."""
    rows: list[tuple[str, ...]]
    text_columns: int = 1
    """Leading columns that are words; the others are numbers."""
    on_terminal: bool = True
    changes: dict[str, Change] = field(default_factory=dict)
    """Names to changes of `unit`, for a chart beside the table."""
    unit: str = ""
    narrow: tuple[int, ...] | None = None
    """The columns that a terminal of 80 columns has room for; None: all."""


def requirements_section(found: list[RunFinding]) -> Section:
    """What was required of the runs."""
    return Section(
        key="requirements",
        title="Requirements",
        about="A run fails if an expression is true of it, or cannot be judged.",
        columns=("run", "fail if", "", "found"),
        rows=[(one.run, one.expression, verdict(one), values_of(one)) for one in found],
        text_columns=4,
    )


def files_section(shifts: list[RunShift]) -> Section:
    """What happened to the files of a corpus from one run to another."""
    counted = [(shift.run, shift.files) for shift in shifts if shift.files is not None]
    rows = [
        (name, *(f"{n:,}" for n in (files.added, files.removed, files.changed, files.unchanged)))
        for name, files in counted
    ]
    return Section(
        key="files",
        title="Files since the baseline",
        columns=("run", "added", "removed", "changed", "as they were"),
        rows=rows,
    )


PAIRED_BY = {"locator": "file and row", "doc_id": "doc_id", "text_hash": "text"}


def pairs_section(shifts: list[RunShift]) -> Section:
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
            ways = [f"{by[key]:,} by {name}" for key, name in PAIRED_BY.items() if by[key]]
            share = "-" if pairing.share_rose is None else f"{100 * pairing.share_rose:.1f}%"
            moved = (f"{n:,}" for n in (pairing.num_rose, pairing.num_fell, pairing.num_equal))
            mean = estimated_change(pairing.mean_difference, pairing.interval)
            p_value = chance(pairing.wilcoxon_p_value)
            shown = (*(f"{n:,}" for n in counts), *moved, share, *mean, p_value)
            rows.append((shift.run, ", ".join(ways) or "-", *shown))
    return Section(
        key="pairs",
        title="Document by document",
        about="Bits per byte of the documents compared: in both runs, with the same text and a "
        "score in each. Paired by file and row, else by doc_id, else by text: copies of a text in "
        "order, as many as both have.",
        columns=(
            "run",
            "paired",
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
        text_columns=2,
        narrow=(0, 1, 2, 7, 12, 13, 14),
    )


def agreement_section(shifts: list[RunShift]) -> Section:
    """Whether two models tell the same documents apart, as a whole and by group."""
    rows = []
    for shift in shifts:
        if (found := shift.agreement) is not None:
            rows.append((shift.run, "all", *_agreement(found.overall)))
            for column, groups in found.groups.items():
                for group in groups:
                    name = f"{column}: {group.value}"
                    rows.append((shift.run, name, *_agreement(group.agreement)))
    return Section(
        key="agreement",
        title="Agreement of models",
        about="Over the documents compared, by bits per byte: Spearman's rank correlation with the "
        "baseline, and of what a percentile rule keeps by either model, the share that it keeps by "
        "both (Jaccard). Groups: by the same cut-offs.",
        columns=(
            "run",
            "documents",
            "compared",
            "Spearman",
            "95% interval",
            *(f"overlap p{low}-p{high}" for low, high in RULES),
        ),
        rows=rows,
        text_columns=2,
    )


def _agreement(found: Agreement) -> tuple[str, ...]:
    shares = (one.jaccard for one in found.overlaps)
    overlaps = ("-" if share is None else f"{100 * share:.1f}%" for share in shares)
    return (f"{found.num_compared:,}", *estimate(found.spearman, found.interval), *overlaps)


def moved_sections(shift: RunShift, pairing: Pairing) -> list[Section]:
    """The documents that moved most, up and down."""
    return [
        _moved(f"{shift.run} against {shift.baseline}, documents that {word} most", moved)
        for word, moved in (("rose", pairing.rose_most), ("fell", pairing.fell_most))
        if moved
    ]


def _moved(title: str, moved: list[Moved]) -> Section:
    return Section(
        key="moved",
        title=title,
        about="In bits per byte.",
        columns=("file", "row", "doc_id", "bytes", "before", "after", "change"),
        rows=[
            (
                one.file,
                str(one.row),
                one.doc_id or "-",
                f"{one.num_scored_bytes:,}",
                number(one.baseline),
                number(one.value),
                signed(one.difference),
            )
            for one in moved
        ],
        on_terminal=False,
    )
