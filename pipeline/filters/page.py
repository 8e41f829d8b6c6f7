"""A filter as a page: the mix before and after, and the cut-offs."""

from pipeline.filters.record import FilterRecord, Sizes
from pipeline.rendering.formats import count, share, size
from pipeline.rendering.page import Page, Section
from pipeline.rendering.table import Table
from pipeline.reports.groups import label_of

COLUMNS = ("documents", "kept", "tokens", "tokens kept", "text", "text kept")


def to_page(record: FilterRecord) -> Page:
    """What is kept, and by what."""
    rows = [(label_of(one.group), *_cells(one.before, one.after)) for one in record.groups]
    whole = ("all", *_cells(record.before, record.after))
    mix = Table(
        columns=(record.by or "", *COLUMNS),
        rows=[*rows, whole],
        sums_up=True,
    )
    return Page(title="Filter", sections=[Section("", [mix, *record.words])])


def _cells(before: Sizes, after: Sizes) -> list[str]:
    cells = []
    for name, shown in (("documents", count), ("tokens", count), ("bytes", size)):
        was, now = getattr(before, name), getattr(after, name)
        cells += [shown(was), f"{shown(now)} {share(now / was)}" if was else shown(now)]
    return cells
