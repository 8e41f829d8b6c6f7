"""Gates: terms of groups and of a baseline, and what is said where nothing can be judged."""

import json
import math
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import build_report
from pipeline.errors import ConfigError
from pipeline.reports.gate import Gate, Psi, change
from pipeline.reports.requirements import MOST_GROUPS, Requirement
from pipeline.reports.term_values import Missing, Rows
from pipeline.reports.wording import outcome
from pipeline.schema import LARGEST
from tests.reports.test_requirements import check
from tests.support.made_runs import row, unscored, write_run

KINDS = {
    "lang": pl.String,
    "status": pl.String,
    "num_tokens": pl.Int64,
    "num_bytes": pl.Int64,
    "num_scored_bytes": pl.Int64,
    "nll": pl.Float64,
    "perplexity": pl.Float64,
}


def table(*rows: tuple[str | None, int, float | None]) -> pl.LazyFrame:
    """Score rows of (lang, tokens, nats per token)."""
    made = [
        (lang, "ok", n, 4 * n, 4 * n, n * x, math.exp(x))
        if x is not None
        else (lang, "error", 0, 9, 0, None, None)
        for lang, n, x in rows
    ]
    return pl.LazyFrame(made, schema=KINDS, orient="row")


NOW = table(("en", 10, 2.0), ("en", 30, 3.0), ("fi", 20, 1.0), (None, 5, 4.0), ("sv", 1, None))
BEFORE = table(("en", 20, 2.5), ("en", 20, 1.5), ("fi", 40, 1.0), ("sv", 7, 2.0))


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ('group(lang, "en", corpus_perplexity)', math.exp(110 / 40)),
        ('group("lang", "en", p50(perplexity))', (math.exp(2) + math.exp(3)) / 2),
        ("group(lang, '(null)', tokens)", 5),
        ("group(lang, 'fi', share(status == \"ok\"))", 1.0),
        ("between(lang)", 1 - (0.5 / 1) / (5 / 3)),  # en 2 and 3, fi 1, none 4 nats per token
        ("baseline(tokens)", 87),
        ('baseline(group(lang, "fi", tokens))', 40),
        ('group(lang, "fi", baseline(tokens))', 40),
        ('group(lang, "fi", increase(tokens))', -0.5),
        ('decrease(group(lang, "fi", tokens))', 0.5),
        ("increase(tokens)", (65 - 87) / 87),
        (
            "increase(p95(perplexity))",
            np.quantile(np.exp([2.0, 3, 1, 4]), 0.95) / np.quantile(np.exp([2.5, 1.5, 1, 2]), 0.95)
            - 1,
        ),
    ],
)
def test_terms(figure, value):
    found = check(f"{figure} > 1B", NOW, baseline=BEFORE)
    assert list(found.values.values())[-1] == pytest.approx(value)
    assert (found.failed, found.judged, found.reason) == (False, True, None)
    assert check(f"{figure} < 1B", NOW, baseline=BEFORE).failed


def test_values_are_of_both_runs():
    found = check("increase(tokens) > 5%", NOW, baseline=BEFORE)
    assert found.values == {
        "tokens": 65.0,
        "baseline(tokens)": 87.0,
        "increase(tokens)": pytest.approx(-22 / 87),
    }


@pytest.mark.parametrize(
    ("now", "was", "rose"),
    [(3.0, 2.0, 0.5), (1.0, 2.0, -0.5), (-1.0, -2.0, 0.5), (0.0, 0.0, 0.0), (2.0, 2.0, 0.0)],
)
def test_change(now, was, rose):
    assert change(now, was) == rose
    assert change(now, was, -1) == -rose


def test_what_comes_of_nothing_is_without_bound():
    assert (change(1.0, 0.0), change(1.0, 0.0, -1)) == (LARGEST, -LARGEST)
    found = check('increase(share(status == "error")) > 5', NOW, baseline=BEFORE)
    assert (found.failed, found.judged) == (True, True)
    assert 'increase(share(status == "error")) = unbounded' in outcome(found)


def test_any_names_the_groups_that_decide():
    found = check("any(lang, corpus_perplexity > 15)", NOW.filter(pl.col("lang") != "sv"))
    assert (found.failed, found.judged, found.num_groups) == (True, True, 1)
    [group] = found.groups
    assert (group.column, group.value, group.judged) == ("lang", "en", True)
    assert group.values == {"corpus_perplexity": pytest.approx(math.exp(110 / 40))}
    assert outcome(found) == (
        "FAILED: any(lang, corpus_perplexity > 15): lang en: corpus_perplexity = 15.6426"
    )


def test_any_names_the_groups_that_keep_it_from_being_judged():
    """What fired has fired, whatever other groups lack."""
    fired = check("any(lang, corpus_perplexity > 20)", NOW)
    assert (fired.num_groups, [(one.value, one.judged) for one in fired.groups]) == (
        1,
        [("(null)", True)],
    )
    assert "sv" not in outcome(fired)
    unknown = check("any(lang, corpus_perplexity > 100)", NOW)
    assert (unknown.judged, unknown.num_groups) == (False, 1)
    assert [(one.value, one.judged) for one in unknown.groups] == [("sv", False)]
    assert "no document with lang = 'sv' has a value" in outcome(unknown)
    passed = check("any(lang, corpus_perplexity > 100) and documents > 1B", NOW)
    assert (passed.judged, passed.failed, passed.groups) == (True, False, [])


