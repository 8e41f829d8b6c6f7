"""Metrics that a float64 cannot hold: null on disk, the largest for every rule and figure."""

import json
import math

import polars as pl
import pytest

from pipeline import build_report, read_scores
from pipeline.comparisons.compare import compare_runs
from pipeline.filters.config import load_filter_config
from pipeline.filters.selection import Selection
from pipeline.rendering.formats import number
from pipeline.reports.output import write_report
from pipeline.runs.metrics import comparable, ratio
from pipeline.runs.scores import scan_scores
from pipeline.schema import LARGEST, LARGEST_EXPONENT, RATIOS
from pipeline.scoring.fold import ratios
from pipeline.verification.integrity import _is_sound
from tests.support.made_runs import row, unscored, write_run

HUGE, HUGER = 10**4 * math.log(10), 10**5 * math.log(10)
"""Nats of one word: word perplexities of 10^10000 and 10^100000."""


def words(nats: float, num_words: int, **columns):
    ratio = nats / num_words if num_words else math.inf
    value = math.exp(ratio) if ratio <= LARGEST_EXPONENT else None
    sizes = {"num_scored_words": num_words, "word_perplexity": value}
    return row(int(nats) + 1, nats, int(nats) + 1, **sizes, **columns)


ROWS = [
    words(HUGER, 1, source="noise"),
    words(8.0, 4, source="web"),
    words(HUGE, 1, source="noise"),
    words(12.0, 4, source="web"),
    words(3.0, 0, source="web"),  # white space alone: no word perplexity at all
    unscored(source="web"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("overflow") / "run", {"0.parquet": ROWS})


def scan(run):
    return scan_scores(run, run.require_manifest())


def test_rules_see_the_largest_number_and_users_the_column_as_it_is_written(run):
    found = scan(run).collect()["word_perplexity"].to_list()
    assert found == [LARGEST, pytest.approx(math.exp(2)), LARGEST, math.exp(3), None, None]
    assert read_scores(run.location).collect()["word_perplexity"].null_count() == 4


def test_a_part_without_one_is_read_as_it_is(tmp_path):
    """No column but the metric's own is looked at; one part that has it is enough for all."""
    plain = write_run(tmp_path / "plain", {"a": [words(8.0, 4), unscored()]})
    mixed = write_run(tmp_path / "mixed", {"a": [words(8.0, 4)], "b": [words(HUGER, 1)]})
    for run, reads in ((plain, False), (mixed, True)):
        assert ("nll" in scan(run).select("word_perplexity").explain()) is reads
    found = scan(mixed).collect()["word_perplexity"].to_list()
    assert found == [pytest.approx(math.exp(2)), LARGEST]


@pytest.mark.parametrize("name", RATIOS)
@pytest.mark.parametrize("nll", [0.0, 1.5, 700.0, 709.7, 709.8, 1e6])
def test_a_ratio_is_what_the_fold_makes_of_the_same_sums(name, nll):
    expected = ratios(nll, 1, 1, 1)[name]
    frame = pl.DataFrame({"nll": [nll], **{str(m.per): [1] for m in RATIOS.values()}})
    metric = RATIOS[name]
    (found,) = frame.select(ratio(metric, pl.col("nll"), pl.col(str(metric.per)))).to_series()
    assert found == (math.inf if expected is None else pytest.approx(expected, rel=1e-14))
    empty = pl.lit(None, pl.Float64)
    rows = frame.lazy().with_columns(empty.alias(name) for name in RATIOS)
    assert comparable(rows).collect()[name].item() == (LARGEST if expected is None else None)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"min": {"word_perplexity": 10.0}}, [0, 2, 3]),
        ({"max": {"word_perplexity": 1e300}}, [1, 3]),
        ({"metric": "word_perplexity", "percentile": (50, 100)}, [0, 2]),
        ({"metric": "word_perplexity", "percentile": (0, 50)}, [1, 3]),
        (
            {"metric": "word_perplexity", "buckets": ("head",), "bucket_percentiles": (40, 60)},
            [1, 3],
        ),
    ],
    ids=str,
)
def test_filters_take_it_for_the_most_extreme(run, options, kept):
    config = load_filter_config(None, {"run": "x", "unscored": "drop", **options})
    decided = Selection.of(config).find(scan(run)).decide(scan(run)).collect()
    assert decided.filter("keep")["row"].to_list() == kept


