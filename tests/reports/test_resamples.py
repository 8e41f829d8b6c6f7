"""Ends of intervals in gates: those that a report shows, and gates that chance does not set off."""

import math

import numpy as np
import polars as pl
import pytest

from pipeline import build_report, compare_runs
from pipeline.reports.gate import Gate
from pipeline.reports.requirements import Requirement
from pipeline.reports.term_values import Rows
from pipeline.runs.sample import Draw, Stratum, write_draw
from pipeline.statistics.bootstrap import ROW_BITS, Bootstrap
from tests.support.made_runs import row, unscored, write_run

RATIOS = ("corpus_perplexity", "bits_per_token", "bits_per_byte", "word_perplexity")


def rows(seed: int, num: int = 30, shift: float = 0.0):
    random = np.random.default_rng(seed)
    made = []
    for i in range(num):
        tokens = int(random.integers(5, 60))
        nats = tokens * random.gamma(9, 1 / 3) + shift * tokens
        words = {"num_scored_words": tokens // 2, "word_perplexity": math.exp(2 * nats / tokens)}
        made.append(row(tokens, nats, 4 * tokens, source=("web", "books")[i % 2], **words))
    return [*made, unscored(source="web")]


def run(folder, **options):
    return write_run(folder, {"a": rows(0, **options), "b": rows(1, **options)})


def values(store, source: str, **options) -> dict[str, float | None]:
    [finding] = build_report(store, fail_if=source, text=False, **options).requirements
    assert finding.judged, finding.reason
    return finding.values


@pytest.mark.parametrize("figure", RATIOS)
def test_ends_are_those_that_a_report_shows(tmp_path, figure):
    store = run(tmp_path / "run")
    report = build_report(store, by="source", text=False)
    found = values(store, f"low({figure}) > high({figure})")
    own = report.overall.intervals[figure]
    assert found[f"low({figure})"] == pytest.approx(own.low, rel=1e-12)
    assert found[f"high({figure})"] == pytest.approx(own.high, rel=1e-12)
    assert own.low < found[figure] < own.high
    for group in report.groups["source"]:
        name = f'group(source, "{group.value}", low({figure}))'
        expected = group.figures.intervals[figure].low
        assert values(store, f"{name} > 1")[name] == pytest.approx(expected, rel=1e-12)


def test_ends_of_a_sample_are_of_what_it_leaves_out(tmp_path):
    store = run(tmp_path / "run")
    whole = values(store, "low(bits_per_byte) > 0")["low(bits_per_byte)"]
    stratum = Stratum(value=None, num_rows=100, num_drawn=62)
    write_draw(store, Draw(by=None, seed=0, num_rows=100, num_drawn=62, strata=[stratum]))
    report = build_report(store, by="source", text=False)
    found = values(store, "low(bits_per_byte) > 0")["low(bits_per_byte)"]
    assert found == pytest.approx(report.sample.estimates["bits_per_byte"].interval.low)
    assert found > whole, "most of the corpus is known"
    for group in report.groups["source"]:
        name = f'group(source, "{group.value}", low(bits_per_byte))'
        assert values(store, f"{name} > 1")[name] == pytest.approx(
            group.figures.intervals["bits_per_byte"].low
        )


@pytest.mark.parametrize(("word", "sign"), [("increase", 1), ("decrease", -1)])
def test_ends_of_a_change_are_those_of_paired_documents(tmp_path, word, sign):
    """By NumPy, a document at a time."""
    before, after = run(tmp_path / "before"), run(tmp_path / "after", shift=0.05)
    term = f"{word}(bits_per_byte)"
    found = values(after, f"low({term}) > high({term})", baseline=before)
    bootstrap = Bootstrap()
    key = np.array([(file << ROW_BITS) + i for file in (0, 1) for i in range(30)])
    weights = bootstrap._weights[:, bootstrap.blocks(key, ["a", "b"], 0)].astype(float)
    drawn = []
    for shift in (0.0, 0.05):
        scored = [one for seed in (0, 1) for one in rows(seed, shift=shift)[:-1]]
        nll, size = (
            np.array([one[name] for one in scored]) for name in ("nll", "num_scored_bytes")
        )
        drawn.append((weights @ nll) / (weights @ size))
    changes = sign * (drawn[1] - drawn[0]) / drawn[0]
    low, high = np.quantile(changes, [0.025, 0.975])
    assert found[f"low({term})"] == pytest.approx(low, rel=1e-9)
    assert found[f"high({term})"] == pytest.approx(high, rel=1e-9)
    compared = compare_runs([before, after], fail_if=f"low({term}) >= 1", by="source")
    assert compared.requirements[0].values[f"low({term})"] == pytest.approx(low, rel=1e-9)
    group = values(after, f"any(source, low({term}) >= 1)", baseline=before)
    assert group == {}


def test_ends_of_a_baseline(tmp_path):
    before, after = run(tmp_path / "before"), run(tmp_path / "after", shift=0.05)
    own = values(before, "high(bits_per_byte) > 0")["high(bits_per_byte)"]
    for source in ("baseline(high(bits_per_byte))", "high(baseline(bits_per_byte))"):
        assert values(after, f"{source} > 0", baseline=before)[source] == pytest.approx(own)


def test_one_document_has_no_interval(tmp_path):
    store = write_run(tmp_path / "one", {"a": [row(9, 20.0, 40, source="web")]})
    [finding] = build_report(store, fail_if="low(bits_per_byte) > 9", text=False).requirements
    assert (finding.failed, finding.judged) == (True, False)
    assert (
        finding.reason == "too few documents have a score to compute an interval of bits_per_byte"
    )
    source = "any(source, low(bits_per_byte) > 9)"
    [finding] = build_report(store, fail_if=source, text=False).requirements
    assert "with source = 'web'" in finding.reason


def test_chance_does_not_set_off_a_gate():
    """Of two draws of one population, a plain gate fires on about every other pair; few pairs are
    beyond the interval, and a true rise is."""
    sources = ["increase(bits_per_byte) > 0", "low(increase(bits_per_byte)) > 0"]
    requirements = [Requirement.read(source) for source in sources]
    bootstrap = Bootstrap(resamples=200)

    def fired(seed: int, shift: float) -> list[bool]:
        sides = []
        for side, moved in enumerate((0.0, shift)):
            made = pl.DataFrame(rows(2 * seed + side, num=100, shift=moved)[:-1])
            place = pl.Series("row", range(made.height))
            sides.append(Rows(made.with_columns(place, file=pl.lit("a")).lazy(), place=side))
        gate = Gate(requirements, sides[1], sides[0])
        return [one.is_true is not False for one in gate.judge(bootstrap=bootstrap)]

    plain, sure = np.sum([fired(seed, 0.0) for seed in range(12)], axis=0)
    assert 2 <= plain <= 10
    assert sure <= 2
    assert fired(99, 0.6) == [True, True]