def test_any_among_other_conditions():
    assert check("documents > 4 and any(lang, documents > 1)", NOW).failed
    assert not check("documents > 5 or not any(lang, documents > 1)", NOW).failed
    assert not check("any(lang, documents > 2) or any(status, documents > 4)", NOW).failed


def test_many_groups_are_counted_and_some_listed():
    rows = table(*((f"g{i}", 10, 2.0) for i in range(50)))
    found = check("any(lang, documents > 0)", rows)
    assert (found.num_groups, len(found.groups)) == (50, MOST_GROUPS)
    assert outcome(found).endswith("and 30 more groups")


NAMES = st.sampled_from(["en", "fi", None])
ROWS = st.lists(
    st.tuples(NAMES, st.integers(1, 9), st.none() | st.floats(0.5, 5)), min_size=1, max_size=6
)


@given(ROWS, ROWS, st.floats(-1, 2))
@settings(max_examples=40, deadline=None)
def test_any_is_what_python_makes_of_it(now, before, limit):
    """By sums in Python, a group at a time."""

    def tokens(rows, lang):
        return sum(n for name, n, nats in rows if name == lang and nats is not None)

    verdicts = []
    for lang in {name for name, *_ in [*now, *before]}:
        if all(name != lang for name, *_ in before):
            verdicts.append(None)
            continue
        was, rose = tokens(before, lang), tokens(now, lang) - tokens(before, lang)
        relative = rose / was if was else math.inf * rose if rose else 0.0
        verdicts.append(relative > limit)
    expected = True if True in verdicts else None if None in verdicts else False
    source = f"any(lang, increase(tokens) > {limit!r})"
    found = check(source, table(*now), baseline=table(*before))
    assert (found.failed, found.judged) == (expected is not False, expected is not None)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("p95(perplexity) > 1", "no document has a value for p95(perplexity)"),
        ('group(lang, "ens", documents) > 1', "no document has lang = 'ens'; did you mean 'en'?"),
        (
            'group(lang, "sv", p5(perplexity)) > 1',
            "no document with lang = 'sv' has a value for p5(perplexity)",
        ),
        (
            "increase(p95(perplexity)) > 1",
            "no document has a value for p95(perplexity); "
            "no document of the baseline has a value for p95(perplexity)",
        ),
        ("any(lang, p5(perplexity) > 1)", "no document with lang = 'en' has a value for"),
        ("any(lang, increase(documents) > 1)", "no document of the baseline has lang = 'en'"),
    ],
)
def test_what_cannot_be_judged_says_why(source, reason):
    unscored_rows = table(("en", 0, None), ("sv", 0, None))
    found = check(source, unscored_rows, baseline=table(("sv", 0, None)))
    assert (found.failed, found.judged) == (True, False)
    assert found.reason.startswith(reason)
    assert outcome(found).startswith(f"FAILED: cannot be judged: {source}: {reason}")


def test_no_rows_are_no_groups():
    found = check("any(lang, documents < 1)", NOW.head(0))
    assert (found.failed, found.judged) == (True, False)
    assert found.reason == "the column lang has no groups"


def test_a_baseline_that_lacks_columns():
    lacking = BEFORE.drop("lang", "perplexity")
    assert check("increase(tokens) > 1", NOW, baseline=lacking).judged
    found = check("increase(mean(perplexity)) > 1", NOW, baseline=lacking)
    assert found.reason == "the baseline does not carry the columns of mean(perplexity)"
    found = check("any(lang, increase(tokens) > 1)", NOW, baseline=lacking)
    assert found.reason == "the baseline does not carry lang"


def test_a_baseline_that_will_not_do():
    found = check("increase(tokens) > 1 or documents > 9", NOW, baseline=Missing("x", "it is torn"))
    assert (found.failed, found.judged, found.reason) == (True, False, "it is torn")
    assert not check(
        "increase(tokens) > 1 and documents > 9", NOW, baseline=Missing("x", "")
    ).failed


def test_a_sampled_baseline_is_weighted():
    weighted = BEFORE.with_columns(w=pl.lit(2.0))
    gate = Gate([Requirement.read("increase(tokens) > 0")], Rows(NOW), Rows(weighted, pl.col("w")))
    [judged] = gate.judge()
    assert judged.values["baseline(tokens)"] == 174


def test_figures_that_do_not_compare_are_withheld():
    before = Rows(
        BEFORE, withheld=frozenset(["num_tokens", "perplexity"]), why_withheld="other tokens"
    )
    sources = [
        "increase(bits_per_byte) > 9",
        "increase(tokens) > 9",
        "increase(mean(perplexity)) > 9",
    ]
    gate = Gate([Requirement.read(source) for source in sources], Rows(NOW), before)
    assert [one.reason for one in gate.judge()] == [None, "other tokens", "other tokens"]


