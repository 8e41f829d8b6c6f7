"""Requirements: what each bound means, and what is said where it cannot be checked."""

import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.audits.checks import MOST_FINDINGS, NO_BASELINE, check_bound, check_expression
from pipeline.audits.page import found_words
from pipeline.audits.record import Check, Part
from pipeline.audits.require import BOUNDS, Require
from pipeline.reports.figures import Figures
from pipeline.reports.gate import Gate, Psi, PsiValues
from pipeline.reports.term_values import Missing, Rows


def part(perplexity: float | None = 10.0, documents: int = 100, error: float = 0.0) -> Part:
    figures = Figures(
        num_documents=documents,
        num_scored=documents if perplexity else 0,
        num_tokens=documents * 10,
        num_bytes=documents * 40,
        nll=1.0,
        corpus_perplexity=perplexity,
        document_perplexity=perplexity,
        bits_per_token=None,
        bits_per_byte=None,
        quantiles={"perplexity": {"p50": perplexity} if perplexity else {}, "bits_per_byte": {}},
    )
    return Part(figures=figures, statuses={"ok": 1 - error, "error": error})


def documents(
    num: int = 20, perplexity: float | None = 10.0, source: str | None = "web", errors: int = 0
) -> pl.DataFrame:
    """Score rows that all have one perplexity; the last are errors."""
    nll = None if perplexity is None else 10 * math.log(perplexity)
    row = ("ok", 10, 40, 40, nll, perplexity, source)
    failed = ("error", 0, 40, 0, None, None, source)
    return pl.DataFrame(
        [row] * (num - errors) + [failed] * errors,
        schema={
            "status": pl.String,
            "num_tokens": pl.Int64,
            "num_bytes": pl.Int64,
            "num_scored_bytes": pl.Int64,
            "nll": pl.Float64,
            "perplexity": pl.Float64,
            "source": pl.String,
        },
        orient="row",
    )


