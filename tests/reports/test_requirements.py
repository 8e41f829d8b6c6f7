"""Requirements: what each figure is worth, and what fails."""

import math

import numpy as np
import polars as pl
import pytest

from pipeline.errors import ConfigError
from pipeline.reports.gate import Gate
from pipeline.reports.requirements import Finding, Requirement
from pipeline.reports.term_values import Missing, Rows

SCHEMA = {
    "status": pl.String,
    "num_tokens": pl.Int64,
    "num_bytes": pl.Int64,
    "num_scored_bytes": pl.Int64,
    "nll": pl.Float64,
    "perplexity": pl.Float64,
    "flag": pl.Boolean,
    "day": pl.Date,
    "tags": pl.List(pl.String),
}
ROWS = [
    ("ok", 10, 40, 40, 20.0, math.exp(2), True, None, None),
    ("ok", 30, 160, 150, 90.0, math.exp(3), False, None, None),
    ("error", 0, 7, 0, None, None, None, None, None),
    ("ok", 5, 20, 20, 25.0, math.exp(5), True, None, None),
]
SCORES = pl.LazyFrame(ROWS, schema=SCHEMA, orient="row")
PERPLEXITIES = [math.exp(x) for x in (2, 3, 5)]


def check(
    source: str,
    scores: pl.LazyFrame = SCORES,
    *,
    weight: pl.Expr | None = None,
    baseline: pl.LazyFrame | Missing | None = None,
) -> Finding:
    before = Rows(baseline) if isinstance(baseline, pl.LazyFrame) else baseline
    gate = Gate([Requirement.bound(source)], Rows(scores, weight), before)
    return gate.findings(gate.judge())[0]


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("corpus_perplexity", math.exp(135 / 45)),
        ("bits_per_byte", 135 / math.log(2) / 210),
        ("documents", 4),
        ("documents()", 4),
        ("tokens", 45),
        ("bytes", 227),
        ("p0(perplexity)", PERPLEXITIES[0]),
        ("p50(perplexity)", PERPLEXITIES[1]),
        ("p95(perplexity)", float(np.quantile(PERPLEXITIES, 0.95))),
        ("p99.9(nll)", float(np.quantile([20, 90, 25], 0.999))),
        ("p100(num_tokens)", 30),
        ("mean(perplexity)", float(np.mean(PERPLEXITIES))),
        ('share(status == "error")', 0.25),
        ('share(status != "error")', 0.75),
        ("share(flag == true)", 0.5),
        ("share(flag == false)", 0.25),
        ("share(perplexity > 10)", 0.5),
        ("share(not perplexity > 10)", 0.5),
        ('share(status == "ok" and (num_tokens < 8 or flag == false))', 0.5),
        ('share(day >= "2024-01-01")', 0.0),
    ],
)
def test_figures(figure, value):
    finding = check(f"{figure} > 1B")
    assert finding.values == {figure: pytest.approx(value)}
    assert (finding.failed, finding.judged) == (False, True)
    assert check(f"{figure} <= 1B").failed


@pytest.mark.parametrize(
    ("source", "failed"),
    [
        ("documents > 3", True),
        ("documents > 4", False),
        ("documents >= 4", True),
        ("documents < 5", True),
        ("documents == 4", True),
        ("documents != 4", False),
        ("3 < documents", True),
        ("documents > 4 or tokens > 44", True),
        ("documents > 3 and tokens > 45", False),
        ("not documents > 4", True),
        ("not (documents > 3 and tokens > 44)", False),
    ],
)
def test_logic(source, failed):
    assert check(source).failed is failed


@pytest.mark.parametrize(
    ("source", "failed", "judged"),
    [
        ("p95(perplexity) > 200", True, False),
        ("not p95(perplexity) > 200", True, False),
        ("corpus_perplexity < 1", True, False),
        ("bits_per_byte < 1", True, False),
        ("documents > 100 and p95(perplexity) > 200", False, True),
        ("documents > 0 or p95(perplexity) > 200", True, True),
        ("documents > 100 or p95(perplexity) > 200", True, False),
        ("documents > 0", True, True),
    ],
)
def test_what_cannot_be_measured_does_not_pass(source, failed, judged):
    finding = check(source, SCORES.filter(pl.col("status") == "error"))
    assert (finding.failed, finding.judged) == (failed, judged)


def test_an_empty_run_has_no_share():
    assert not check('share(status == "error") > 0', SCORES.head(0)).judged


def test_several_requirements_are_judged_each_by_its_own():
    sources = ["p50(perplexity) > 1", "p50(perplexity) > 1k", "documents < 1"]
    gate = Gate([Requirement.read(source) for source in sources], Rows(SCORES), None)
    findings = gate.findings(gate.judge())
    assert [finding.expression for finding in findings] == sources
    assert [finding.failed for finding in findings] == [True, False, False]
    assert list(findings[2].values) == ["documents"]
    assert Gate([], Rows(SCORES), None).judge() == []


