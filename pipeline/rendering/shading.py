"""Text whose parts are shaded by how surprising they are.

Owns the shades and where each begins: nats, so that one step is the same on every page.
"""

from bisect import bisect_right
from collections.abc import Iterable

from rich.text import Text

from pipeline.rendering.escaping import plain

EDGES = (1.0, 2.0, 4.0, 6.0, 8.0)
"""Values of -ln p at which the next darker shade begins: chances of 37%, 14%, 1.8%, 0.25%,
0.034%."""
STYLES = (
    "",
    "black on #ffe3cc",
    "black on #ffc79a",
    "black on #ffa766",
    "black on #f58638",
    "underline black on #e8590c",
)
TAB = "    "
RETURN = plain("\r")
"""What is left of a line's end that two tokens share."""


def shade(nll: float | None) -> int:
    """Which of len(EDGES) + 1 shades; 0, which is none, of what was not scored."""
    return 0 if nll is None else bisect_right(EDGES, nll)


def shaded(parts: Iterable[tuple[str, float | None]]) -> Text:
    """Texts and how surprising each is, for a terminal: fit to show, lines as they are."""
    shown = Text()
    for text, nll in parts:
        if text.startswith("\n") and shown.plain.endswith(RETURN):
            shown.right_crop(1)
        shown.append(readable(text), STYLES[shade(nll)])
    return shown


def readable(text: str) -> str:
    """A text of many lines, with tabs, fit to show."""
    lines = text.replace("\r\n", "\n").replace("\t", TAB).split("\n")
    return "\n".join(map(plain, lines))


def legend() -> Text:
    """What the shades stand for."""
    shown = Text("-ln p of a token: ")
    names = [f"below {EDGES[0]:g}", *(f"from {edge:g}" for edge in EDGES)]
    for name, style in zip(names, STYLES, strict=True):
        shown.append(f" {name} ", style)
    return shown
