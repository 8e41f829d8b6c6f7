"""A page as one file: no script, no request, text of unknown origin escaped.

Owns the way into the template; what the page looks like is templates/page.html and page.css.
"""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from pipeline.rendering.escaping import plain
from pipeline.rendering.page import Chart, Page
from pipeline.rendering.table import Marked, Table


def to_html(page: Page) -> str:
    """The page."""
    return _template().render(page=page)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("pipeline.rendering"), autoescape=True, undefined=StrictUndefined
    )
    environment.globals |= {"plain": plain, "kind": _kind, "mark": _mark, "picture": _picture}
    environment.tests |= {"table": _is_table, "chart": _is_chart}
    return environment.get_template("page.html")


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
