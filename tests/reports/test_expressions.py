"""The grammar of requirements: trees, precedence, and where the caret points."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.reports.expressions import (
    DEEPEST,
    Anywhere,
    Call,
    Comparison,
    Junction,
    Name,
    Negation,
    Number,
    Text,
    Tree,
    parse,
)


def shape(tree: Tree | Name | Number | Text | Call | None) -> object:
    """A tree without its positions."""
    match tree:
        case Comparison(left, sign, right):
            return (shape(left), sign, shape(right))
        case Junction(word, parts):
            return (word, *map(shape, parts))
        case Negation(part):
            return ("not", shape(part))
        case Call(name, arguments):
            return (name, "()", *map(shape, arguments))
        case Anywhere(column, part):
            return ("any", shape(column), shape(part))
        case Text(value):
            return repr(value)
        case None:
            return None
        case _:
            return tree.value


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("a<1", ("a", "<", 1)),
        ("  a  <=  1 ", ("a", "<=", 1)),
        ("a<1 or b<2 and c<3", ("or", ("a", "<", 1), ("and", ("b", "<", 2), ("c", "<", 3)))),
        ("(a<1 or b<2) and c<3", ("and", ("or", ("a", "<", 1), ("b", "<", 2)), ("c", "<", 3))),
        ("not a<1 and b<2", ("and", ("not", ("a", "<", 1)), ("b", "<", 2))),
        ("not (a<1 and not b<2)", ("not", ("and", ("a", "<", 1), ("not", ("b", "<", 2))))),
        ("p99.9(x) != 2", (("p99.9", "()", "x"), "!=", 2)),
        ("n() == 0", (("n", "()"), "==", 0)),
        ("f(g(x), 'y') > 0", (("f", "()", ("g", "()", "x"), "'y'"), ">", 0)),
        (
            "f(g(x) < 1 and y > 2) > 0",
            (("f", "()", ("and", (("g", "()", "x"), "<", 1), ("y", ">", 2))), ">", 0),
        ),
        ("any(x, a < 1 or b < 2)", ("any", "x", ("or", ("a", "<", 1), ("b", "<", 2)))),
        (
            "not any('x y', a < 1) and b < 2",
            ("and", ("not", ("any", "'x y'", ("a", "<", 1))), ("b", "<", 2)),
        ),
        ("any < 1", ("any", "<", 1)),
        (
            'share(s == "e" or t < 3) > .5'.replace(".5", "0.5"),
            (("share", "()", ("or", ("s", "==", "'e'"), ("t", "<", 3))), ">", 0.5),
        ),
        (
            "share(s == 'it is \"so\"') > 0",
            (("share", "()", ("s", "==", "'it is \"so\"'")), ">", 0),
        ),
        ("1 < a", (1, "<", "a")),
        ("näme > 1", ("näme", ">", 1)),
    ],
)
def test_trees(source, wanted):
    assert shape(parse(source)) == wanted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10k", 10_000),
        ("1.5M", 1_500_000),
        ("2B", 2_000_000_000),
        ("5%", 0.05),
        ("1e-3", 0.001),
        ("1E6", 1_000_000),
        ("-2", -2),
        ("-1.5e2", -150),
        ("-5%", -0.05),
        ("3.", 3),
    ],
)
def test_numbers(text, value):
    assert parse(f"a > {text}").right.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("source", "at", "what"),
    [
        ("", 1, "expected a figure or a number"),
        ("a", 2, "expected a comparison"),
        ("a <", 4, "expected a figure or a number"),
        ("a < 1 b", 7, "expected 'and', 'or' or the end, found 'b'"),
        ("1 < a < 2", 7, "expected 'and', 'or' or the end, found '<'"),
        ("(a < 1", 7, "expected '\\)'"),
        ("a < 1)", 6, "found '\\)'"),
        ("a = 1", 3, "'=' is not part of an expression"),
        ("a < 'x", 5, "a string without a closing quote"),
        ("a < 1,000", 6, "found ','"),
        ("a < 3kk", 5, "'3kk' is not a number"),
        ("a < 3 k", 7, "found 'k'"),
        ("and < 3", 1, "found 'and'"),
        ("a < 1 and", 10, "expected a figure"),
        ("p95(a", 6, "expected '\\)'|expected a comparison"),
        ("a < 1; import os", 6, "';' is not part"),
        ("__import__('os')", 17, "expected a comparison"),
        ("a\x1b[2J < 1", 2, "is not part"),
        ("not " * (DEEPEST + 1) + "a < 1", 4 * DEEPEST + 1, f"more than {DEEPEST} levels"),
        ("(" * 5000, DEEPEST + 1, f"more than {DEEPEST} levels"),
        ("f(" * 5000, 2 * DEEPEST + 1, f"more than {DEEPEST} levels"),
        ("any(x, " * 5000, 7 * DEEPEST + 1, f"more than {DEEPEST} levels"),
        ("any(x) > 1", 6, "expected ','"),
        ("any(x, a)", 9, "expected a comparison"),
        ("any(f(x), a < 1)", 5, "any takes a column"),
        ("f(a,) > 1", 5, "expected a figure"),
        ("f(a b) > 1", 5, "expected '\\)'"),
    ],
    ids=range(27),
)
def test_what_cannot_be_read_is_pointed_at(source, at, what):
    with pytest.raises(ConfigError, match=what) as raised:
        parse(source)
    first, shown, caret = str(raised.value).split("\n")
    assert f"at character {at}:" in first
    assert len(shown) == len(source) + 2
    assert caret == " " * (at + 1) + "^"
    assert not re.search("[\x00-\x1f]", first + shown + caret)


@given(st.text(max_size=40) | st.text("ab(),<>=!\"' 1.5kM%andort", max_size=60))
def test_any_text_is_read_or_refused(source):
    with contextlib.suppress(ConfigError):
        parse(source)


LEAVES = st.sampled_from(["a < 1", "b >= 2k", "p5(c) == 0", 'share(d == "x") > 1%'])
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: (
        inner.map(lambda e: f"not ({e})")
        | st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda p: f"({p[0]}) {p[1]} ({p[2]})"
        )
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_what_is_built_by_the_grammar_is_read(source):
    # Python agrees on and, or, not and parentheses: compare with its own reading.
    truths = {
        "a < 1": "True",
        "b >= 2k": "False",
        "p5(c) == 0": "True",
        'share(d == "x") > 1%': "False",
    }
    python = source
    for leaf, truth in truths.items():
        python = python.replace(leaf, truth)

    def worth(tree: Tree) -> bool:
        match tree:
            case Junction("and", parts):
                return all(map(worth, parts))
            case Junction("or", parts):
                return any(map(worth, parts))
            case Negation(part):
                return not worth(part)
        return shape(tree.left) == "a" or shape(tree.left) == ("p5", "()", "c")

    assert worth(parse(source)) == eval(python)
