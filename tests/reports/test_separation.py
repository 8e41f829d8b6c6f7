"""ROC AUC against SciPy's Mann-Whitney U; the suggested cut against every possible one."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from pipeline.errors import ConfigError
from pipeline.rendering.formats import share as shown
from pipeline.reports import areas, tally
from pipeline.reports.areas import best_of, rank_metrics, verdict_of
from pipeline.reports.groups import grouping_of, largest_query
from pipeline.reports.separation import Labels, Separation, parse_labels, separate_labels

# Few different values: ties are where a rank statistic goes wrong.
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["web", "spam", "ads", None]),
        st.none() | st.sampled_from([1.0, 2.0, 3.0, 50.0]) | st.floats(1.0, 1e4),
    ),
    max_size=60,
)
NAMES = ("spam", "ads")


def separate(rows: list[tuple[str | None, float | None]], *names: str) -> Separation:
    names = names or NAMES
    scores = pl.LazyFrame(
        {
            "source": pl.Series([source for source, _ in rows], dtype=pl.String),
            "perplexity": pl.Series([value for _, value in rows], dtype=pl.Float64),
            "bits_per_byte": pl.Series([v and 1 / v for _, v in rows], dtype=pl.Float64),
            "num_tokens": pl.Series([10] * len(rows), dtype=pl.Int64),
            "num_bytes": pl.Series([40] * len(rows), dtype=pl.Int64),
        }
    )
    grouping = grouping_of("source", largest_query(scores, "source").collect())
    return separate_labels(scores, Labels("source", names), grouping)


def auc(found: list[float], rest: list[float]) -> float | None:
    if not (found and rest):
        return None
    return mannwhitneyu(found, rest).statistic / (len(found) * len(rest))


@given(ROWS)
def test_areas_are_those_of_mann_and_whitney(rows):
    rows = [*rows, ("spam", None), ("ads", None)]
    result = separate(rows)
    values = {
        name: [v for s, v in rows if s == name and v is not None] for name in ("web", None, *NAMES)
    }
    rest = values["web"] + values[None]
    for label in result.labels:
        found = values[label.value]
        assert label.num_scored == len(found)
        assert label.auc["perplexity"] == pytest.approx(auc(found, rest))
        inverse = auc([1 / v for v in found], [1 / v for v in rest])
        assert label.auc["bits_per_byte"] == pytest.approx(inverse)
    both = values["spam"] + values["ads"]
    assert result.together.auc["perplexity"] == pytest.approx(auc(both, rest))
    assert result.together.num_scored == len(both)


def removes(cut, value: float) -> bool:
    return (cut.low is not None and value < cut.low) or (cut.high is not None and value > cut.high)


@given(ROWS)
def test_no_cut_is_better_than_the_suggested_one(rows):
    """Every bound, on either side, by counting; a band only where it is better than those."""
    rows = [*rows, ("spam", None), ("ads", None)]
    cut = separate(rows).cut
    scored = [(source in NAMES, value) for source, value in rows if value is not None]
    sides = [[v for labelled, v in scored if labelled is side] for side in (True, False)]

    def youden(removed) -> float:
        shares = [sum(map(removed, side)) / len(side) for side in sides]
        return shares[0] - shares[1]

    bounds = [v for _, v in scored] if all(sides) else []
    best = max(
        (youden(rule) for b in bounds for rule in (lambda v, b=b: v > b, lambda v, b=b: v < b)),
        default=0,
    )
    if cut is None:
        # A difference inside of one bin of the sketch cannot be cut at.
        assert best <= 0 or len({v for _, v in scored}) > 4
        return
    assert cut.metric == "perplexity"
    assert cut.perplexity == cut.high
    assert cut.youden_j == pytest.approx(youden(lambda v: removes(cut, v)))
    if len(set(bounds)) <= 4:
        assert cut.youden_j >= best - 1e-9
    for share, side in zip((cut.labelled_removed, cut.rest_removed), sides, strict=True):
        assert share == pytest.approx(sum(removes(cut, v) for v in side) / len(side))
        assert share < 0.9 or f"removes {shown(share)} of" in cut.warning
    for one in cut.removed:
        source = None if one.value == "(null)" else one.value
        values = [v for s, v in rows if s == source and v is not None]
        assert one.num_scored == len(values)
        assert one.documents_removed == sum(removes(cut, v) for v in values)
        assert one.tokens_removed == 10 * one.documents_removed
        assert one.num_tokens == 10 * len(values)


@given(ROWS)
def test_metrics_are_ranked_by_how_well_they_separate(rows):
    ranking = separate([*rows, ("spam", None), ("ads", None)]).ranking
    strengths = [one.strength for one in ranking]
    assert strengths == pytest.approx(sorted(strengths, reverse=True))
    for one in ranking:
        assert one.strength == max(one.auc, 1 - one.auc)


def test_what_separates_best_is_what_the_rule_is_made_of_and_is_not_rounded_to_all():
    """Documents without a word have no word perplexity, and no table shows it."""
    areas = {"perplexity": 0.8, "bits_per_byte": 0.9971, "word_perplexity": 0.999}
    ranking = rank_metrics(areas, lambda _: 0.1)
    assert ranking[0].metric == "word_perplexity"
    said = verdict_of(best_of(ranking))
    assert said.startswith("bits_per_byte separates best")
    assert said.endswith("in 99.7% of pairs.")


def test_where_nothing_separates_there_is_nothing_to_type():
    rows = [("web", 1.0), ("web", 2.0), ("web", 3.0), ("spam", 9.0)]
    found = separate(rows, "spam")
    assert found.verdict.startswith("No metric separates")
    assert found.cut.warning.endswith("the separation may be chance")
    assert found.cut.command == ""


@pytest.mark.parametrize(("labelled", "rest"), [(1, 1), (2, 2), (3, 3), (2, 12), (5, 6), (40, 60)])
def test_what_is_called_more_than_chance_seldom_is_chance(labelled, rest):
    """Labels at random: at most one in twenty, or so, is said to separate."""
    rng = np.random.default_rng(labelled)
    claims = 0
    for _ in range(120):
        values = rng.permutation(labelled + rest) + 1.0
        rows = [("spam" if i < labelled else "web", v) for i, v in enumerate(values.tolist())]
        claims += separate(rows, "spam").ranking[0].separates
    assert claims <= 14


def test_a_band_where_the_labelled_are_at_both_ends():
    rows = [("web", 100.0 + i) for i in range(100)]
    rows += [("spam", 1.0 + i / 100) for i in range(50)] + [("spam", 1e4 + i) for i in range(50)]
    found = separate(rows, "spam")
    assert (found.cut.low, found.cut.high) == (100.0, 199.0)
    assert found.cut.youden_j == 1
    assert found.verdict.startswith("No metric separates labelled documents")
    assert found.cut.command == (
        "winnow filter RUN --min perplexity=100.0 --max perplexity=199.0 --out FILTERED"
    )


def test_nothing_separates_what_is_alike():
    rows = [(source, float(v)) for v in range(1, 40) for source in ("web", "spam")]
    found = separate(rows, "spam")
    assert found.verdict.startswith(
        "No metric separates labelled documents from the rest: the best area, 0.500"
    )
    assert found.cut is None


def test_the_best_cut_is_found_between_values_that_are_apart():
    rows = [("web", v) for v in (5.0, 6.0, 7.0, 100.0)] + [("spam", v) for v in (6.5, 50.0, 60.0)]
    cut = separate([*rows, ("ads", None)]).cut
    assert cut.perplexity == 6.0
    assert cut.youden_j == pytest.approx(1 - 2 / 4)


@pytest.mark.parametrize("label", ["spam", "web"])
def test_the_rest_is_ranked_some_at_a_time(label, monkeypatch):
    """Few labelled among many and many among few, many of them alike."""
    monkeypatch.setattr(tally, "ROWS_AT_A_TIME", 5_000)
    monkeypatch.setattr(areas, "MOST_WAITING", 12_000)
    rng = np.random.default_rng(0)
    values = rng.integers(1, 500, 100_000).astype(float).tolist()
    rows = [("spam" if rng.random() < 0.3 * v / 500 else "web", v) for v in values]
    labelled = [v for source, v in rows if source == label]
    rest = [v for source, v in rows if source != label]
    found = separate(rows, label).together.auc["perplexity"]
    assert found == pytest.approx(auc(labelled, rest), rel=1e-12)
    assert abs(found - 0.5) > 0.1


def test_labels_that_score_lower_have_a_cut_from_below():
    rows = [("spam", 1.0 + i / 10) for i in range(10)] + [("web", 3.0 + i) for i in range(10)]
    found = separate(rows, "spam")
    assert found.together.auc["perplexity"] == 0
    assert found.ranking[0].strength == 1
    assert found.ranking[0].separates
    assert "scores lower than an unlabelled one in 100.0% of pairs" in found.verdict
    assert (found.cut.low, found.cut.high, found.cut.perplexity) == (3.0, None, None)
    assert (found.cut.labelled_removed, found.cut.rest_removed) == (1, 0)
    assert found.cut.warning == "it removes 100.0% of the labelled documents"
    assert found.cut.command == "winnow filter RUN --min perplexity=3.0 --out FILTERED"


def test_a_label_that_no_row_has_is_refused():
    with pytest.raises(ConfigError, match="no row has source = 'spma'") as raised:
        separate([("spam", 1.0), ("web", 2.0)], "spma")
    assert raised.value.hint == "did you mean 'spam'?"


@pytest.mark.parametrize("text", ["", "source", "source=", "=spam", "=", "source=,"])
def test_a_request_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="is not COLUMN=VALUE"):
        parse_labels(text)


def test_requests():
    assert parse_labels("source=spam,,ads,spam") == Labels("source", ("spam", "ads"))
    assert parse_labels("a=b=c") == Labels("a", ("b=c",))
    with pytest.raises(ConfigError, match="at most"):
        parse_labels("a=" + ",".join(map(str, range(101))))
