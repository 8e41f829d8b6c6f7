"""pipeline/filters/rules/budget.py within groups; without them, see test_selection.py."""

from fractions import Fraction
from unittest import mock

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.filters import budget_edges
from pipeline.filters.config import load_filter_config
from pipeline.filters.selection import Selection
from tests.filters.test_selection import (
    ROWS,
    SCHEMA,
    budget_order,
    bytes_of,
    decide,
    fitting,
    is_scored,
    scores_of,
    tokens_of,
)

LANGS = ("en", "de", None)


@settings(max_examples=150)
@given(
    ROWS,
    st.integers(1, 600),
    st.sampled_from(["low", "middle", "high", "random"]),
    st.sampled_from(["tokens", "bytes"]),
    st.one_of(st.none(), st.lists(st.integers(0, 4), min_size=3, max_size=3).filter(any)),
    st.sampled_from([1, budget_edges.MOST_HELD]),
)
def test_each_group_has_its_part(rows, budget, prefer, unit, shares, most_held):
    table = scores_of(rows)
    size_of = {"tokens": tokens_of, "bytes": bytes_of}[unit]
    order = budget_order(table, "perplexity", prefer, 0)
    there = {row["lang"] for row in order}
    options = {}
    if shares is not None:
        given_to = {lang: share for lang, share in zip(LANGS, shares, strict=True) if lang in there}
        if not any(given_to.values()):
            return
        options["shares"] = [f"{lang or '(null)'}={share}" for lang, share in given_to.items()]
    with mock.patch.object(budget_edges, "MOST_HELD", most_held):
        decided = decide(
            table, within="lang", prefer=prefer, **{f"budget_{unit}": str(budget)}, **options
        )
    expected = set()
    for lang in there:
        own = [row for row in order if row["lang"] == lang]
        part = (
            Fraction(size_of(own), size_of(order))
            if shares is None
            else Fraction(given_to[lang], sum(given_to.values()))
        )
        kept = fitting(own, int(budget * part), prefer, size_of)
        expected |= {(row["file"], row["row"]) for row in kept}
    got = {
        (row["file"], row["row"]) for row, keep in zip(table, decided["keep"], strict=True) if keep
    }
    assert got == expected
    assert size_of([row for row in table if (row["file"], row["row"]) in got]) <= budget


def test_in_proportion_to_what_other_rules_keep():
    rows = [("a", "en", "ok", float(i + 1), 10) for i in range(20)]
    rows += [("a", "de", "ok", float(i + 1), 10) for i in range(10)]
    # Of English 10 and of German 10 documents are up to 10: half of the budget each.
    decided = decide(scores_of(rows), max=["perplexity=10"], budget_tokens="100", within="lang")
    kept = [i for i, keep in enumerate(decided["keep"]) if keep]
    assert kept == [0, 1, 2, 3, 4, 20, 21, 22, 23, 24]


def test_a_larger_group_has_a_larger_part_whatever_its_values():
    rows = [("a", "en", "ok", float(i + 1), 10) for i in range(30)]
    rows += [("a", "de", "ok", float(i + 101), 10) for i in range(10)]
    decided = decide(scores_of(rows), budget_tokens="200", within="lang")["keep"].to_list()
    assert decided == [True] * 15 + [False] * 15 + [True] * 5 + [False] * 5


def test_equal_values_are_kept_as_far_as_the_part_goes():
    rows = [("a", lang, "ok", 5.0, 10) for lang in ("en", "de") for _ in range(10)]
    decided = decide(scores_of(rows), budget_tokens="100", within="lang")["keep"].to_list()
    assert (sum(decided[:10]), sum(decided[10:])) == (5, 5)


