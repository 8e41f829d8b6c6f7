"""pipeline/filters/selection.py against the rules written once more, in plain Python."""

import math
from itertools import groupby
from unittest import mock

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.filters import budget_edges
from pipeline.filters.config import FilterConfig, load_filter_config
from pipeline.filters.rules.budget import Budget
from pipeline.filters.selection import Selection
from pipeline.statistics.columns import column_named
from tests.statistics.test_hashing import splitmix

# Few values, so that ties are common; 0.1 + 0.2 lies one bit beyond 0.3.
VALUES = st.one_of(st.sampled_from([1.0, 2.0, 0.3, 0.1 + 0.2]), st.floats(0.5, 1e6), st.just(None))
ROW = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["en", "de", None]),
    st.sampled_from(["ok", "ok", "ok", "truncated", "empty", "error"]),
    VALUES,
    st.integers(1, 50),
)
ROWS = st.lists(ROW, min_size=1, max_size=40)
PERCENT = st.integers(0, 1000).map(lambda tenths: tenths / 10)


def scores_of(rows) -> list[dict]:
    table = []
    for file, group in groupby(sorted(rows, key=lambda row: row[0]), key=lambda row: row[0]):
        for index, (_, lang, status, value, tokens) in enumerate(group):
            scored = status in ("ok", "truncated")
            table.append(
                {
                    "file": file,
                    "row": index,
                    "lang": lang,
                    "status": status,
                    "num_tokens": tokens if scored else 0,
                    "num_skipped_tokens": 3 if status == "truncated" else 0,
                    "num_bytes": 4 * tokens,
                    "perplexity": value if scored else None,
                    "nll": None if value is None or not scored else value * 2 - 5,
                }
            )
    return table


SCHEMA = {
    "file": pl.String,
    "row": pl.Int64,
    "lang": pl.String,
    "status": pl.String,
    "num_tokens": pl.Int64,
    "num_skipped_tokens": pl.Int64,
    "num_bytes": pl.Int64,
    "perplexity": pl.Float64,
    "nll": pl.Float64,
}


def decide(table: list[dict], **options) -> pl.DataFrame:
    config = load_filter_config(None, {"run": "x", **options})
    scores = pl.LazyFrame(table, schema=SCHEMA)
    selection = Selection.of(config).find(scores)
    decided = selection.decide(scores).collect()
    assert decided["file"].to_list() == [row["file"] for row in table]
    assert decided["row"].to_list() == [row["row"] for row in table]
    return decided


def is_scored(row: dict, *metrics: str) -> bool:
    return row["status"] in ("ok", "truncated") and all(row[name] is not None for name in metrics)


@given(ROWS, st.floats(0, 100), st.floats(-10, 100), st.sampled_from(["keep", "drop"]))
def test_bounds(rows, most, least, unscored):
    table = scores_of(rows)
    decided = decide(table, max=[f"perplexity={most}"], min=[f"nll={least}"], unscored=unscored)
    for row, keep in zip(table, decided["keep"], strict=True):
        if is_scored(row, "perplexity", "nll"):
            assert keep == (row["perplexity"] <= most and row["nll"] >= least)
        else:
            assert keep == (unscored == "keep")


@given(ROWS, PERCENT, PERCENT, st.booleans())
def test_percentiles_are_numpys(rows, one, other, within):
    low, high = sorted((one, other))
    table = scores_of(rows)
    decided = decide(
        table, percentile=f"{low!r}:{high!r}", **({"within": "lang"} if within else {})
    )
    for row, keep in zip(table, decided["keep"], strict=True):
        if not is_scored(row, "perplexity"):
            assert keep is False
            continue
        peers = sorted(
            other["perplexity"]
            for other in table
            if is_scored(other, "perplexity") and (not within or other["lang"] == row["lang"])
        )
        # numpy's linear percentile of the ranks is free of the rounding of values.
        ranks = np.arange(len(peers))
        first, last = np.percentile(ranks, [low, high])
        first, last = math.ceil(first - 1e-9), math.floor(last + 1e-9)
        assert keep == (peers[first] <= row["perplexity"] <= peers[last])


