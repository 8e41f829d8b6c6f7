"""pipeline/comparisons/agreement.py against SciPy, sets, and resamples that are ranked anew."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.comparisons.agreement import spearman
from pipeline.comparisons.compare import compare_runs
from pipeline.comparisons.comparison import Comparison
from pipeline.comparisons.page import to_html, to_markdown
from pipeline.comparisons.tables import sections
from pipeline.filters.config import load_filter_config
from pipeline.filters.selection import Selection
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.statistics.bootstrap import NUM_BLOCKS, Bootstrap
from tests.support.made_runs import row, write_run

BOOTSTRAP = Bootstrap(seed=3, resamples=100)


def blocks_of(num: int) -> np.ndarray:
    return np.random.default_rng(7).permutation(NUM_BLOCKS)[:num].astype(np.uint16)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40),
)
def test_the_correlation_is_scipys(pairs):
    x, y = (np.array(side, np.float64) for side in zip(*pairs, strict=True))
    found, around = spearman(x, y, blocks_of(len(x)), BOOTSTRAP)
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        assert (found, around) == (None, None)
        return
    assert found == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    if around is not None:
        assert -1 <= around.low <= around.high <= 1


def weighted_spearman(x, y, weights):
    """Ranks of documents repeated as often as their weights say."""
    return stats.spearmanr(np.repeat(x, weights), np.repeat(y, weights)).statistic


@pytest.mark.parametrize("noise", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("decimals", [12, 0], ids=["no ties", "many ties"])
def test_the_interval_is_that_of_resamples_ranked_anew(noise, decimals):
    random = np.random.default_rng(11)
    x = random.gamma(2, 2, 600)
    y = np.round(x + random.normal(0, noise, 600), decimals)
    x = np.round(x, decimals)
    found, around = spearman(x, y, blocks_of(600), Bootstrap(seed=0, resamples=2000))
    drawn = [weighted_spearman(x, y, random.poisson(1, 600)) for _ in range(1000)]
    # Documents drawn twice are ties, which lower the correlation of every resample a little.
    low, high = np.quantile(drawn, [0.025, 0.975]) - np.mean(drawn) + found
    assert around.low < found < around.high
    assert around.high - around.low == pytest.approx(high - low, rel=0.12)
    assert around.low == pytest.approx(low, abs=0.15 * (high - low))


@pytest.fixture(scope="module")
def models(
    tmp_path_factory,
) -> tuple[Comparison, list[float], list[float], list[str], list[RunStore]]:
    folder = tmp_path_factory.mktemp("models")
    random = np.random.default_rng(2)
    sources = [("web", "books")[i % 3 == 0] for i in range(500)]
    bits = random.gamma(9, 1, 500)
    noise = np.where(np.array(sources) == "web", 0.2, 3.0)
    others = np.abs(bits + random.normal(0, 1, 500) * noise) + 0.1
    rows = [
        [row(10, float(n), 40, source=s) for n, s in zip(side, sources, strict=True)]
        for side in (bits, others)
    ]
    stores = [
        write_run(folder / "one", {"a": rows[0]}),
        write_run(folder / "two", {"a": rows[1]}, weights="b" * 64),
    ]
    comparison = compare_runs(stores, by=("source",), resamples=300)
    return comparison, list(bits), list(others), sources, stores


def kept(values: list[float], low: int, high: int) -> set[int]:
    """By rank: inside of both percentiles, counted in hundredths of steps."""
    order = sorted(range(len(values)), key=values.__getitem__)
    steps = len(values) - 1
    return {i for rank, i in enumerate(order) if low * steps <= 100 * rank <= high * steps}


def test_overlaps_are_those_of_sets(models):
    comparison, before, after, sources, _ = models
    agreement = comparison.shifts[0].agreement
    by_group = {one.value: one.agreement for one in agreement.groups["source"]}
    for name, found in [("", agreement.overall), *by_group.items()]:
        inside = {i for i, source in enumerate(sources) if not name or source == name}
        assert found.num_compared == len(inside)
        for one, (low, high) in zip(found.overlaps, [(10, 90), (0, 90)], strict=True):
            mine, theirs = (kept(side, low, high) & inside for side in (before, after))
            assert (one.low, one.high) == (low, high)
            assert (one.num_kept_baseline, one.num_kept) == (len(mine), len(theirs))
            assert one.num_kept_by_both == len(mine & theirs)
            assert one.jaccard == len(mine & theirs) / len(mine | theirs)
        at = sorted(inside)
        sides = ([side[i] for i in at] for side in (before, after))
        assert found.spearman == pytest.approx(stats.spearmanr(*sides).statistic)
    assert [one.value for one in agreement.groups["source"]] == ["books", "web"], "least first"


def test_the_overlap_is_of_what_a_filter_keeps(models):
    comparison, *_, stores = models
    for found in comparison.shifts[0].agreement.overall.overlaps:
        asked = load_filter_config(
            None,
            {"run": "x", "metric": "bits_per_byte", "percentile": f"{found.low:g}:{found.high:g}"},
        )
        masks = []
        for store in stores:
            scores = scan_scores(store, store.require_manifest())
            kept = Selection.of(asked).find(scores).decide(scores).collect()["keep"]
            masks.append(kept.to_numpy())
        both, either = (masks[0] & masks[1]).sum(), (masks[0] | masks[1]).sum()
        assert (found.num_kept_by_both, found.jaccard) == (both, both / either)


def test_every_output_has_the_agreement(models):
    comparison, *_ = models
    (shown,) = [one for one in sections(comparison) if one.key == "agreement"]
    assert [line[1] for line in shown.rows] == ["all", "source: books", "source: web"]
    assert shown.on_terminal
    content = json.loads(comparison.model_dump_json())
    assert content["shifts"][0]["agreement"]["overall"]["num_compared"] == 500
    for said in (to_markdown(comparison), to_html(comparison)):
        assert "Agreement of models" in said
        assert shown.rows[0][3] in said


def test_one_model_agrees_with_nobody(tmp_path):
    rows = [row(10, 10.0 + i, 40) for i in range(9)]
    stores = [write_run(tmp_path / name, {"a": rows}) for name in ("one", "two")]
    comparison = compare_runs(stores, resamples=100)
    assert comparison.shifts[0].agreement is None
    assert "agreement" not in [one.key for one in sections(comparison)]