@pytest.mark.parametrize(
    ("source", "at", "what", "hint"),
    [
        ("p95(perplxity) > 1", 5, "no column 'perplxity'", "did you mean 'perplexity'?"),
        ('share(staus == "x") > 1', 7, "no column 'staus'", "did you mean 'status'?"),
        ("tokns > 1", 1, "no figure 'tokns'", "did you mean 'tokens'?"),
        ("shar(a == 1) > 1", 1, "no figure 'shar'", "did you mean 'share'?"),
        (
            "p101(nll) > 1",
            1,
            "no figure 'p101'",
            "quantiles are p0 to p100: p95(perplexity), p99.9(perplexity)",
        ),
        ("zzz > 1", 1, "no figure 'zzz'", None),
        (
            "perplexity > 3",
            1,
            "no figure 'perplexity'",
            "perplexity is a document's: did you mean corpus_perplexity or p95(perplexity)?",
        ),
        (
            "num_tokens > 3",
            1,
            "no figure 'num_tokens'",
            "num_tokens is a document's: did you mean tokens or p95(num_tokens)?",
        ),
        ("nll > 3", 1, "no figure 'nll'", "nll is a document's: did you mean p95(nll)?"),
        ("p95 > 1", 1, "p95 takes a column", None),
        ("mean() > 1", 1, "mean takes a column", None),
        ("share(status) > 1", 1, "share takes a condition", None),
        ("documents(nll) > 1", 1, "documents takes no argument", None),
        ("mean(status) > 1", 6, "column 'status' is String, not a number", None),
        ('documents > "4"', 13, "a figure is a number", None),
        ("share(status == 3) > 1", 17, "cannot be compared with this value", None),
        ("share(status == ok) > 1", 17, "cannot be compared with this value", 'quote "ok"'),
        ('share(num_tokens == "3") > 1', 21, "cannot be compared with this value", None),
        ("share(flag == 1) > 1", 15, "cannot be compared with this value", None),
        ('share(tags == "x") > 1', 15, "cannot be compared with this value", None),
        ("share(3 < num_tokens) > 1", 7, "begins with a column", None),
        ("share(num_tokens < nll) > 1", 20, "cannot be compared with this value", None),
    ],
)
def test_mistakes_are_pointed_at(source, at, what, hint):
    with pytest.raises(ConfigError, match=what) as raised:
        check(source)
    assert f"at character {at}:" in str(raised.value)
    assert str(raised.value).endswith("\n" + " " * (at + 1) + "^")
    if hint:
        assert raised.value.hint == hint


@pytest.mark.parametrize(
    "figure",
    [
        "corpus_perplexity",
        "bits_per_byte",
        "documents",
        "tokens",
        "bytes",
        "mean(perplexity)",
        'share(status == "error")',
        "share(perplexity > 10)",
    ],
)
def test_figures_of_a_sample_are_those_of_its_rows_repeated(figure):
    weights = [3, 1, 4, 2]
    weighted = SCORES.with_columns(w=pl.Series(weights, dtype=pl.Float64))
    found = check(f"{figure} > 1", weighted, weight=pl.col("w"))
    frame = SCORES.collect()
    repeated = pl.concat([frame[i] for i, times in enumerate(weights) for _ in range(times)])
    expected = check(f"{figure} > 1", repeated.lazy())
    assert found.values == {figure: pytest.approx(expected.values[figure])}


def test_a_quantile_of_a_sample_is_weighted():
    """Of equal weights it is that of the rows; a row that counts for nearly all is nearly all."""
    for weights, expected in (
        ([2.5] * 4, float(np.quantile(PERPLEXITIES, 0.75))),
        ([1, 1, 1, 1e9], math.exp(5)),
    ):
        rows = SCORES.with_columns(w=pl.Series(weights, dtype=pl.Float64))
        found = check("p75(perplexity) > 1", rows, weight=pl.col("w"))
        assert found.values["p75(perplexity)"] == pytest.approx(expected)


def test_exact_quantiles_have_the_names_of_figures():
    sources = ["p95(perplexity) > 1 and p99.4( perplexity ) > 1", "p05(nll) > 1 or p100(nll) > 1"]
    gate = Gate([Requirement.read(source) for source in sources], Rows(SCORES), None)
    gate.judge()
    assert gate.run.exact_quantiles()[None] == {
        "perplexity": {
            "p95": pytest.approx(np.quantile(PERPLEXITIES, 0.95)),
            "p99.4": pytest.approx(np.quantile(PERPLEXITIES, 0.994)),
        },
        "nll": {"p5": pytest.approx(20.5), "p100": 90.0},
    }