def test_ties_are_looked_at_only_where_a_budget_ends_among_them():
    """Else no row's place is read and hashed: half of what a filter costs."""
    for values, columns in (
        ((1.0, 2.0, 3.0, 4.0), ["group", "before key"]),
        ((1.0, 1.0, 3.0, 4.0), ["group", "before key"]),
        ((1.0, 3.0, 3.0, 4.0), ["group", "before key", "before tie"]),
    ):
        scores = pl.LazyFrame(scores_of([("a", "en", "ok", v, 10) for v in values]), schema=SCHEMA)
        config = load_filter_config(None, {"run": "x", "budget_tokens": "20", "within": "lang"})
        (rule,) = Selection.of(config).find(scores).rules
        assert budget_edges.cutting(rule.edges).columns == columns
        kept = Selection((rule,)).decide(scores).collect().filter("keep")
        assert kept["tokens"].sum() == 20


def test_an_odd_excess_is_dropped_whole():
    """Half of 5 tokens at either end is 3: 2 would keep 12 of 11."""
    rows = [("a", "en", "ok", float(i), size) for i, size in enumerate((2, 1, 10, 1, 2), 1)]
    decided = decide(scores_of(rows), budget_tokens="11", within="lang", prefer="middle")
    assert decided["keep"].to_list() == [False, False, True, False, False]


def test_beside_percentiles_within_groups_it_is_one_budget_unless_it_is_divided():
    rows = [("a", "en", "ok", float(i + 1), 10) for i in range(10)]
    rows += [("a", "de", "ok", float(i + 101), 10) for i in range(10)]
    rules = {"percentile": "0:100", "within": "lang", "budget_tokens": "100"}
    one = decide(scores_of(rows), **rules)["keep"].to_list()
    assert one == [True] * 10 + [False] * 10
    config = load_filter_config(None, {"run": "x", **rules})
    found = Selection.of(config).find(pl.LazyFrame(scores_of(rows), schema=SCHEMA))
    assert "the budget is one for all groups of lang, not divided among them" in found.words()
    divided = decide(scores_of(rows), **rules, shares=["proportional"])["keep"].to_list()
    assert divided == ([True] * 5 + [False] * 5) * 2


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (["en=1"], "shares has no share for 'de' of column 'lang'"),
        (
            ["en=1", "de=1", "fi=1"],
            "shares has a share for 'fi', but no document that the other rules",
        ),
        (["en=0", "de=0"], "shares are all 0"),
        (["en"], "must be GROUP=SHARE"),
        (["en=-1"], "shares"),
    ],
)
def test_shares_are_of_the_groups_that_there_are(shares, message):
    rows = [("a", lang, "ok", 1.0, 10) for lang in ("en", "de")]
    with pytest.raises(ConfigError, match=message):
        decide(scores_of(rows), budget_tokens="10", within="lang", shares=shares)


def test_a_million_tokens_more_than_there_are():
    rows = [("a", lang, "ok", 1.0, 10) for lang in ("en", "de")]
    table = scores_of(rows)
    assert all(is_scored(row, "perplexity") for row in table)
    decided = decide(table, budget_tokens="1M", within="lang", shares=["en=1", "de=1"])
    assert decided["keep"].all()


def words_of(rows, **settings) -> list[str]:
    config = load_filter_config(None, {"run": "unused", **settings})
    scores = pl.DataFrame(scores_of(rows), schema=SCHEMA).lazy()
    return list(Selection.of(config).find(scores).words())


@pytest.mark.parametrize("prefer", ["low", "middle", "high", "random"])
def test_a_group_that_its_part_holds_whole_is_said(prefer):
    rows = [("a", lang, "ok", 1.0 + i, 10) for lang in ("en", "de", "fi") for i in range(4)]
    shares = ["en=0", "de=0.9", "fi=0.1"]
    said = words_of(rows, budget_tokens="100", prefer=prefer, within="lang", shares=shares)
    assert "en: a budget of 0 tokens keeps nothing" in said
    assert "de: all fits in a budget of 90 tokens" in said
    assert not any("fi: all fits" in line for line in said)


def test_every_group_without_a_share_is_named_at_once():
    rows = [("a", lang, "ok", 1.0, 10) for lang in ("en", "de", "fi")]
    with pytest.raises(ConfigError, match="'de' of column 'lang', and 1 more group") as caught:
        decide(scores_of(rows), budget_tokens="10", within="lang", shares=["en=1"])
    assert caught.value.hint == "add de=SHARE, fi=SHARE; de=0 keeps none of it"
