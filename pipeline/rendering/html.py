"""A page as one file: no script, no request, text of unknown origin escaped.

Owns the way into the template; what the page looks like is templates/page.html and page.css.
"""

import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from pipeline.rendering.escaping import plain
from pipeline.rendering.page import Chart, Page
from pipeline.rendering.table import Marked, Table

OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)")


def to_html(page: Page) -> str:
    """The page."""
    return _template().render(page=page)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("pipeline.rendering"), autoescape=True, undefined=StrictUndefined
    )
    environment.globals |= {"plain": plain, "kind": _kind, "mark": _mark, "picture": _picture}
    environment.filters["options"] = _with_options
    environment.tests |= {"table": _is_table, "chart": _is_chart}
    return environment.get_template("page.html")


def _with_options(text: str) -> Markup:
    """A text in which no line ends inside the name of an option, as it would after its hyphens."""
    parts = OPTION.split(text)
    marked = Markup('<span class="option">{}</span>')
    return Markup("").join(marked.format(one) if i % 2 else one for i, one in enumerate(parts))


def _kind(table: Table, column: int) -> str:
    """How a column looks, as a class of CSS."""
    if table.is_number(column):
        return ""
    return "words" if table.is_words(column) else "left"


def _mark(cell: str) -> Marked:
    return cell if isinstance(cell, Marked) else Marked(cell)


def _picture(chart: Chart) -> Markup:
    return Markup(chart.draw())


def _is_table(block: object) -> bool:
    return isinstance(block, Table)


def _is_chart(block: object) -> bool:
    return isinstance(block, Chart)
