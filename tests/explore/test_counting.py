"""What is counted near the ends of a band alone, against every row looked at."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from pipeline.explore import condensed
from pipeline.explore.bins import fill_bins, group_of
from pipeline.explore.counting import count
from pipeline.explore.rule import Asked, Decision, Narrowing, decide
from pipeline.explore.run import ExploredRun, open_run
from pipeline.schema import LARGEST
from tests.support.made_runs import row, unscored, write_run

SOURCES = ("web", "books", "code", None, "(null)", "rare")
SHAPES: dict[str, Callable[[random.Random], float]] = {
    "wide": lambda chance: math.exp(chance.gauss(2, 1.5)),
    "one bin": lambda chance: 7.0 + chance.randint(0, 9) / 1000,
    "few values": lambda chance: chance.choice([1.0, 2.0, 2.0, 4.0]),
    "one value": lambda chance: 3.0,
    "zero and the largest": lambda chance: chance.choice([0.0, -0.0, 5.0, LARGEST]),
    "far away": lambda chance: 10 ** chance.uniform(-300, 300),
}


def make(folder: Any, shape: str, number: int = 400) -> ExploredRun:
    chance = random.Random(shape)
    rows = []
    for _ in range(number):
        source = chance.choices(SOURCES, [50, 20, 10, 5, 5, 0.4])[0]
        made = row(chance.randint(1, 99), 10.0, 40, source=source)
        rows.append(made | {"perplexity": SHAPES[shape](chance)})
    rows += [unscored("error", source="web"), unscored("null", source="empty")]
    rows.append(row(5, 1.0, 9, source="code") | {"perplexity": float("nan")})
    files = {"a": rows[:150], "b": rows[150:]}
    return open_run(write_run(folder / "run", files).location)


def bands_of(chance: random.Random, values: list[float]) -> tuple[float | None, float | None]:
    """Ends at a value, between two, or beyond all; some open, in order."""
    ends = []
    for _ in range(2):
        value = chance.choice(values)
        near = (value, math.nextafter(value, 0.0), min(value * 1.001, LARGEST), -1.0, LARGEST)
        ends.append(chance.choices(near, [8, 4, 4, 1, 1])[0])
    low, high = sorted(ends)
    return (None if chance.random() < 0.2 else low, None if chance.random() < 0.2 else high)


def asked_of(chance: random.Random, values: list[float], groups: tuple[str, ...]) -> Asked:
    """A rule of any unit, with a condition now and then."""
    unit = chance.choice(["value", "percentile", "within", "each"])
    low, high = bands_of(chance, values)
    each: tuple[Any, ...] = ()
    if unit in ("percentile", "within"):
        low, high = sorted(chance.sample([0.0, 10.0, 33.3, 50.0, 99.9, 100.0], 2))
    if unit == "each":
        each = tuple((name, bands_of(chance, values)) for name in groups)
    where = chance.choice([None, "num_tokens > 50", 'source == "web" or perplexity > 3'])
    return Asked("perplexity", "source", unit, low, high, where, each)


def agrees(run: ExploredRun, asked: Asked, *, is_condensed: bool = True) -> Decision:
    """Both ways give the same figures and cut-offs."""
    groups, narrowing = group_of(run, asked.by), Narrowing.of(run, asked.where)
    bins = fill_bins(run, asked.metric, groups)
    few = narrowing and fill_bins(run, asked.metric, groups, where=narrowing.holds)
    near, every = decide(run, asked, bins, few), decide(run, asked)
    assert (near.counted is not None) == is_condensed
    assert count(run, near, bins) == count(run, every, bins)
    mix = run.prepared.mix(every.selection, by=asked.by)
    kept = count(run, near, bins)
    assert not few or decide(run, asked, bins).counted is None
    assert (kept.before, kept.after) == (mix.before, mix.after)
    assert kept.num_unscored == sum(mix.unscored.values())
    for one, other in zip(near.selection.rules, every.selection.rules, strict=True):
        assert (one.cutoffs is None) == (other.cutoffs is None)
        if one.cutoffs is not None and other.cutoffs is not None:
            assert one.cutoffs.equals(other.cutoffs)
    return near


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_near_the_ends_tells_of_all(tmp_path, shape):
    run = make(tmp_path, shape)
    values = run.rows().collect()["perplexity"].drop_nulls().to_list()
    groups = group_of(run, "source").groups
    chance = random.Random(1)
    for _ in range(40):
        agrees(run, asked_of(chance, values, groups))


def test_most_rows_are_not_read(tmp_path, monkeypatch):
    run = make(tmp_path, "wide", 5000)
    read: list[int] = []
    own = condensed._crossed

    def counting(*asked: Any) -> pl.DataFrame:
        near = own(*asked)
        read.append(near["documents"].sum())
        return near

    monkeypatch.setattr(condensed, "_crossed", counting)
    agrees(run, Asked("perplexity", "source", "value", 2.0, 20.0))
    agrees(run, Asked("perplexity", "source", "within", 10.0, 90.0))
    agrees(run, Asked("perplexity", None, "value", None, None))
    assert 0 < read[0] < 100
    assert 0 < read[1] < 500
    assert read[2] == 0


@pytest.mark.parametrize("unit", ["value", "percentile", "within"])
def test_where_too_many_would_be_read_every_row_is_counted(tmp_path, monkeypatch, unit):
    monkeypatch.setattr(condensed, "MOST_READ", 3)
    low, high = (2.0, 20.0) if unit == "value" else (10.0, 90.0)
    run = make(tmp_path, "one bin")
    low, high = (7.002, 7.005) if unit == "value" else (low, high)
    agrees(run, Asked("perplexity", "source", unit, low, high), is_condensed=False)


def test_bins_that_are_not_of_these_rows_are_not_believed(tmp_path):
    run = make(tmp_path, "wide", 5000)
    asked = Asked("perplexity", "source", "percentile", 10.0, 90.0)
    bins = fill_bins(run, asked.metric, group_of(run, asked.by))
    twice = bins.cells.with_columns(documents=2 * pl.col("documents"))
    bins = replace(bins, cells=twice)
    decision = decide(run, asked, bins)
    assert decision.counted is None
    assert count(run, decision, bins) == count(run, decide(run, asked), bins)


def test_many_ranges_are_read_as_few(tmp_path, monkeypatch):
    monkeypatch.setattr(condensed, "MOST_SPANS", 2)
    agrees(make(tmp_path, "wide"), Asked("perplexity", "source", "within", 10.0, 90.0))