@pytest.mark.parametrize(("low", "high"), [(10, 90), (7, 7.5), (0, 100), (25, 75)])
def test_percentiles_of_distinct_values_are_exactly_numpys(low, high):
    values = np.random.default_rng(3).lognormal(3, 1, 1001)
    table = scores_of([("a", "en", "ok", float(value), 1) for value in values])
    decided = decide(table, percentile=f"{low}:{high}")
    first, last = np.percentile(values, [low, high])
    assert decided["keep"].to_list() == [bool(first <= value <= last) for value in values]


@given(ROWS, st.booleans())
def test_buckets_part_at_the_terciles(rows, within):
    table = scores_of(rows)
    decided = decide(table, buckets="head,tail", **({"within": "lang"} if within else {}))
    for row, keep, bucket in zip(table, decided["keep"], decided["bucket"], strict=True):
        if not is_scored(row, "perplexity"):
            assert (keep, bucket) == (False, None)
            continue
        peers = sorted(
            other["perplexity"]
            for other in table
            if is_scored(other, "perplexity") and (not within or other["lang"] == row["lang"])
        )
        first, second = peers[(len(peers) - 1) // 3], peers[2 * (len(peers) - 1) // 3]
        value = row["perplexity"]
        expected = "head" if value <= first else "middle" if value <= second else "tail"
        assert bucket == expected
        assert keep == (expected != "middle")


def budget_order(table, metric, prefer, seed):
    def key(row):
        tie = splitmix(seed, "order", row["file"], row["row"])
        return (tie, tie) if prefer == "random" else (row[metric], tie)

    needed = [] if prefer == "random" else [metric]
    return sorted((row for row in table if is_scored(row, *needed)), key=key)


def tokens_of(rows):
    return sum(row["num_tokens"] + row["num_skipped_tokens"] for row in rows)


def bytes_of(rows):
    return sum(row["num_bytes"] for row in rows)


def fitting(order, budget, prefer, size_of):
    """The rows that a budget keeps, of those in its order."""
    start, end = 0, len(order)
    if prefer in ("low", "random"):
        while size_of(order[:end]) > budget:
            end -= 1
    elif prefer == "high":
        while size_of(order[start:]) > budget:
            start += 1
    else:
        excess = max(0, size_of(order) - budget)
        while 2 * size_of(order[:start]) < excess:
            start += 1
        while 2 * size_of(order[end:]) < excess:
            end -= 1
    return order[start:end]


@settings(max_examples=200)
@given(
    ROWS,
    st.integers(1, 600),
    st.sampled_from(["low", "middle", "high", "random"]),
    st.integers(0, 3),
    st.sampled_from(["tokens", "bytes"]),
    st.sampled_from([1, budget_edges.MOST_HELD]),
)
def test_budget(rows, budget, prefer, seed, unit, most_held):
    table = scores_of(rows)
    size_of = {"tokens": tokens_of, "bytes": bytes_of}[unit]
    asked = {f"budget_{unit}": str(budget)}
    with mock.patch.object(budget_edges, "MOST_HELD", most_held):
        decided = decide(table, **asked, prefer=prefer, seed=seed)
    order = budget_order(table, "perplexity", prefer, seed)
    fitted = fitting(order, budget, prefer, size_of)
    kept = {(row["file"], row["row"]) for row in fitted}
    assert size_of(fitted) <= budget
    got = {
        (row["file"], row["row"]) for row, keep in zip(table, decided["keep"], strict=True) if keep
    }
    assert got == kept


@settings(max_examples=100)
@given(ROWS, st.integers(1, 600), st.sampled_from(["tokens", "bytes"]))
def test_the_middle_of_a_budget_is_the_median_by_size(rows, budget, unit):
    table = scores_of(rows)
    size_of = {"tokens": tokens_of, "bytes": bytes_of}[unit]
    options = {"run": "x", f"budget_{unit}": str(budget), "prefer": "middle"}
    config = load_filter_config(None, options)
    selection = Selection.of(config).find(pl.LazyFrame(table, schema=SCHEMA))
    (rule,) = (one for one in selection.rules if isinstance(one, Budget))
    middle = next((part["middle"] for part in rule.edge_values()), None)
    order = budget_order(table, "perplexity", "middle", 0)
    total = size_of(order)
    if total <= budget:
        assert middle is None
        return
    value = next(
        row["perplexity"] for i, row in enumerate(order) if 2 * size_of(order[: i + 1]) > total
    )
    assert middle == value
    assert f"the middle is perplexity {value:.6g}, the median weighted by {unit}" in list(
        rule.words()
    )


@settings(max_examples=150)
@given(
    ROWS,
    st.integers(1, 600),
    st.sampled_from(["low", "middle", "high"]),
    st.sampled_from([1, budget_edges.MOST_HELD]),
)
def test_a_budget_names_the_outermost_values_that_it_keeps(rows, budget, prefer, most_held):
    table = scores_of(rows)
    options = {"run": "x", "budget_tokens": str(budget), "prefer": prefer}
    with mock.patch.object(budget_edges, "MOST_HELD", most_held):
        selection = Selection.of(load_filter_config(None, options)).find(
            pl.LazyFrame(table, schema=SCHEMA)
        )
    said = [line for line in selection.words() if line.startswith("the budget")]
    order = budget_order(table, "perplexity", prefer, 0)
    kept = [row["perplexity"] for row in fitting(order, budget, prefer, tokens_of)]
    if tokens_of(order) <= budget:
        assert not said
        return
    if not kept:
        assert said == ["the budget keeps nothing: the first document does not fit"]
        return
    cut = {"low": ["last"], "high": ["first"], "middle": ["first", "last"]}[prefer]
    words = {"first": f"from {kept[0]:.6g}", "last": f"up to {kept[-1]:.6g}"}
    assert said == [f"the budget keeps perplexity {' '.join(words[end] for end in cut)}"]


def test_groups_too_small_for_their_percentiles_are_named_instead_of_a_band():
    rows = [("a", lang, "ok", value, 10) for lang in ("en", None) for value in (3.0, 9.0)]
    rows += [("a", "de", "ok", float(value), 10) for value in range(1, 12)]
    options = {"run": "x", "percentile": "40:60", "within": "lang"}
    config = load_filter_config(None, options)
    found = Selection.of(config).find(pl.LazyFrame(scores_of(rows), schema=SCHEMA))
    assert list(found.words()) == [
        "de: perplexity from 5 to 7",
        "lang (null), en: too few documents for these percentiles: none lies between them",
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"percentile": (0.05, 0.8)}, "0.05 and 0.8 are among the lowest 1%, not 5 and 80"),
        ({"percentile": (0, 0.29)}, "0 and 0.29 are among the lowest 1%, not 0 and 29"),
        (
            {"buckets": "head", "bucket_percentiles": (0.3, 0.6)},
            "0.3 and 0.6 are among the lowest 1%, not 30 and 60",
        ),
        ({"percentile": (0.5, 80)}, None),
        ({"buckets": "head"}, None),
    ],
)
def test_shares_in_place_of_percentiles_are_remarked_on(settings, said):
    """Allowed, as the lowest of very many documents may be looked for, and hardly ever meant."""
    rows = [("a", None, "ok", float(value), 10) for value in range(9)]
    config = load_filter_config(None, {"run": "x", **settings})
    found = Selection.of(config).find(pl.LazyFrame(scores_of(rows), schema=SCHEMA))
    remarks = [line for line in found.words() if "percentiles go from" in line]
    assert remarks == ([f"percentiles go from 0 to 100: {said}"] if said else [])


