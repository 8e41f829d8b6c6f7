"""Tables on a terminal of any width: words fold, numbers are never cut.

Owns how wide a table is drawn. A figure that lost its last digits is another figure.
"""

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

NARROWEST = 8
"""Characters of a line that a column of words keeps."""


def print_table(table: Table, console: Console) -> None:
    """Print it as wide as the console, or as its numbers need: then the terminal breaks lines.

    Columns with `no_wrap` are numbers, or as short and as much in need of their last letter.
    """
    _, right, _, left = table.padding
    needed = 0
    for column in table.columns:
        widest = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
        needed += left + right + (widest if column.no_wrap else min(widest, NARROWEST))
    width = console.width
    console.width = max(width, needed)  # print takes no width beyond the console's
    try:
        console.print(table, crop=False)
    finally:
        console.width = width
