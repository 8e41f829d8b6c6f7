"""What a sample says of its corpus, against sums made by hand and against the corpus itself."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from pipeline.audits.sample_rows import allocate
from pipeline.reports.sampled import (
    corpus_figures,
    corpus_groups,
    estimates,
    sampled,
    weighed,
)
from pipeline.runs.sample import Draw, Stratum
from pipeline.schema import LARGEST, LARGEST_EXPONENT
from tests.statistics.test_quantile import by_the_paper


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
                    "num_scored_words": np.where(scored, tokens // 2, 0),
                    "nll": pl.Series(np.where(scored, nll, np.nan)).fill_nan(None),
                }
            )
        )
    frame = pl.concat(parts)
    return frame.with_columns(
        (pl.col("nll") / pl.col("num_tokens")).exp().alias("perplexity"),
        (pl.col("nll") / pl.col("num_scored_bytes") / math.log(2)).alias("bits_per_byte"),
    )


def make_draw(strata: list[Stratum], by: str | None = "source") -> Draw:
    return Draw(
        by=by,
        seed=0,
        num_rows=sum(one.num_rows for one in strata),
        num_drawn=sum(one.num_drawn for one in strata),
        strata=strata,
    )


def estimate_of(drawn: pl.DataFrame, strata: list[Stratum], figure: str = "corpus_perplexity"):
    draw = make_draw(strata)
    return estimates(weighed(drawn.lazy(), draw), draw)[figure]


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
        estimate = estimate_of(drawn, strata)
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
    estimate = estimate_of(drawn, strata, "bits_per_byte")
    expected = [x / math.log(2) for x in (ratio - half, ratio, ratio + half)]
    found = [estimate.interval.low, estimate.value, estimate.interval.high]
    assert found == pytest.approx(expected, rel=1e-12)


def test_all_of_a_corpus_is_no_guess():
    frame = population(3)
    drawn, strata = draw(frame, {"web": 4000, "books": 600, "code": 60}, 0)
    estimate = estimate_of(drawn, strata)
    assert estimate.value == pytest.approx(truth(frame), rel=1e-12)
    assert estimate.interval.low == estimate.value == estimate.interval.high


def test_one_drawn_row_of_many_cannot_tell():
    frame = population(4)
    drawn, strata = draw(frame, {"web": 100, "books": 50, "code": 1}, 0)
    estimate = estimate_of(drawn, strata)
    assert estimate.value > 0
    assert estimate.interval is None


def test_nothing_scored():
    frame = population(5).filter(pl.col("status") == "skipped")
    draw = make_draw([Stratum(value=None, num_rows=1000, num_drawn=frame.height)], by=None)
    assert estimates(weighed(frame.lazy(), draw), draw) == dict.fromkeys(
        ["corpus_perplexity", "bits_per_token", "bits_per_byte", "word_perplexity"]
    )


def test_a_figure_that_exceeds_a_float64_is_null_and_so_is_its_estimate():
    drawn, strata = draw(population(5), {"web": 100, "books": 50, "code": 20}, 0)
    whole = make_draw(strata)
    ratio = math.log(estimate_of(drawn, strata).value)

    def of_ratio(nats: float):
        rows = weighed(drawn.with_columns(pl.col("nll") * (nats / ratio)).lazy(), whole)
        return corpus_figures(rows, whole), estimates(rows, whole)

    figures, found = of_ratio(LARGEST_EXPONENT + 1)
    assert found["corpus_perplexity"] is found["word_perplexity"] is None
    assert figures.corpus_perplexity is figures.average("word_perplexity") is None
    assert found["bits_per_byte"].value == pytest.approx(figures.bits_per_byte, rel=1e-14)
    # Where the interval alone goes beyond it, it ends at the largest.
    near = of_ratio(LARGEST_EXPONENT - 1)[1]["corpus_perplexity"]
    assert near.value < near.interval.high == pytest.approx(LARGEST)


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
    whole = make_draw(strata)
    rows = weighed(drawn.lazy(), whole)
    figures = corpus_figures(rows, whole)
    assert figures.num_documents == repeated.height == 510
    assert figures.num_tokens == repeated["num_tokens"].sum()
    assert figures.num_bytes == repeated["num_bytes"].sum()
    assert figures.num_scored == repeated["nll"].count()
    assert figures.corpus_perplexity == pytest.approx(truth(repeated))
    mean = (repeated["nll"] / repeated["num_tokens"]).fill_nan(None).mean()
    assert figures.document_perplexity == pytest.approx(math.exp(mean))
    words = repeated["num_scored_words"]
    average = figures.averages["word_perplexity"]
    assert average.count == words.sum()
    assert average.micro == pytest.approx(math.exp(repeated["nll"].sum() / words.sum()))
    mean = (repeated["nll"] / words).filter(words > 0).mean()
    assert average.macro == pytest.approx(math.exp(mean))
    scored = drawn.drop_nulls("perplexity")
    weights = scored["source"].replace_strict(weight).to_numpy()
    for name, q in (("p5", 0.05), ("p50", 0.5), ("p95", 0.95)):
        expected = by_the_paper(scored["perplexity"].to_numpy(), weights, q)
        assert figures.quantiles["perplexity"][name] == pytest.approx(expected)
    groups = {group.value: group.figures for group in corpus_groups(rows, "source", whole)}
    for value in weight:
        own = repeated.filter(pl.col("source") == value)
        assert groups[value].num_documents == own.height
        assert groups[value].corpus_perplexity == pytest.approx(truth(own))
        # Of one weight: the quantile of the drawn rows themselves.
        own = drawn.filter(pl.col("source") == value)["perplexity"].drop_nulls().to_numpy()
        assert groups[value].quantiles["perplexity"]["p75"] == pytest.approx(np.quantile(own, 0.75))
    estimate = sampled(rows, whole).estimates["corpus_perplexity"]
    assert estimate.value == pytest.approx(figures.corpus_perplexity, rel=1e-14)
    only = corpus_groups(rows, "source", whole, ["web", "(all others)"])
    assert {group.value: group.figures.num_documents for group in only} == {
        "web": 400,
        "(all others)": 110,
    }
    assert {group.kind for group in only} == {"value", "others"}


def allocated(frame: pl.DataFrame, rows: int, seed: int):
    """As the audit allocates, drawn without replacement."""
    random = np.random.default_rng(seed)
    parts = {key[0]: own for key, own in frame.partition_by("source", as_dict=True).items()}
    shares = allocate({value: own.height for value, own in parts.items()}, rows, "source")
    drawn = [
        own[random.choice(own.height, shares[value], replace=False)] for value, own in parts.items()
    ]
    strata = [
        Stratum(value=value, num_rows=own.height, num_drawn=shares[value])
        for value, own in parts.items()
    ]
    return pl.concat(drawn), strata


def skewed(num_strata: int, seed: int) -> pl.DataFrame:
    """Strata of sizes from three to thousands; lengths as of web text, heavy to the right."""
    random = np.random.default_rng(seed)
    parts = []
    for i in range(num_strata):
        size = int(3 * 1.6**i) if i < 16 else 10
        tokens = np.maximum(1, random.lognormal(5, 0.9, size)).astype(int)
        nll = tokens * np.maximum(0.2, random.uniform(2, 5) + random.normal(0, 0.6, size))
        columns = {"num_tokens": tokens, "num_scored_bytes": tokens * 4, "nll": nll}
        columns["num_scored_words"] = tokens
        parts.append(pl.DataFrame({"source": f"s{i:02}", **columns}))
    return pl.concat(parts)


@pytest.mark.parametrize(("num_strata", "rows"), [(8, 30), (12, 100), (12, 400), (24, 150)])
def test_the_draw_of_an_audit_tells_the_truth(num_strata, rows):
    """Sizes allocated as an audit does, two rows of the smallest strata: little bias, and the
    interval holds the truth nineteen times in twenty."""
    frame = skewed(num_strata, 1)
    found = [estimate_of(*allocated(frame, rows, seed)) for seed in range(400)]
    true = truth(frame)
    inside = sum(one.interval.low <= true <= one.interval.high for one in found)
    assert 0.92 <= inside / 400 <= 0.98
    spread = np.std([one.value for one in found])
    bias = np.mean([one.value for one in found]) - true
    assert abs(bias) < max(0.02 * true, 0.25 * spread)


def test_weights_that_nobody_knows_are_an_error():
    """Rows of no stratum would be left out in silence."""
    frame = population(1).head(3)
    draw = make_draw([Stratum(value="elsewhere", num_rows=9, num_drawn=3)])
    with pytest.raises(pl.exceptions.PolarsError):
        weighed(frame.lazy(), draw).collect()


def test_groups_have_intervals_that_hold_the_truth_as_often_as_they_say():
    """Groups of another column than the strata, of which each stratum has some."""
    frame = population(7)
    random = np.random.default_rng(8)
    kind = random.choice(["long", "short"], frame.height, p=[0.3, 0.7])
    level = np.where(kind == "long", 1.3, 1.0)
    frame = frame.with_columns(kind=pl.Series(kind), nll=pl.col("nll") * pl.Series(level))
    inside, number = 0, 0
    for seed in range(150):
        drawn, strata = draw(frame, {"web": 120, "books": 90, "code": 40}, seed)
        whole = make_draw(strata)
        for group in corpus_groups(weighed(drawn.lazy(), whole), "kind", whole):
            own = frame.filter(pl.col("kind") == group.value)
            found = group.figures.intervals["corpus_perplexity"]
            inside += found.low <= truth(own) <= found.high
            number += 1
    assert number == 300
    assert 0.91 <= inside / number <= 0.985


def test_intervals_of_a_sampled_corpus_are_its_estimates_and_of_one_row_there_is_none():
    frame = population(9)
    drawn, strata = draw(frame, {"web": 50, "books": 40, "code": 60}, 0)
    one = drawn["nll"].is_not_null().arg_max()
    labels = ["one" if i == one else "others" for i in range(drawn.height)]
    whole = make_draw(strata)
    rows = weighed(drawn.with_columns(label=pl.Series(labels)).lazy(), whole)
    estimated = sampled(rows, whole).estimates
    figures = corpus_figures(rows, whole)
    assert figures.intervals == {name: found.interval for name, found in estimated.items()}
    groups = {group.value: group.figures for group in corpus_groups(rows, "label", whole)}
    assert set(groups["one"].intervals.values()) == {None}
    assert groups["others"].intervals["bits_per_byte"] is not None
