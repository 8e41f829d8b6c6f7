"""pipeline/filters/rule.py: every rule is one object, and a new one is a module and a field."""

import json
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Annotated

import polars as pl
import pytest

from pipeline.filters.config import RULES, FilterConfig, load_filter_config
from pipeline.filters.rule import Rule, label, metric_value
from pipeline.filters.rule_fields import Decides
from pipeline.filters.rules.bounds import Bounds
from pipeline.filters.selection import Selection
from pipeline.reports.groups import label_expr
from tests.filters.test_copies import KINDS, with_hashes

ROWS = [
    (file, lang, status, value, tokens)
    for file in ("a", "b")
    for lang in ("en", "de", None)
    for status, value, tokens in (
        *(("ok", float(v % 5 + 1), v) for v in range(1, 9)),
        ("truncated", 2.5, 7),
        ("error", None, 3),
    )
]
EVERY = {
    "bounds": {"max": ["perplexity=4"], "min": ["nll=-1"]},
    "percentile": {"percentile": "20:80", "within": "lang"},
    "buckets": {"buckets": "head,tail"},
    "sample": {"sample_toward": "2,1"},
    "budget": {"budget_tokens": "90", "prefer": "middle"},
    "where": {"where": "num_tokens > 3 and not perplexity == 2"},
    "copies": {"drop_copies": "low"},
    "cutoffs": {},
}


@pytest.fixture(autouse=True)
def cutoff_file(tmp_path, monkeypatch):
    """What the rule `cutoffs` reads."""
    path = tmp_path / "cutoffs.json"
    groups = [{"group": group, "low": 2, "high": 4} for group in ("en", "de", None)]
    table = {"metric": "perplexity", "rules": {"within": "lang"}, "cutoffs": groups}
    path.write_text(json.dumps(table))
    monkeypatch.setitem(EVERY, "cutoffs", {"cutoffs": str(path), "within": "lang"})


@pytest.fixture
def scores() -> pl.LazyFrame:
    return pl.LazyFrame(with_hashes(ROWS, [1, 2, 3, 4, 5]), schema=KINDS)


def test_every_setting_that_is_a_rule_has_its_module():
    assert {rule.rule for rule in RULES.values()} == EVERY.keys()
    for name in EVERY:
        assert import_module(f"pipeline.filters.rules.{name}").make(FilterConfig(run="x")) == []


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("unscored", ["keep", "drop"])
def test_a_rule_decides_a_part_of_the_rows_as_it_decides_all(scores, name, unscored):
    options = {"run": "x", "unscored": unscored, **EVERY[name]}
    selection = Selection.of(load_filter_config(None, options)).find(scores)
    whole = selection.decide(scores, "lang").collect()
    assert 0 < whole.filter("scored")["keep"].sum() < whole.filter("scored").height
    pieces = [selection.decide(scores.slice(at, 7), "lang").collect() for at in range(0, 60, 7)]
    assert pl.concat(pieces).equals(whole)
    if name != "where":
        assert set(whole.filter(~pl.col("scored"))["keep"]) == {unscored == "keep"}


@pytest.mark.parametrize("name", EVERY)
def test_rules_keep_together_what_each_keeps(scores, name):
    bound = Bounds("perplexity", high=2.5)
    own = Selection.of(load_filter_config(None, {"run": "x", **EVERY[name]})).rules
    both, one, other = (
        Selection(rules).find(scores).decide(scores).collect()["keep"]
        for rules in ((bound, *own), own, (bound,))
    )
    assert 0 < both.sum() < other.sum()
    assert not (both & ~other).any()
    if not any(rule.of_kept for rule in own):
        assert both.equals(one & other)


def test_groups_are_named_as_reports_name_them():
    texts = [None, "(null)", "(all others)", "en"]
    shown = pl.LazyFrame({"lang": texts}).select(label_expr("lang")).collect().to_series()
    assert [f"{name}: " for name in shown] == [label(text, "lang") for text in texts]
    assert shown.to_list() == ["(null)", '"(null)"', '"(all others)"', "en"]


@dataclass(frozen=True)
class Odd(Rule):
    """Values that are odd whole numbers."""

    metric: str

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric,)

    def mark(self, rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
        return rows.with_columns((metric_value(self.metric) % 2 == 1).alias(name))


def test_a_new_rule_is_its_module_and_its_field(monkeypatch, scores):
    class Config(FilterConfig):
        odd: Annotated[bool, Decides("odd", lambda config: True)] = False

    made = SimpleNamespace(make=lambda config: [Odd(config.chosen_metric)] if config.odd else [])
    monkeypatch.setitem(RULES, "odd", Decides("odd", lambda config: True))
    monkeypatch.setitem(__import__("sys").modules, "pipeline.filters.rules.odd", made)
    config = Config(run="x", odd=True, max={"perplexity": 4.0})
    decided = Selection.of(config).find(scores).decide(scores).collect()
    values = scores.collect()["perplexity"].to_list()
    assert decided["keep"].to_list() == [value in (1.0, 3.0) for value in values]
