"""Requirements: what each bound means, and what is said where it cannot be checked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audits.checks import MOST_FINDINGS, Measured, check_all
from pipeline.audits.config import Requirement
from pipeline.audits.record import Part
from pipeline.reports.figures import Figures


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


def measured(whole: Part, **groups: Part) -> Measured:
    return Measured(whole, {"source": groups})


def check(tonight: Measured, baseline: Measured | None = None, unlike=None, **requirement):
    one = Requirement(**{"metric": "corpus_perplexity", **requirement})
    return check_all((one,), tonight, baseline, None, unlike)


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
    [found] = check(measured(part(10.0)), measured(part(8.0)), **{bound: limit})
    assert found.state == state
    assert found.findings[0].value == 10.0
    assert found.findings[0].baseline == (8.0 if "crease" in bound else None)


@given(
    before=st.floats(0.5, 1e6), after=st.floats(0.5, 1e6), limit=st.floats(0, 1, exclude_min=True)
)
def test_a_value_cannot_rise_and_fall(before, after, limit):
    found = check(
        measured(part(after)), measured(part(before)), max_increase=limit, max_decrease=limit
    )
    states = {one.bound: one.state for one in found}
    assert (states["max_increase"] == "fail") == (after - before > limit * before)
    assert (states["max_decrease"] == "fail") == (before - after > limit * before)
    assert list(states.values()).count("fail") <= 1


def test_words():
    tonight, before = measured(part(10.0)), measured(part(8.0))
    [found] = check(tonight, before, max_increase=0.05)
    assert found.findings[0].detail == (
        "corpus_perplexity is 10, +25.00% from the baseline's 8; max_increase 0.05"
    )
    [found] = check(tonight, before, metric="error", max=0.0)
    assert found.findings[0].detail == "error is 0, max 0"


def test_no_baseline_is_skipped_and_said():
    found = check(measured(part()), None, max_increase=0.0, max_psi=0.1, max=1000)
    assert {one.bound: one.state for one in found} == {
        "max": "pass",
        "max_increase": "skipped",
        "max_psi": "skipped",
    }
    assert "no baseline yet" in found[-1].findings[0].detail


def test_a_baseline_that_does_not_compare_fails_what_is_relative():
    found = check(measured(part()), None, "weights a -> b", max_increase=0.5, max=1000)
    assert [(one.bound, one.state) for one in found] == [("max", "pass"), ("max_increase", "fail")]
    assert found[1].findings[0].detail == "weights a -> b"


def test_a_psi_without_comparison_fails():
    [found] = check(measured(part()), measured(part()), max_psi=0.5)
    assert found.state == "fail"


def test_nothing_scored_fails():
    for bound in ({"max": 5.0}, {"min": 0.0}, {"max_increase": 1.0}):
        [found] = check(measured(part(None)), measured(part()), **bound)
        assert found.state == "fail"
        assert "nothing in it was scored" in found.findings[0].detail


def test_every_group_is_checked():
    tonight = measured(part(), web=part(12.0), books=part(9.0), new=part(50.0))
    before = measured(part(), web=part(10.0), books=part(10.0), gone=part(7.0))
    [found] = check(tonight, before, by="source", max_increase=0.1)
    assert (found.state, found.num_failed, found.num_passed, found.num_skipped) == ("fail", 1, 1, 2)
    said = {finding.group: finding.detail for finding in found.findings}
    assert said["web"].startswith("corpus_perplexity of source web is 12, +20.00%")
    assert said["new"].endswith("the baseline has none")
    assert said["gone"].endswith("has no document tonight")
    assert "books" not in said


def test_a_group_that_is_gone_has_no_documents():
    tonight = measured(part(), web=part())
    before = measured(part(), web=part(), gone=part(documents=5))
    asked = {"metric": "num_documents", "by": "source"}
    [relative] = check(tonight, before, **asked, max_decrease=0.5)
    [absolute] = check(tonight, before, **asked, min=1)
    for found in (relative, absolute):
        assert [(one.group, one.value) for one in found.findings] == [("gone", 0.0)]
        assert found.state == "fail"


def test_errors_where_there_were_none():
    [found] = check(measured(part(error=0.01)), measured(part()), metric="error", max_increase=0.5)
    assert found.state == "fail"
    assert "none in the baseline" in found.findings[0].detail


def test_a_column_that_the_baseline_does_not_carry():
    before = Measured(part(), {})
    [found] = check(measured(part(), web=part()), before, by="source", max_increase=0.1)
    assert found.state == "skipped"
    assert "does not carry source" in found.findings[0].detail


def test_many_failures_are_counted_and_some_named():
    groups = {f"g{i}": part(100.0) for i in range(1000)}
    [found] = check(measured(part(), **groups), by="source", max=5.0)
    assert (found.num_failed, len(found.findings)) == (1000, MOST_FINDINGS)


def test_hostile_names():
    [found] = check(measured(part(), **{"\x1b[31mred\n": part()}), by="source", max=1.0)
    assert "\x1b" not in found.findings[0].detail
    assert "\n" not in found.findings[0].detail
