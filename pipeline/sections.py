"""A table that is laid out and not yet drawn; those of paired documents.

Owns what every output needs to know of a table. Cells are text of unknown origin, not escaped.
"""

from dataclasses import dataclass, field

from pipeline.comparison import Change, RunShift
from pipeline.formats import chance, estimated_change, signed
from pipeline.pairing import Moved, Pairing
from pipeline.render import number


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table with its title; cells are text that is not escaped yet."""

    key: str
    """What it is of: runs, trend, matrix, shift, groups, quantiles or pairing."""
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


def pairing_sections(shift: RunShift, pairing: Pairing) -> list[Section]:
    """What became of the documents, and those that moved most."""
    title = f"{shift.run} against {shift.baseline}, document by document"
    mean, interval = estimated_change(pairing.mean_difference, pairing.interval)
    facts: list[tuple[str, ...]] = [
        ("documents in both", f"{pairing.num_matched:,}"),
        (f"only in {shift.baseline}", f"{pairing.num_only_in_baseline:,}"),
        (f"only in {shift.run}", f"{pairing.num_only_in_run:,}"),
        ("whose text changed", f"{pairing.num_texts_changed:,}"),
        ("compared: same text, two scores", f"{pairing.num_compared:,}"),
        ("rose, fell, stayed", _rose_fell_stayed(pairing)),
        ("mean change, bits/byte", f"{mean} ({interval})"),
        ("p of rising as often as falling", chance(pairing.wilcoxon_p_value)),
    ]
    if shift.files is not None:
        files = shift.files
        counts = f"{files.added:,} added, {files.removed:,} removed, {files.changed:,} changed, "
        facts.insert(0, ("files", counts + f"{files.unchanged:,} as they were"))
    shown = [Section(key="pairing", title=title, columns=("", ""), rows=facts, text_columns=2)]
    for word, moved in (("rose", pairing.rose_most), ("fell", pairing.fell_most)):
        if moved:
            shown.append(_moved(f"{shift.run}: documents that {word} most", moved))
    return shown


def _rose_fell_stayed(pairing: Pairing) -> str:
    share = "" if pairing.share_rose is None else f" ({100 * pairing.share_rose:.1f}%)"
    return f"{pairing.num_rose:,}{share}, {pairing.num_fell:,}, {pairing.num_equal:,}"


def _moved(title: str, moved: list[Moved]) -> Section:
    return Section(
        key="pairing",
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
