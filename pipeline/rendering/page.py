"""One page from a template: self-contained, no script, no request, text of the corpus escaped.

Owns the environment and a chart's place on a page; the looks are templates/.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.rendering.escaping import plain


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture and what it says, for those who do not see it."""

    title: str
    description: str
    svg: Markup

    @classmethod
    def of(cls, title: str, svg: str, description: str = "") -> Self:
        """`svg` is vl-convert's, which escapes the text in it."""
        return cls(plain(title), plain(description), Markup(svg))


def render_page(template: str, **values: Any) -> str:
    """The page; `values` are what the template names."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.rendering"), autoescape=True, undefined=StrictUndefined
    )
    environment.globals["plain"] = plain
    return environment