def test_psi_is_the_comparisons():
    gate = Gate([Requirement.read("psi(perplexity) > 0.1")], Rows(NOW), Rows(BEFORE))
    [judged] = gate.judge({(None, None, "perplexity"): Psi(0.2, 0.05)})
    assert judged.is_true
    assert judged.values == {"psi(perplexity)": 0.2, "psi(perplexity) by chance": 0.05}
    [judged] = gate.judge()
    assert judged.is_true is None


@pytest.mark.parametrize(
    ("source", "at", "what", "hint"),
    [
        ("increase(tokns) > 1", 10, "no figure 'tokns'", "did you mean 'tokens'?"),
        ("incrase(tokens) > 1", 1, "no figure 'incrase'", "did you mean 'increase'?"),
        ("increase(5) > 1", 1, "increase takes a figure", None),
        ("increase(tokens, 2) > 1", 1, "increase takes a figure", None),
        ("increase(baseline(tokens)) > 1", 10, "baseline(tokens) already compares two runs", None),
        ("increase(psi(perplexity)) > 1", 10, "already compares two runs", None),
        ("psi(nll) > 1", 1, "psi takes one of two metrics", None),
        ("between(5) > 1", 1, "between", None),
        ("between(lnag) > 1", 9, "no column 'lnag'", "did you mean 'lang'?"),
        ("between(tags) > 1", 9, "cannot group by 'tags'", None),
        ('group(lang, "en", between(lang)) > 1', 19, "between covers all documents", None),
        ('group(lang, "en") > 1', 1, "group takes a column, a value and a figure", None),
        ("group(lang, en, tokens) > 1", 1, "group takes a column", None),
        ('group(lnag, "en", tokens) > 1', 7, "no column 'lnag'", "did you mean 'lang'?"),
        ('any(lang, group(lang, "en", tokens) > 1)', 11, "cannot be nested", None),
        ("any(lang, any(lang, tokens > 1))", 15, "cannot be nested", None),
        ("any(lang, 2 > 1)", 5, "any takes a condition on figures", None),
        ("any(tags, tokens > 1)", 5, "cannot group by 'tags': its values are List", None),
        ("share(any(lang, tokens > 1)) > 1", 11, "not on rows", None),
        ("low(tokens) > 1", 1, "low takes one of these figures: corpus_perplexity, ", None),
        ("low(p95(perplexity)) > 1", 1, "low takes one of these figures", None),
        ("high(low(bits_per_byte)) > 1", 1, "high takes one of these figures", None),
        ("increase(low(bits_per_byte)) > 1", 10, "write low(increase(...))", None),
        ("tokens > 1 and decrease(tokens) > 1", 16, "none is given", "give baseline"),
    ],
)
def test_mistakes_are_pointed_at(source, at, what, hint):
    with pytest.raises(ConfigError, match=re.escape(what)) as raised:
        check(source, NOW.with_columns(tags=pl.concat_list("lang")))
    assert f"at character {at}:" in str(raised.value)
    if hint:
        assert raised.value.hint == hint


@pytest.fixture
def runs(tmp_path):
    """Two nights; of the second, books are harder."""
    first = [row(10, 20.0 + i, 40, source=name) for i in range(6) for name in ("web", "books")]
    second = [
        row(10, 20.0 + i + 3 * (name == "books"), 40, source=name)
        for i in range(6)
        for name in ("web", "books")
    ]
    return [
        write_run(tmp_path / name, {"a": rows}).location
        for name, rows in (("first", first), ("second", [*second, unscored(source="web")]))
    ]


def test_a_report_holds_a_run_against_the_baseline_that_is_named(runs):
    first, second = runs
    source = "any(source, increase(corpus_perplexity) > 5%)"
    report = build_report(second, fail_if=source, baseline=first, text=False)
    [finding] = report.requirements
    assert [group.value for group in finding.groups] == ["books"]
    assert finding.groups[0].values["increase(corpus_perplexity)"] == pytest.approx(
        math.exp(0.3) - 1
    )
    assert json.loads(report.model_dump_json())["requirements"][0]["groups"][0]["value"] == "books"
    assert (
        not build_report(first, fail_if=source, baseline=first, text=False).requirements[0].failed
    )


def test_a_report_refuses_what_it_cannot_judge(runs):
    first, second = runs
    with pytest.raises(ConfigError, match="needs a baseline, and none is given"):
        build_report(second, fail_if="increase(tokens) > 5%")
    with pytest.raises(ConfigError, match="a report cannot compute psi"):
        build_report(second, fail_if="psi(perplexity) > 0.1", baseline=first)
    with pytest.raises(ConfigError, match="baseline is given, but no requirement uses it"):
        build_report(second, fail_if="tokens > 5", baseline=first)


def test_a_report_holds_nothing_against_another_model(runs, tmp_path):
    other = write_run(tmp_path / "other", {"a": [row(10, 20.0, 40)]}, weights="b" * 64)
    found = build_report(runs[1], fail_if="increase(tokens) > 5%", baseline=other, text=False)
    assert not found.requirements[0].judged
    assert "was scored with another model or settings: weights" in found.requirements[0].reason
