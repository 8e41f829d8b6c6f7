"""Results as a notebook shows them: their page, in a frame so that its styles stay inside.

Owns the frame, and which names completion shows; a result says what its page is.
"""

from collections.abc import Iterable
from html import escape

from pydantic import BaseModel

HEIGHT = 640
"""Pixels; a longer page scrolls."""


def framed(page: str) -> str:
    """A page of HTML as an element of a notebook's."""
    return (
        f'<iframe srcdoc="{escape(page)}" sandbox style="width: 100%; height: {HEIGHT}px; '
        'border: 0"></iframe>'
    )


class Result(BaseModel):
    """What a function of the library returns: completion shows what it has, and how it is dumped,
    not the rest of pydantic."""

    def __dir__(self) -> Iterable[str]:
        kept = {"model_dump", "model_dump_json"}
        hidden = {name for name in dir(BaseModel) if name[0] != "_"} - kept
        return [name for name in super().__dir__() if name not in hidden]
