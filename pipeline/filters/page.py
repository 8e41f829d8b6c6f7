"""A filter as a page: the mix before and after, and the cut-offs."""

from pipeline.filters.record import FilterRecord, Sizes
from pipeline.rendering.formats import count, share, size
from pipeline.rendering.page import Page, Section
from pipeline.rendering.table import Table


def to_page(record: FilterRecord) -> Page:
    """What is kept, and by what."""
    rows = [(_label(one.group), *_cells(one.before, one.after)) for one in record.groups]
    whole = ("all", *_cells(record.before, record.after))
    mix = Table(
        columns=(record.by or "", "documents", "kept", "tokens", "kept", "text", "kept"),
        rows=[*rows, whole],
        sums_up=True,
    )
    return Page(title="Filter", sections=[Section("", [mix, *_cutoffs(record)])])


def _cutoffs(record: FilterRecord) -> list[str]:
    shown = []
    for cutoff in record.cutoffs:
        where = f"{_label(cutoff.group)}: " if record.rules["within"] else ""
        said = []
        if cutoff.low is not None and cutoff.high is not None:
            said.append(f"from {cutoff.low:.4g} to {cutoff.high:.4g}")
        if cutoff.head is not None and cutoff.middle is not None:
            said.append(f"head up to {cutoff.head:.4g}, middle up to {cutoff.middle:.4g}")
        shown.append(f"{where}{record.metric} {'; '.join(said)}")
    if edges := record.budget_edges:
        named = (("above", edges["after"]), ("up to", edges["before"]))
        if record.rules["prefer"] == "high":
            named = (("from", edges["after"]), ("below", edges["before"]))
        at = [f"{word} {edge:.6g}" for word, edge in named if edge is not None]
        shown.append(f"the budget ends at {record.metric} {' and '.join(at)}")
    return shown


def _label(group: str | None) -> str:
    return "(none)" if group is None else group


def _cells(before: Sizes, after: Sizes) -> list[str]:
    cells = []
    for name, shown in (("documents", count), ("tokens", count), ("bytes", size)):
        was, now = getattr(before, name), getattr(after, name)
        cells += [shown(was), f"{shown(now)} {share(now / was)}" if was else shown(now)]
    return cells