def test_what_is_kept_without_a_score_is_charged_to_the_budget():
    rows = [("a", None, "ok", 1.0, 10), ("a", None, "ok", None, 25), ("a", None, "ok", 2.0, 10)]
    decided = decide(scores_of(rows), budget_tokens="40", unscored="keep")
    assert decided["keep"].to_list() == [True, True, False]


def test_other_rules_come_before_the_budget():
    rows = [("a", None, "ok", float(value), 10) for value in range(1, 11)]
    decided = decide(scores_of(rows), min=["perplexity=4"], budget_tokens="25")
    assert [index for index, keep in enumerate(decided["keep"], 1) if keep] == [4, 5]


def test_sample_follows_the_gaussian_and_not_the_dealing():
    values = np.random.default_rng(0).uniform(0, 40, 40_000)
    table = scores_of([("a", None, "ok", float(value), 1) for value in values])
    decided = decide(table, sample_toward="20,5", seed=1)
    probability = np.exp(-(((values - 20) / 5) ** 2) / 2)
    chance = np.array([splitmix(1, "sample", "a", row) >> 11 for row in range(len(values))]) / 2**53
    assert decided["keep"].to_list() == (chance < probability).tolist()
    kept = values[decided["keep"].to_numpy()]
    # A uniform density times the Gaussian is the Gaussian.
    assert stats.kstest(kept, stats.truncnorm(-4, 4, 20, 5).cdf).pvalue > 1e-3
    config = FilterConfig(run="x", sample_toward=(20.0, 5.0), seed=1)
    scores = pl.LazyFrame(table, schema=SCHEMA)
    pieces = [
        Selection.of(config).find(scores).decide(scores.slice(at, 7_000)).collect()["keep"]
        for at in range(0, 40_000, 7_000)
    ]
    assert pl.concat(pieces).to_list() == decided["keep"].to_list()


