"""What a sample says of its corpus, against sums made by hand and against the corpus itself."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from pipeline.audits.sample_estimate import (
    Stratum,
    estimates,
    weighted_figures,
    weighted_groups,
    with_weights,
)


def population(seed: int) -> pl.DataFrame:
    """Three strata of very different sizes and surprise; some rows without a score."""
    random = np.random.default_rng(seed)
    parts = []
    for source, size, level in (("web", 4000, 3.0), ("books", 600, 2.0), ("code", 60, 1.0)):
        tokens = random.integers(1, 200, size)
        nll = tokens * (level + random.normal(0, 0.4, size))
        scored = random.random(size) > 0.05
        parts.append(
            pl.DataFrame(
                {
                    "source": source,
                    "status": np.where(scored, "ok", "skipped"),
                    "num_tokens": np.where(scored, tokens, 0),
                    "num_bytes": tokens * 4,
                    "num_scored_bytes": np.where(scored, tokens * 4, 0),
                    "nll": pl.Series(np.where(scored, nll, np.nan)).fill_nan(None),
                }
            )
        )
    frame = pl.concat(parts)
    return frame.with_columns(
        (pl.col("nll") / pl.col("num_tokens")).exp().alias("perplexity"),
        (pl.col("nll") / pl.col("num_scored_bytes") / math.log(2)).alias("bits_per_byte"),
    )


def draw(frame: pl.DataFrame, sizes: dict[str, int], seed: int):
    drawn, strata = [], []
    for value, size in sizes.items():
        own = frame.filter(pl.col("source") == value)
        drawn.append(own.sample(size, seed=seed))
        strata.append(Stratum(value=value, num_rows=own.height, num_drawn=size))
    return pl.concat(drawn), strata


def truth(frame: pl.DataFrame) -> float:
    return math.exp(frame["nll"].sum() / frame["num_tokens"].sum())


def test_the_interval_holds_the_truth_as_often_as_it_says():
    frame = population(1)
    inside, off = 0, []
    for seed in range(300):
        # Out of proportion on purpose: the weights have to put it right.
        drawn, strata = draw(frame, {"web": 100, "books": 100, "code": 40}, seed)
        estimate = estimates(drawn.lazy(), "source", strata)["corpus_perplexity"]
        inside += estimate.interval.low <= truth(frame) <= estimate.interval.high
        off.append(estimate.value / truth(frame) - 1)
    assert 0.91 <= inside / 300 <= 0.985
    assert abs(np.mean(off)) < 0.01


def test_by_the_textbook():
    """Cochran's formulas, one stratum at a time, in plain numpy."""
    frame = population(2)
    drawn, strata = draw(frame, {"web": 50, "books": 30, "code": 20}, 0)
    nll_hat = size_hat = 0.0
    for one in strata:
        own = drawn.filter(pl.col("source") == one.value)
        nll_hat += one.num_rows * own["nll"].fill_null(0).to_numpy().mean()
        size_hat += one.num_rows * own["num_scored_bytes"].to_numpy().mean()
    ratio = nll_hat / size_hat
    parts = []
    for one in strata:
        own = drawn.filter(pl.col("source") == one.value)
        y, x = own["nll"].fill_null(0).to_numpy(), own["num_scored_bytes"].to_numpy()
        residuals = y - ratio * x
        fraction = one.num_drawn / one.num_rows
        spread = np.sum((residuals - residuals.mean()) ** 2) / (len(y) - 1)
        parts.append(one.num_rows**2 * (1 - fraction) / one.num_drawn * spread)
    variance = sum(parts)
    freedom = variance**2 / sum(
        part**2 / (one.num_drawn - 1) for part, one in zip(parts, strata, strict=True)
    )
    half = stats.t.isf(0.025, freedom) * math.sqrt(variance) / size_hat
    estimate = estimates(drawn.lazy(), "source", strata)["bits_per_byte"]
    expected = [x / math.log(2) for x in (ratio - half, ratio, ratio + half)]
    found = [estimate.interval.low, estimate.value, estimate.interval.high]
    assert found == pytest.approx(expected, rel=1e-12)


def test_all_of_a_corpus_is_no_guess():
    frame = population(3)
    drawn, strata = draw(frame, {"web": 4000, "books": 600, "code": 60}, 0)
    estimate = estimates(drawn.lazy(), "source", strata)["corpus_perplexity"]
    assert estimate.value == pytest.approx(truth(frame), rel=1e-12)
    assert estimate.interval.low == estimate.value == estimate.interval.high


def test_one_drawn_row_of_many_cannot_tell():
    frame = population(4)
    drawn, strata = draw(frame, {"web": 100, "books": 50, "code": 1}, 0)
    estimate = estimates(drawn.lazy(), "source", strata)["corpus_perplexity"]
    assert estimate.value > 0
    assert estimate.interval is None


def test_nothing_scored():
    frame = population(5).filter(pl.col("status") == "skipped")
    strata = [Stratum(value=None, num_rows=1000, num_drawn=frame.height)]
    assert estimates(frame.lazy(), None, strata) == {
        "corpus_perplexity": None,
        "bits_per_byte": None,
    }


def test_figures_are_of_the_corpus():
    """Every drawn row as many times as it stands for gives the same figures."""
    frame = population(6)
    drawn, _ = draw(frame, {"web": 40, "books": 30, "code": 20}, 0)
    weight = {"web": 10, "books": 3, "code": 1}
    strata = [
        Stratum(value=value, num_rows=weight[value] * size, num_drawn=size)
        for value, size in {"web": 40, "books": 30, "code": 20}.items()
    ]
    repeated = pl.concat(
        [drawn.filter(pl.col("source") == v) for v, times in weight.items() for _ in range(times)]
    )
    rows = with_weights(drawn.lazy(), "source", strata)
    figures = weighted_figures(rows)
    assert figures.num_documents == repeated.height == 510
    assert figures.num_tokens == repeated["num_tokens"].sum()
    assert figures.num_bytes == repeated["num_bytes"].sum()
    assert figures.num_scored == repeated["nll"].count()
    assert figures.corpus_perplexity == pytest.approx(truth(repeated))
    mean = (repeated["nll"] / repeated["num_tokens"]).fill_nan(None).mean()
    assert figures.document_perplexity == pytest.approx(math.exp(mean))
    values = np.sort(repeated["perplexity"].drop_nulls().to_numpy())
    for name, q in (("p5", 0.05), ("p50", 0.5), ("p95", 0.95)):
        expected = np.quantile(values, q, method="inverted_cdf")
        assert figures.quantiles["perplexity"][name] == expected
    groups = {group.value: group.figures for group in weighted_groups(rows, "source")}
    for value in weight:
        own = repeated.filter(pl.col("source") == value)
        assert groups[value].num_documents == own.height
        assert groups[value].corpus_perplexity == pytest.approx(truth(own))