@pytest.mark.parametrize(("prefer", "kept"), [("low", [1, 2, 3]), ("high", [0])])
def test_a_budget_orders_what_overflows_by_its_logarithm(run, prefer, kept):
    tokens = {i: one["num_tokens"] for i, one in enumerate(ROWS)}
    config = load_filter_config(
        None,
        {
            "run": "x",
            "metric": "word_perplexity",
            "unscored": "drop",
            "budget_tokens": sum(tokens[i] for i in kept),
            "prefer": prefer,
        },
    )
    decided = Selection.of(config).find(scan(run)).decide(scan(run)).collect()
    assert decided.filter("keep")["row"].to_list() == kept


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("share(word_perplexity > 1e300) > 30%", 2 / 6),
        ("p100(word_perplexity) > 1e308", LARGEST),
        ("mean(word_perplexity) > 1e300", LARGEST),
        ("word_perplexity > 1e300", LARGEST),
        ("document_word_perplexity > 1e300", LARGEST),
        ("bits_per_token > 1", None),
        ("document_bits_per_byte > 1", None),
    ],
)
def test_requirements_can_be_judged(run, expression, value):
    (finding,) = build_report(run, fail_if=expression, text=False).requirements
    assert finding.judged
    assert finding.failed
    if value is not None:
        assert list(finding.values.values()) == [pytest.approx(value)]


def test_a_report_stays_valid_and_says_so(run, tmp_path):
    report = build_report(run, by="source", fail_if="p99(word_perplexity) > 1", text=False)
    average = report.overall.averages["word_perplexity"]
    assert (average.micro, average.macro) == (None, None)
    assert average.count == 10
    web = next(group for group in report.groups["source"] if group.value == "web")
    assert web.figures.averages["word_perplexity"].micro == pytest.approx(math.exp(23 / 8))
    assert web.figures.averages["word_perplexity"].macro == pytest.approx(math.exp((2 + 3) / 2))
    text = report.model_dump_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert number(LARGEST) == "> 1.8e+308"


def test_a_perplexity_that_overflows_is_drawn_and_compared(tmp_path):
    broken = row(2, 1.0, 5) | {"nll": 4000.0, "perplexity": None, "num_scored_words": 1}
    broken |= {"bits_per_token": 2000 / math.log(2), "bits_per_byte": 800 / math.log(2)}
    rows = [row(4, 2.0 + i, 9, source="web") for i in range(9)] + [broken]
    runs = [
        write_run(tmp_path / name, {"0.parquet": own}, corpus=f"/data/{name}")
        for name, own in (("a", rows), ("b", rows[:9]))
    ]
    report = build_report(runs[0], separate="source=web", text=False)
    assert report.overall.quantiles["perplexity"]["p99"] > 1e306
    assert report.separation.labels[0].auc["perplexity"] == 0  # the broken one is above all others
    write_report(report, runs[0].root)
    said = [report, compare_runs(runs)]
    for one in said:
        json.loads(one.model_dump_json(), parse_constant=lambda name: pytest.fail(name))


def test_sound_rows_lack_a_ratio_only_where_it_overflows_or_has_no_count(run):
    rows = read_scores(run.location).collect()
    assert rows.select(_is_sound().all()).item()
    for wrong in (None, 7.0):
        damaged = rows[1].with_columns(word_perplexity=pl.lit(wrong, pl.Float64))
        assert not damaged.select(_is_sound().all()).item()
