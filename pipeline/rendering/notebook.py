"""Results as a notebook shows them: their page, in a frame so that its styles stay inside.

Owns the frame; a result says what its page is.
"""

from html import escape

HEIGHT = 640
"""Pixels; a longer page scrolls."""


def framed(page: str) -> str:
    """A page of HTML as an element of a notebook's."""
    return (
        f'<iframe srcdoc="{escape(page)}" sandbox style="width: 100%; height: {HEIGHT}px; '
        'border: 0"></iframe>'
    )
