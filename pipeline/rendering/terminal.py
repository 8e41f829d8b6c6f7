"""Tables and pages on a terminal of any width: words fold, numbers are never cut.

Owns how wide a table is drawn. A figure that lost its last digits is another figure: a table that
has more columns than a terminal has room for is continued below itself. Off a terminal a console is
as wide as anything needs (jobs/console/screen.py).
"""

from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.segment import Segment, Segments
from rich.table import Table as Grid
from rich.text import Text

from pipeline.rendering.escaping import plain
from pipeline.rendering.page import Page
from pipeline.rendering.table import Marked, Table

NARROWEST = 12
"""Smallest width in characters of a column of words."""
GAPS = (2, 1)
"""Spaces between columns, usually and if there is little room."""
STYLES = {"good": "green", "warning": "yellow", "bad": "bold red", None: ""}


def print_page(page: Page, console: Console) -> None:
    """What of a page is for a terminal; what sums it up comes last, where the eye is."""
    shown = [section for section in page.sections if section.on_terminal]
    for section in shown:
        if section.title:
            console.print(Text(plain(section.title), style="bold"))
        for block in section.blocks:
            if isinstance(block, str):
                console.print(Text(plain(block)))
            elif isinstance(block, Table):
                if name := block.named(section.title):
                    console.print(Text(plain(name)))
                print_table(block, console)
        if section is not shown[-1] or page.summary or page.notes:
            console.print()
    for note in page.notes:
        console.print(Text(plain(note), style="yellow"))
    for line in page.summary:
        console.print(Text(plain(line)))


def print_table(table: Table, console: Console) -> None:
    """Print it as wide as the console, or as its widest number needs."""
    for at, (grid, width) in enumerate(_grids(table, console.width)):
        if at:
            console.print()
        lines = console.render_lines(grid, console.options.update(width=width), pad=False)
        shown = [segment for line in lines for segment in (*_stripped(line), Segment.line())]
        console.print(Segments(shown), end="", crop=False)


def drawn(table: Table, width: int) -> RenderableType:
    """The table for a place that is drawn again and again."""
    return Group(*(grid for grid, _ in _grids(table, width)))


def _grids(table: Table, room: int) -> Iterable[tuple[Grid, int]]:
    """Every band of columns, and how wide it is."""
    cells = [[Text(plain(cell), _style(cell)) for cell in row] for row in table.rows]
    names = [Text(plain(name)) for name in table.columns]
    head = [names] if table.has_header else []
    widths = [
        max((cell_len(row[at].plain) for row in (*head, *cells)), default=0)
        for at in range(len(names))
    ]
    every = tuple(range(len(names)))
    if sum(widths) + GAPS[-1] * (len(every) - 1) > room and table.narrow is not None:
        every = table.narrow
    least = [min(one, NARROWEST) if table.is_words(at) else one for at, one in enumerate(widths)]
    fit = (gap for gap in GAPS if _needed([widths[at] for at in every], gap) <= room)
    first, *others = every
    pairs = (_needed([least[first], least[at]], GAPS[0]) for at in others)
    gap = next(fit, GAPS[0] if max(pairs, default=0) <= room else GAPS[-1])
    for band in _bands(every, least, room, gap):
        needed = _needed([least[at] for at in band], gap)
        yield _grid(table, band, names, cells, gap), max(room, needed)


def _needed(widths: list[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _bands(shown: tuple[int, ...], least: list[int], room: int, gap: int) -> list[list[int]]:
    """The columns that stand beside each other; the one that names the rows is in every band."""
    first, *others = shown
    bands = [[first]]
    for at in others:
        band = bands[-1]
        if len(band) > 1 and _needed([least[one] for one in (*band, at)], gap) > room:
            bands.append([first, at])
        else:
            band.append(at)
    return bands


def _grid(
    table: Table, band: list[int], names: list[Text], cells: list[list[Text]], gap: int
) -> Grid:
    grid = Grid(
        box=None,
        pad_edge=False,
        padding=(0, gap, 0, 0),
        header_style="bold",
        show_header=table.has_header,
    )
    for at in band:
        grid.add_column(
            names[at],
            style="dim" if at == 0 and not table.has_header else "",
            justify="right" if table.is_number(at) else "left",
            overflow="fold",
            no_wrap=not table.is_words(at),
        )
    for position, row in enumerate(cells):
        is_sum = table.sums_up and position == len(cells) - 1
        grid.add_row(*(row[at] for at in band), style="bold" if is_sum else None)
    return grid


def _style(cell: str) -> str:
    return STYLES[cell.tone] if isinstance(cell, Marked) else ""


def _stripped(line: list[Segment]) -> list[Segment]:
    """Without the spaces that fill up the last column."""
    while line and not line[-1].text.strip(" "):
        line = line[:-1]
    return [*line[:-1], line[-1]._replace(text=line[-1].text.rstrip(" "))] if line else []
