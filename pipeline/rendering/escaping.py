"""Text of unknown origin, made fit to show.

Owns the one rule for characters that must not reach a terminal, a page or a chart. Escaping for
HTML, Markdown and terminals is html.py's, markdown.py's and terminal.py's.
"""

import re

# Control characters rewrite terminals, direction marks reorder lines, line separators break cells
# and drawing libraries, and the rest is not allowed in XML at all.
UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def plain(text: str) -> str:
    """The text with every unfit character replaced by U+FFFD."""
    return UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)