def by_source(**sources: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(
        rows.with_columns(source=pl.lit(name, pl.String)) for name, rows in sources.items()
    )


def check(
    tonight: pl.DataFrame,
    baseline: pl.DataFrame | Missing = NO_BASELINE,
    psi: PsiValues | None = None,
    **requirement: Any,
) -> list[Check]:
    if "fail_if" not in requirement:
        requirement = {"metric": "corpus_perplexity", **requirement}
    one = Require(**requirement)
    asked = one.requirements()
    before = Rows(baseline.lazy()) if isinstance(baseline, pl.DataFrame) else baseline
    found = Gate(list(asked.values()), Rows(tonight.lazy()), before).judge(psi)
    if one.fail_if is not None:
        return [check_expression(1, asked["fail_if"], found[0])]
    return [
        check_bound(1, one, bound, requirement, judged, estimated=False)
        for (bound, requirement), judged in zip(asked.items(), found, strict=True)
    ]


@pytest.mark.parametrize(
    ("bound", "limit", "state"),
    [
        ("max", 10.0, "pass"),
        ("max", 9.99, "fail"),
        ("min", 10.0, "pass"),
        ("min", 10.01, "fail"),
        ("max_increase", 0.25, "pass"),
        ("max_increase", 0.24, "fail"),
        ("max_decrease", 0.0, "pass"),
    ],
)
def test_bounds(bound, limit, state):
    [found] = check(documents(10), documents(8), metric="num_documents", **{bound: limit})
    assert found.state == state
    assert found.findings[0].value == 10.0
    assert found.findings[0].baseline == (8.0 if "crease" in bound else None)


@given(
    before=st.integers(1, 10**6),
    after=st.integers(1, 10**6),
    limit=st.floats(0, 1, exclude_min=True, exclude_max=True),
)
@settings(max_examples=30, deadline=None)
def test_a_value_cannot_rise_and_fall(before, after, limit):
    tonight, baseline = (documents(1).with_columns(num_tokens=pl.lit(n)) for n in (after, before))
    found = check(tonight, baseline, metric="num_tokens", max_increase=limit, max_decrease=limit)
    states = {one.bound: one.state for one in found}
    assert (states["max_increase"] == "fail") == (after - before > limit * before)
    assert (states["max_decrease"] == "fail") == (before - after > limit * before)
    assert list(states.values()).count("fail") <= 1


def test_words():
    tonight, before = documents(), documents(perplexity=8.0)
    [found] = check(tonight, before, max_increase=0.05)
    assert found.findings[0].detail == (
        "corpus_perplexity is 10, +25.00% from the baseline's 8; max_increase 0.05"
    )
    assert found.expression == "increase(corpus_perplexity) > 0.05"
    [found] = check(tonight, before, metric="error", max=0.0)
    assert found.findings[0].detail == "error is 0, max 0"


def test_no_baseline_is_skipped_and_said():
    found = check(documents(), max_increase=0.0, max_psi=0.1, max=1000)
    assert {one.bound: one.state for one in found} == {
        "max": "pass",
        "max_increase": "skipped",
        "max_psi": "skipped",
    }
    assert "no baseline yet" in found[-1].findings[0].detail


def test_without_a_baseline_a_group_without_a_score_is_skipped_too():
    """Or a null text that is its language's only one would fail the first night, and every one."""
    tonight = by_source(web=documents(), gone=documents(1, perplexity=None))
    found = check(tonight, by="source", max_increase=0.1, max_decrease=0.1, max_psi=0.5)
    assert {one.bound: (one.state, one.num_failed) for one in found} == {
        "max_increase": ("skipped", 0),
        "max_decrease": ("skipped", 0),
        "max_psi": ("skipped", 0),
    }
    [found] = check(tonight, fail_if="any(source, increase(corpus_perplexity) > 5%)")
    assert found.state == "skipped"
    [found] = check(tonight, by="source", max=100)
    assert (found.state, found.num_failed) == ("fail", 1), "this one needs no baseline"


def test_a_baseline_that_does_not_compare_fails_what_is_relative():
    unlike = Missing("unlike", "weights a -> b")
    found = check(documents(), unlike, max_increase=0.5, max=1000)
    assert [(one.bound, one.state) for one in found] == [("max", "pass"), ("max_increase", "fail")]
    assert found[1].findings[0].detail.endswith("weights a -> b")
    [found] = check(documents(), unlike, by="source", max_increase=0.5)
    assert [(one.group, one.state) for one in found.findings] == [(None, "fail")]


def test_a_psi_without_comparison_fails():
    [found] = check(documents(), documents(), max_psi=0.5)
    assert found.state == "fail"


def test_nothing_scored_fails():
    for bound in ({"max": 5.0}, {"min": 0.0}, {"max_increase": 1.0}):
        [found] = check(documents(perplexity=None), documents(), **bound)
        assert found.state == "fail"
        assert "no document has a value for corpus_perplexity" in found.findings[0].detail


def test_every_group_is_checked():
    tonight = by_source(
        web=documents(perplexity=12.0), books=documents(perplexity=9.0), new=documents()
    )
    before = by_source(web=documents(), books=documents(), gone=documents())
    [found] = check(tonight, before, by="source", max_increase=0.1)
    assert (found.state, found.num_failed, found.num_passed, found.num_skipped) == ("fail", 1, 1, 2)
    said = {finding.group: finding.detail for finding in found.findings}
    assert said["web"].startswith("corpus_perplexity of source web is 12, +20.00%")
    assert said["new"].endswith("no document of the baseline has source = 'new'")
    assert said["gone"].endswith("no document has source = 'gone'")
    assert "books" not in said


def test_a_group_that_is_gone_has_no_documents():
    tonight = by_source(web=documents())
    before = by_source(web=documents(), gone=documents(5))
    asked = {"metric": "num_documents", "by": "source"}
    [relative] = check(tonight, before, **asked, max_decrease=0.5)
    [absolute] = check(tonight, before, **asked, min=1)
    for found in (relative, absolute):
        assert [(one.group, one.value) for one in found.findings] == [("gone", 0.0)]
        assert found.state == "fail"
    [noted] = check(tonight, before, by="source", max=1000)
    assert (noted.state, noted.num_skipped) == ("pass", 1)
    for fail_if in ("any(source, documents < 1)", "any(source, decrease(tokens) > 50%)"):
        assert check(tonight, before, fail_if=fail_if)[0].state == "fail"
    assert check(tonight, before, fail_if="any(source, corpus_perplexity > 11)")[0].state == "pass"


def test_errors_where_there_were_none():
    [found] = check(documents(errors=2), documents(), metric="error", max_increase=0.5)
    assert found.state == "fail"
    assert "and 0 in the baseline" in found.findings[0].detail


def test_a_column_that_the_baseline_does_not_carry():
    [found] = check(documents(), documents().drop("source"), by="source", max_increase=0.1)
    assert (found.state, len(found.findings)) == ("skipped", 1)
    assert "does not carry source" in found.findings[0].detail


def test_many_failures_are_counted_and_some_named():
    groups = by_source(**{f"g{i}": documents(1) for i in range(1000)})
    [found] = check(groups, by="source", max=5.0)
    assert (found.num_failed, len(found.findings)) == (1000, MOST_FINDINGS)


def test_hostile_names():
    [found] = check(documents(source="\x1b[31mred\n"), by="source", max=1.0)
    assert found.state == "fail"
    assert "\x1b" not in found.findings[0].detail
    assert "\n" not in found.findings[0].detail


def test_a_column_of_any_name():
    named = documents().rename({"source": 'it\'s a "name"'})
    [found] = check(named, by='it\'s a "name"', max=5.0)
    assert (found.num_failed, found.findings[0].group) == (1, "web")


@pytest.mark.parametrize(
    ("fail_if", "state"),
    [
        ("corpus_perplexity > 9", "fail"),
        ("corpus_perplexity > 11", "pass"),
        ("increase(corpus_perplexity) > 5%", "skipped"),
        ("increase(corpus_perplexity) > 5% or corpus_perplexity > 9", "fail"),
        ("increase(corpus_perplexity) > 5% and corpus_perplexity > 11", "pass"),
        ('group(source, "wbe", documents) < 5', "fail"),
        ("any(source, increase(documents) > 5%)", "skipped"),
        ("any(source, psi(perplexity) > 0.1)", "skipped"),
    ],
)
def test_an_expression_on_the_first_night(fail_if, state):
    """Held against no night, or there would never be a good one."""
    [found] = check(documents(), fail_if=fail_if)
    assert (found.state, found.expression, found.bound) == (state, fail_if, "fail_if")
    assert found.outcome.failed == (state != "pass")


def test_an_expression_that_cannot_be_judged_fails():
    """Where a bound would not ask: there is a good night, and it lacks the group."""
    tonight, before = by_source(web=documents(), new=documents()), by_source(web=documents())
    [found] = check(tonight, before, fail_if="any(source, increase(tokens) > 5%)")
    assert found.state == "fail"
    assert "no document of the baseline has source = 'new'" in found.findings[0].detail
    [bound] = check(tonight, before, metric="num_tokens", by="source", max_increase=0.05)
    assert (bound.state, bound.num_skipped) == ("pass", 1)


@pytest.mark.parametrize("before", [8, 12])
def test_a_bound_may_look_at_a_figure_in_several_ways(monkeypatch, before):
    either_way = "increase({figure}) > {limit} or decrease({figure}) > {limit}"
    monkeypatch.setitem(BOUNDS, "max_increase", either_way)
    [found] = check(documents(10), documents(before), metric="num_documents", max_increase=0.1)
    assert found.state == "fail"
    assert (found.findings[0].value, found.findings[0].baseline) == (10.0, before)


def test_a_requirement_and_what_was_found_fit_in_a_line():
    """A bound is said once; a reason that is the same for every group, too."""
    tonight, before = by_source(a=documents(), b=documents()), documents(perplexity=8.0)
    [bound] = check(tonight, before, max_increase=0.05)
    assert found_words(bound) == "corpus_perplexity is 10, +25.00% from the baseline's 8"
    [bound] = check(tonight, metric="error", max=0.0)
    assert found_words(bound) == "error is 0"
    [psi] = check(tonight, before, max_psi=0.1, psi={(None, None, "perplexity"): Psi(0.2, 0.05)})
    assert found_words(psi).endswith("a PSI of 0.2 against the baseline (up to 0.05 may be chance)")
    assert psi.findings[0].detail == f"{found_words(psi)}, max_psi 0.1"
    # 0.1.0 recorded the sentence alone.
    then = bound.findings[0].model_copy(update={"found": None})
    assert found_words(bound.model_copy(update={"findings": [then]})) == "error is 0, max 0"
    [several] = check(tonight, fail_if="any(source, increase(p95(perplexity)) > 10%)")
    assert found_words(several) == "there is no baseline yet"
    [several] = check(tonight, fail_if="any(source, p95(perplexity) > 9)")
    assert found_words(several) == (
        "source a: p95(perplexity) = 10; source b: p95(perplexity) = 10"
    )
