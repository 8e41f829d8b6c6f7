"""pipeline/filters/rules/copies.py against a dictionary of texts."""

from unittest import mock

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filters.config import load_filter_config
from pipeline.filters.selection import Selection
from pipeline.reports import duplicates
from tests.filters.test_selection import ROWS, SCHEMA, is_scored, scores_of

KINDS = SCHEMA | {"text_hash": pl.Int64}


def with_hashes(rows, hashes) -> list[dict]:
    table = scores_of(rows)
    for row, text_hash in zip(table, hashes * len(table), strict=False):
        row["text_hash"] = None if row["status"] == "empty" else text_hash
        row["num_bytes"] = 4 + row["num_tokens"] % 2  # so that copies are common
    return table


def kept(table, **options):
    scores = pl.LazyFrame(table, schema=KINDS)
    config = load_filter_config(None, {"run": "x", **options})
    selection = Selection.of(config).find(scores)
    decided = selection.decide(scores).collect()
    pieces = [selection.decide(scores.slice(at, 6)).collect() for at in range(0, len(table), 6)]
    assert pl.concat(pieces).equals(decided)
    return decided["keep"].to_list()


@settings(max_examples=150)
@given(
    ROWS,
    st.lists(st.integers(-3, 3).map(lambda n: n * 2**61), min_size=1, max_size=9),
    st.sampled_from(["first", "low", "high"]),
    st.booleans(),
    st.sampled_from([3, 10**8]),
)
def test_one_of_each_text(rows, hashes, stays, bounded, at_a_time):
    table = with_hashes(rows, hashes)
    rules = {"drop_copies": stays, **({"max": ["perplexity=2"]} if bounded else {})}
    with mock.patch.object(duplicates, "MOST_AT_A_TIME", at_a_time):
        decided = kept(table, **rules)
    best = {}
    for place, row in enumerate(table):
        metric = row["perplexity"]
        if not is_scored(row, *(["perplexity"] if bounded or stays != "first" else [])):
            continue
        if bounded and metric > 2:
            continue
        key = (row["text_hash"], row["num_bytes"])
        rank = {"first": 0, "low": metric, "high": -metric if metric else metric}[stays]
        if key[0] is None:  # not a text
            key = place
        if key not in best or rank < best[key][0]:
            best[key] = rank, place
    assert decided == [
        place in {found for _, found in best.values()} for place in range(len(table))
    ]


def test_no_text_is_lost_for_a_copy_that_another_rule_drops():
    rows = [("a", "de", "ok", 2.0, 5), ("a", "en", "ok", 2.0, 5), ("b", "en", "ok", 2.0, 5)]
    assert kept(with_hashes(rows, [7]), drop_copies="first", where='lang == "en"') == [
        False,
        True,
        False,
    ]


def test_a_copy_without_a_score_takes_no_scored_ones_place():
    rows = [("a", "en", "error", None, 10), ("a", "en", "ok", 2.0, 10), ("a", "en", "ok", 1.0, 10)]
    for stays, expected in (("first", [True, True, False]), ("low", [True, False, True])):
        assert kept(with_hashes(rows, [7]), drop_copies=stays, unscored="keep") == expected


def test_a_budget_is_spent_on_what_stays():
    rows = [("a", None, "ok", float(i // 2), 10) for i in range(8)]
    decided = kept(with_hashes(rows, [1, 1, 2, 2, 3, 3, 4, 4]), drop_copies="first",
                   budget_tokens="30")  # fmt: skip
    assert decided == [True, False] * 3 + [False, False]


@pytest.mark.parametrize("unscored", ["keep", "drop"])
def test_documents_without_a_score_are_no_copies(unscored):
    rows = [("a", None, "error", None, 5)] * 3
    decided = kept(with_hashes(rows, [1]), drop_copies="first", unscored=unscored)
    assert decided == [unscored == "keep"] * 3