def test_a_group_without_scored_documents_keeps_nothing():
    rows = [("a", "en", "ok", 1.0, 1), ("a", "de", "error", None, 1)]
    decided = decide(scores_of(rows), percentile="0:100", within="lang")
    assert decided["keep"].to_list() == [True, False]


def test_no_scored_document_at_all():
    for rules in (
        {"percentile": "0:100"},
        {"buckets": "head"},
        {"budget_tokens": "5"},
        {"sample_toward": "1,1"},
    ):
        decided = decide(scores_of([("a", "en", "error", None, 1)]), **rules)
        assert decided["keep"].to_list() == [False]


def test_nan_is_no_value():
    table = scores_of([("a", "en", "ok", 1.0, 1), ("a", "en", "ok", math.nan, 1)])
    decided = decide(table, percentile="0:100")
    assert decided["keep"].to_list() == [True, False]
    assert decided["scored"].to_list() == [True, False]


def test_the_middle_drops_no_more_than_it_must():
    rows = [("a", None, "ok", float(value), 10) for value in range(1, 5)]
    decided = decide(scores_of(rows), budget_tokens="20", prefer="middle")
    assert decided["keep"].to_list() == [False, True, True, False]


def odd_scores() -> tuple[pl.LazyFrame, list[dict]]:
    """Every other row is in the group a of `^g$`, all are in x of `g`; a third has no `^q$`."""
    table = scores_of([("f", None, "ok", float(i + 1), 10) for i in range(12)])
    quality = [math.nan if i % 3 == 0 else i / 12 for i in range(12)]
    scores = pl.LazyFrame(table, schema=SCHEMA).with_columns(
        pl.Series("^g$", ["a", "b"] * 6),
        pl.lit("x").alias("g"),
        pl.Series("^q$", quality, pl.Float32),
        pl.lit(0.0).alias("q"),
        pl.Series("*", quality),
    )
    return scores, table


@pytest.mark.parametrize("metric", ["^q$", "*"])
def test_a_bound_on_a_column_with_a_name_like_a_pattern(metric):
    scores, _ = odd_scores()
    config = load_filter_config(None, {"run": "x", "min": [f"{metric}=0.5"]})
    decided = Selection.of(config).find(scores).decide(scores, "^g$").collect()
    assert decided.filter("keep")["row"].to_list() == [7, 8, 10, 11]
    assert decided.filter(~pl.col("scored"))["row"].to_list() == [0, 3, 6, 9]
    assert decided["by"].to_list() == ["a", "b"] * 6


def test_within_a_column_with_a_name_like_a_pattern():
    scores, table = odd_scores()
    options = {"run": "x", "percentile": "0:50", "within": "^g$"}
    decided = Selection.of(load_filter_config(None, options)).find(scores).decide(scores).collect()
    for first in (0, 1):
        own = np.array([row["perplexity"] for row in table[first::2]])
        assert decided["keep"].to_list()[first::2] == list(own <= np.percentile(own, 50))


def test_a_nan_is_in_the_group_of_what_is_missing():
    scores, _ = odd_scores()
    scores = scores.with_columns(pl.when(pl.col("row") > 5).then(column_named("^q$")).alias("^q$"))
    options = {"run": "x", "percentile": "0:100", "within": "^q$"}
    (rule,) = Selection.of(load_filter_config(None, options)).find(scores).rules
    cutoffs = rule.cutoffs
    assert dict(cutoffs.select("group", "documents").iter_rows())[None] == 8
