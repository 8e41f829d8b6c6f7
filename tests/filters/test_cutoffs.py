"""pipeline/filters/cutoffs.py: percentiles of tokens and bytes, exactly, and very many groups."""

from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filters.config import load_filter_config
from pipeline.filters.selection import Selection
from pipeline.statistics.quantile import weighted_quantiles
from tests.filters.test_selection import PERCENT, ROWS, decide, is_scored, scores_of


def weight_of(row, weight):
    if weight == "documents":
        return 1
    return row["num_tokens"] + row["num_skipped_tokens"] if weight == "tokens" else row["num_bytes"]


def exact_quantile(peers, percent, weight) -> Fraction:
    """Akinshin's weighted type 7, as it is defined, without rounding."""
    values = sorted((Fraction(row["perplexity"]), weight_of(row, weight)) for row in peers)
    total = sum(own for _, own in values)
    effective = Fraction(total**2, sum(own**2 for _, own in values))
    begins = Fraction(repr(percent)) / 100 * (effective - 1) / effective
    ends = begins + 1 / effective
    found, upto = Fraction(0), Fraction(0)
    for value, own in values:
        before, upto = upto, upto + Fraction(own, total)
        found += value * max(Fraction(0), min(upto, ends) - max(before, begins)) * effective
    return found


@settings(max_examples=200)
@given(ROWS, PERCENT, PERCENT, st.booleans(), st.sampled_from(["documents", "tokens", "bytes"]))
def test_weighted_percentiles(rows, one, other, within, weight):
    low, high = sorted((one, other))
    table = scores_of(rows)
    options = {"within": "lang"} if within else {}
    decided = decide(table, percentile=f"{low!r}:{high!r}", weight=weight, **options)
    for row, keep in zip(table, decided["keep"], strict=True):
        if not is_scored(row, "perplexity"):
            assert keep is False
            continue
        peers = [
            peer
            for peer in table
            if is_scored(peer, "perplexity") and (not within or peer["lang"] == row["lang"])
        ]
        ends = [exact_quantile(peers, percent, weight) for percent in (low, high)]
        assert keep is (ends[0] <= Fraction(row["perplexity"]) <= ends[1])


@pytest.mark.parametrize("weight", ["tokens", "bytes"])
def test_it_is_the_quantile_of_everything_else(weight):
    rng = np.random.default_rng(5)
    rows = [
        ("a", "en", "ok", float(value), int(tokens))
        for value, tokens in zip(rng.lognormal(3, 1, 3000), rng.lognormal(5, 1, 3000), strict=True)
    ]
    table = scores_of(rows)
    decided = decide(table, percentile="7.5:60", weight=weight)
    values = np.array([row["perplexity"] for row in table])
    weights = np.array([weight_of(row, weight) for row in table], float)
    first, last = weighted_quantiles(values, weights, [0.075, 0.6])
    assert decided["keep"].to_list() == ((values >= first) & (values <= last)).tolist()
    kept = weights[decided["keep"].to_numpy()].sum() / weights.sum()
    assert kept == pytest.approx(0.525, abs=0.01)


def test_buckets_part_at_terciles_of_tokens():
    rows = [("a", "en", "ok", 1.0, 60), *(("a", "en", "ok", float(i), 1) for i in range(2, 32))]
    decided = decide(scores_of(rows), buckets="head,middle,tail", weight="tokens")
    by_documents = decide(scores_of(rows), buckets="head,middle,tail")
    assert decided["bucket"].to_list().count("head") < by_documents["bucket"].to_list().count(
        "head"
    )


def test_very_many_groups_and_groups_of_one():
    num_groups = 200_000
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 4, num_groups)
    groups = np.repeat(np.arange(num_groups), sizes)
    values = rng.integers(1, 1000, len(groups)).astype(float)
    scores = pl.LazyFrame(
        {
            "file": pl.repeat("a", len(groups), eager=True),
            "row": np.arange(len(groups)),
            "lang": groups,
            "status": pl.repeat("ok", len(groups), eager=True),
            "num_tokens": np.ones(len(groups), np.int64),
            "num_skipped_tokens": np.zeros(len(groups), np.int64),
            "num_bytes": np.ones(len(groups), np.int64),
            "perplexity": values,
            "nll": values,
        }
    )
    frame = scores.collect()
    for weight in ("documents", "tokens"):
        config = load_filter_config(
            None, {"run": "x", "percentile": "0:50", "within": "lang", "weight": weight}
        )
        found = Selection.of(config).find(scores)
        *_, last = found.words()
        assert last == "and 199,950 more groups"
        expected = frame.select(
            pl.col("perplexity") <= pl.col("perplexity").median().over("lang")
        ).to_series()
        assert found.decide(scores).collect()["keep"].equals(expected, check_names=False)
