"""pipeline/rendering/shading.py: darker is more surprising, and a text stays what it is."""

import io

from rich.console import Console

from pipeline.rendering.escaping import UNFIT, plain
from pipeline.rendering.shading import EDGES, STYLES, legend, readable, shade, shaded


def test_shades_go_up_with_surprise():
    assert [shade(x) for x in (None, 0.0, 0.99, *EDGES, 1e9)] == [0, 0, 0, 1, 2, 3, 4, 5, 5]
    assert len(STYLES) == len(EDGES) + 1


def test_parts_are_shaded_and_put_together():
    shown = shaded([("a", 0.1), (" b", 3.0), ("c", None)])
    assert shown.plain == "a bc"
    assert [(span.start, span.end, span.style) for span in shown.spans] == [(1, 3, STYLES[2])]


def test_lines_are_kept_and_nothing_commands_the_terminal():
    parts = [("one\r", 9.0), ("\n\ttwo", 9.0), ("\x1b[31m\x07", 9.0)]
    shown = shaded(parts)
    assert shown.plain == "one\n    two" + plain("\x1b[31m\x07")
    assert not UNFIT.search(shown.plain.replace("\n", ""))
    assert readable("a\r\nb\tc") == "a\nb    c"


def test_the_legend_has_every_shade():
    out = io.StringIO()
    Console(file=out, width=80).print(legend())
    assert out.getvalue().count("from") == len(EDGES)
    assert len(out.getvalue()) < 80
