"""pipeline/filters/rules/where.py, reports/conditions.py: against three-valued logic in Python."""

import operator

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.filters.config import load_filter_config
from pipeline.filters.rules.where import Where
from pipeline.filters.selection import Selection
from tests.filters.test_selection import ROWS, SCHEMA, decide, scores_of

SIGNS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
COMPARISON = st.one_of(
    st.tuples(st.just("lang"), st.sampled_from(["==", "!=", "<"]), st.sampled_from(["en", "de"])),
    st.tuples(st.just("perplexity"), st.sampled_from(list(SIGNS)), st.sampled_from([1.0, 2.0])),
    st.tuples(st.just("num_tokens"), st.sampled_from(list(SIGNS)), st.integers(0, 50)),
    st.tuples(st.just("status"), st.just("=="), st.sampled_from(["ok", "error"])),
)
TREE = st.recursive(
    COMPARISON,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    ),
    max_leaves=6,
)


def text(tree) -> str:
    if tree[0] == "not":
        return f"not ({text(tree[1])})"
    if tree[0] in ("and", "or"):
        return f"({text(tree[1])}) {tree[0]} ({text(tree[2])})"
    column, sign, value = tree
    return f"{column} {sign} {f'{chr(34)}{value}{chr(34)}' if isinstance(value, str) else value}"


def truth(tree, row) -> bool | None:
    """True, false, or None for what cannot be told."""
    if tree[0] == "not":
        found = truth(tree[1], row)
        return None if found is None else not found
    if tree[0] in ("and", "or"):
        found = {truth(part, row) for part in tree[1:]}
        decides = tree[0] == "or"
        return decides if decides in found else None if None in found else not decides
    column, sign, value = tree
    return None if row[column] is None else SIGNS[sign](row[column], value)


@settings(max_examples=200)
@given(ROWS, TREE, st.sampled_from(["keep", "drop"]))
def test_where(rows, tree, unscored):
    table = scores_of(rows)
    decided = decide(table, where=text(tree), unscored=unscored)
    for row, keep in zip(table, decided["keep"], strict=True):
        found = truth(tree, row)
        if row["status"] in ("ok", "truncated"):
            assert keep is (found is True)
        else:
            assert keep is (unscored == "keep" and found is not False)


def test_a_missing_value_is_neither_above_nor_below_nor_not_so():
    rows = [("a", lang, "ok", 2.0, 5) for lang in ("en", "de", None)]
    for condition, kept in (
        ('lang == "en"', [True, False, False]),
        ('lang != "en"', [False, True, False]),
        ('not lang == "en"', [False, True, False]),
        ('not (lang == "en" or num_tokens > 9)', [False, True, False]),
        ('lang == "en" or num_tokens == 5', [True, True, True]),
        ('not (lang == "en" and num_tokens > 9)', [True, True, True]),
    ):
        assert decide(scores_of(rows), where=condition)["keep"].to_list() == kept


def test_it_goes_with_other_rules_and_changes_none_of_them():
    rows = [("a", ("en", "de")[i % 2], "ok", float(i + 1), 5) for i in range(20)]
    both = decide(scores_of(rows), where='lang == "en"', percentile="0:50")
    assert [i for i, keep in enumerate(both["keep"]) if keep] == [0, 2, 4, 6, 8]


def test_a_name_is_a_name_and_never_a_pattern():
    scores = pl.LazyFrame(scores_of([("a", "en", "ok", float(i), 1) for i in range(4)]), SCHEMA)
    scores = scores.with_columns(
        pl.Series("^.*$", [1, 2, 3, None]),
        pl.Series("a b", [True, False, None, True]),
        pl.Series("nan", [1.0, float("nan"), 3.0, 4.0]),
    )
    for condition, kept in (
        ('"^.*$" > 1', [1, 2]),
        ("'a b' == true", [0, 3]),
        ("not 'a b' == true", [1]),
        ("not nan > 2", [0]),
    ):
        config = load_filter_config(None, {"run": "x", "where": condition})
        decided = Selection.of(config).find(scores).decide(scores).collect()
        assert decided.filter("keep")["row"].to_list() == kept


BAD = {
    "lang = 'en'": "equality is ==",
    "lang == 'en": "without a closing quote",
    "3 < num_tokens": "begins with a column",
    "p95(perplexity) > 3": "begins with a column",
    "lang": "expected a comparison",
}


@pytest.mark.parametrize(("condition", "message"), BAD.items())
def test_what_cannot_be_read_is_pointed_at(condition, message):
    with pytest.raises(ConfigError) as raised:
        load_filter_config(None, {"run": "x", "where": condition})
    assert message in f"{raised.value} {raised.value.hint}"
    assert str(raised.value).endswith("^")


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ('langg == "en"', "did you mean 'lang'?"),
        ("lang > 3", "column 'lang' is of type String and cannot be compared"),
        ("perplexity == 'x'", "column 'perplexity' is of type Float64 and cannot be"),
        ("num_tokens > num_bytes", "cannot be compared with this value"),
    ],
)
def test_a_column_that_is_not_there_or_not_so(condition, message):
    config = load_filter_config(None, {"run": "x", "where": condition})
    for rule in Selection.of(config).rules:
        with pytest.raises(ConfigError) as raised:
            rule.check(SCHEMA_KINDS)
        assert message in f"{raised.value} {raised.value.hint}"


SCHEMA_KINDS = pl.Schema(SCHEMA)


@pytest.mark.parametrize(
    ("condition", "hint"),
    [
        ("fine", "as in fine > 10; or fine == true, if it is true or false"),
        ("not fine", "as in fine > 10; or fine == true, if it is true or false"),
        ("fine == True", "write fine == true or fine == false"),
        ("fine == 1", "write fine == true or fine == false"),
        ('num_tokens == "20"', "write a number, without quotes"),
        ("lang == en", 'quote "en"'),
        ("lang == 7", "quote the value"),
        ("fine == true && num_tokens > 1", "write and"),
        ("fine == true || num_tokens > 1", "write or"),
        ("!fine", "write not"),
    ],
)
def test_what_another_language_would_write_has_a_hint(condition, hint):
    kinds = {"fine": pl.Boolean(), "num_tokens": pl.Int64(), "lang": pl.String()}
    with pytest.raises(ConfigError) as raised:
        Where(condition).check(kinds)
    assert raised.value.hint == hint
