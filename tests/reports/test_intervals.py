"""pipeline/reports/intervals.py against SciPy's bootstrap, the formula for a ratio's variance, and
what a comparison says of the same run."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from pipeline.comparisons.compare import compare_runs
from pipeline.reports.intervals import MOST_GROUPS
from pipeline.reports.output import to_markdown
from pipeline.reports.page import to_html
from pipeline.reports.report import Report, build_report
from pipeline.schema import RATIOS
from tests.support.made_runs import row, unscored, write_run

FIGURES = [metric.total or name for name, metric in RATIOS.items()]


def documents(num, seed=3):
    """Score rows of three sources, the last of one document, and one without a score."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(num):
        tokens = int(random.integers(5, 500))
        nats = tokens * random.gamma(9, 0.3)
        source = "web" if i % 3 else "books"
        rows.append(row(tokens, nats, tokens * 4, source=source, num_scored_words=tokens // 2))
    alone = row(50, 100.0, 200, source="alone", num_scored_words=25)
    return [*rows, alone, unscored(source="web")]


@pytest.fixture(scope="module")
def rows():
    return documents(900)


@pytest.fixture(scope="module")
def run(rows, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run") / "run", {"a": rows[:500], "b": rows[500:]})


@pytest.fixture(scope="module")
def report(run) -> Report:
    return build_report(run, by="source", text=False)


def ratios(rows, per):
    scored = [one for one in rows if one["status"] == "ok"]
    return np.array([(one["nll"], one[per]) for one in scored]).T


@pytest.mark.parametrize("figure", FIGURES)
def test_as_scipys_bootstrap(rows, report, figure):
    metric = next(m for name, m in RATIOS.items() if (m.total or name) == figure)
    nll, count = ratios(rows, metric.per)

    def ratio(n, c, axis):
        found = n.sum(axis=axis) / c.sum(axis=axis)
        return np.exp(found) if metric.is_perplexity else found / math.log(2)

    theirs = stats.bootstrap(
        (nll, count),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=3000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = report.overall.intervals[figure]
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.1 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.1 * width)
    assert ours.low < report.overall.average(figure) < ours.high


def test_groups_have_their_own_and_a_group_of_one_document_has_none(rows, report):
    groups = {group.value: group.figures for group in report.groups["source"]}
    assert groups["alone"].intervals == dict.fromkeys(FIGURES)
    for value in ("web", "books"):
        nll, tokens = ratios([one for one in rows if one["source"] == value], "num_tokens")
        ratio = nll.sum() / tokens.sum()
        deviation = math.sqrt(np.sum((nll - ratio * tokens) ** 2)) / tokens.sum()
        found = groups[value].intervals["corpus_perplexity"]
        width = math.log(found.high / found.low)
        assert width == pytest.approx(2 * 1.96 * deviation, rel=0.12)


def test_the_same_as_a_comparison_of_the_run_says(run, report):
    compared = compare_runs([run, run], by="source").runs[0]
    for figure, name in (("perplexity", "corpus_perplexity"), ("word_perplexity",) * 2):
        theirs, ours = compared.intervals[figure], report.overall.intervals[name]
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert report.intervals.resamples == 1000


def test_a_report_is_the_same_every_time(run, report):
    again = build_report(run, by="source", text=False)
    assert again.overall == report.overall
    assert again.groups == report.groups


def test_a_page_shows_them_and_says_who_has_none_and_how(report):
    found = report.overall.intervals["corpus_perplexity"]
    for text in (to_markdown(report), to_html(report)):
        assert f"{found.low:.1f} to {found.high:.1f}" in text
        assert "1 of 3 groups has fewer than two documents and so no interval" in text
        assert "Poisson bootstrap" in text
    written = json.loads(report.model_dump_json())
    assert written["overall"]["intervals"]["bits_per_byte"]["low"] > 0


def test_it_names_the_groups_that_have_no_words(tmp_path):
    """Text without blanks is one word, whose perplexity is that of the whole text."""
    sizes = {
        "prose": (6, 60),
        "url": (1, 51),
        "limit": (1, 50),
        "blank": (0, 60),
        "base64": (1, 9000),
    }
    rows = [
        row(9, 99.0, size, source=name, num_scored_words=words)
        for name, (words, size) in sizes.items()
        for _ in range(2)
    ]
    run = write_run(tmp_path / "run", {"a": rows}).location
    said = (
        "A figure per word tells nothing of {}: texts that white space does not divide into words."
    )
    report = build_report(run, by="source", text=False)
    assert said.format("base64, url") in to_markdown(report)
    run = write_run(tmp_path / "two", {"a": [one | {"source": None} for one in rows]}).location
    assert said.format("the corpus") in to_markdown(build_report(run, text=False))
    run = write_run(tmp_path / "three", {"a": rows[:2]}).location
    assert "A figure per word" not in to_markdown(build_report(run, by="source", text=False))


def test_figures_of_more_groups_than_that_are_without(tmp_path):
    """An audit measures every group of a column: intervals of millions would take all memory."""
    from pipeline.reports.groups import groups_of
    from pipeline.runs.scores import scan_scores
    from pipeline.statistics.bootstrap import Bootstrap

    rows = [row(5, 9.0 + i, 20, source=f"s{i}") for i in range(MOST_GROUPS + 1) for _ in range(2)]
    store = write_run(tmp_path / "run", {"a": rows})
    scores = scan_scores(store, store.require_manifest())
    groups = groups_of(scores, "source", [f"s{i}" for i in range(MOST_GROUPS + 1)], Bootstrap())
    assert all(group.figures.intervals == {} for group in groups)
    few = groups_of(scores, "source", None, Bootstrap())
    assert all(group.figures.intervals["corpus_perplexity"] for group in few)


def test_one_word_has_no_perplexity_and_so_no_interval(tmp_path):
    rows = [row(5, 9.0 + i, 20, source="a") for i in range(4)]
    report = build_report(write_run(tmp_path / "run", {"a": rows}), text=False)
    assert report.overall.intervals["word_perplexity"] is None
    assert report.overall.intervals["corpus_perplexity"] is not None


def test_resamples_without_a_word_are_left_out(tmp_path):
    """Few documents have words, so that some resamples have none of them: nats over nothing."""
    rows = [row(5, 9.0, 20, source="a", num_scored_words=0) for _ in range(30)]
    rows += [row(5, 9.0 + i, 20, source="a", num_scored_words=40 + i) for i in range(2)]
    report = build_report(write_run(tmp_path / "run", {"a": rows}), text=False)
    found = report.overall.intervals["word_perplexity"]
    # Of the two, at most one resample in seven has none, and its ratio would be without end.
    assert found.high < 1e9


def test_what_overflows_is_the_largest_and_not_left_out(tmp_path):
    rows = [row(1, 2.0, 1, source="a", num_scored_words=1) for i in range(40)]
    rows += [row(1, 2.0, 1, source="a") | {"nll": 1e4, "perplexity": None} for _ in range(3)]
    report = build_report(write_run(tmp_path / "run", {"a": rows}), text=False)
    assert report.overall.corpus_perplexity == pytest.approx(math.exp(30_080 / 43))
    found = report.overall.intervals["corpus_perplexity"]
    assert found.high == pytest.approx(np.finfo(float).max)


def test_a_figure_that_overflows_has_no_interval(tmp_path):
    """Documents of one long word have a perplexity per token, and none per word."""
    rows = [
        row(400, 1000.0 + i, 1600, source=source, num_scored_words=words)
        for source, words in (("one word", 1), ("prose", 300))
        for i in range(20)
    ]
    run = write_run(tmp_path / "run", {"a": rows})
    report = build_report(run, by="source", text=False)
    groups = {group.value: group.figures for group in report.groups["source"]}
    assert groups["one word"].averages["word_perplexity"].micro is None
    assert groups["one word"].intervals["word_perplexity"] is None
    assert groups["one word"].intervals["corpus_perplexity"] is not None
    assert groups["prose"].intervals["word_perplexity"] is not None
    assert "e+308" not in to_markdown(report) + to_html(report) + report.model_dump_json()
    alone = write_run(tmp_path / "alone", {"a": rows[:20]})
    compared = compare_runs([alone, alone], by="source").runs[0]
    assert compared.intervals["word_perplexity"] is None
    assert compared.intervals["perplexity"] is not None
