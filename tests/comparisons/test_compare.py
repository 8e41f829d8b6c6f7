"""pipeline/comparisons/compare.py: figures, shifts, trends and matrices against NumPy and SciPy."""

import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file
from scipy import stats

from pipeline.comparisons.comparability import TOKENIZERS_DIFFER
from pipeline.comparisons.compare import compare_runs
from pipeline.comparisons.comparison import Comparison
from pipeline.comparisons.page import to_markdown
from pipeline.errors import RunError
from pipeline.runs.store import RunStore
from pipeline.schema import WindowScore
from pipeline.statistics.hashing import hash_bytes
from tests.support.fakes import FakeEngine
from tests.support.made_runs import row, unscored, write_run
from tests.support.runs import make_run

FEW = 100
"""Resamples, where a test is not about the interval."""


class Surer(FakeEngine):
    """As the other, with every log-probability halved."""

    def _answer(self, entry):
        answer = super()._answer(entry)
        return WindowScore(answer.key, answer.logprobs / 2)


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of one model: with another tokenizer, and with other weights."""
    folder = tmp_path_factory.mktemp("models")
    found = {"first": tiny_model}
    for name in ("tokenizer", "weights"):
        found[name] = folder / name
        found[name].mkdir()
        for file in tiny_model.iterdir():
            (found[name] / file.name).write_bytes(file.read_bytes())
    settings = found["tokenizer"] / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"padding_side": "left"}))
    weights = found["weights"] / "model.safetensors"
    save_file({k: v * 2 for k, v in load_file(weights).items()}, weights, {"format": "pt"})
    return found


TEXTS = ["some text", "and more of it", "the third one", "a last"]
OTHERS = ["quite another corpus", "of only two documents"]


@pytest.fixture(scope="module")
def runs(models, tmp_path_factory) -> dict[str, RunStore]:
    """Two corpora under three models, scored by the real path."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        f"{model} {corpus}": make_run(
            folder / f"{model}-{corpus}",
            models[model],
            texts,
            engine=Surer() if model == "weights" else None,
        )
        for model in models
        for corpus, texts in (("a", TEXTS), ("b", OTHERS))
    }


def made(random, num, shift=0.0, sources=("web", "books")):
    tokens = random.integers(5, 300, num)
    nats = tokens * np.exp(random.normal(1 + shift, 0.3, num))
    return [
        row(int(t), float(x), int(t) * 4, source=sources[i % len(sources)])
        for i, (t, x) in enumerate(zip(tokens, nats, strict=True))
    ]


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Comparison, list, list]:
    """Two datasets of made-up scores, and what was made up."""
    folder = tmp_path_factory.mktemp("two")
    random = np.random.default_rng(4)
    before, after = made(random, 1500), made(random, 900, 0.1)
    stores = [
        write_run(folder / "one", {"a": before, "u": [unscored(source="web")]}),
        write_run(folder / "two", {"b": after}, corpus="/data/other"),
    ]
    return compare_runs(stores, by=("source",)), before, after


# --- what may be compared, and by what


def test_one_tokenizer_ranks_by_perplexity(runs):
    comparison = compare_runs([runs["first b"], runs["first a"]], resamples=FEW)
    assert comparison.ranked_by == "perplexity"
    assert comparison.notes == []
    values = [run.figures.corpus_perplexity for run in comparison.runs]
    assert values == sorted(values)


def test_two_tokenizers_rank_by_bits_per_byte_and_say_so(runs):
    three = [runs["first a"], runs["weights a"], runs["tokenizer a"]]
    comparison = compare_runs(three, resamples=FEW)
    assert comparison.kind == "models"
    assert comparison.ranked_by == "bits_per_byte"
    assert TOKENIZERS_DIFFER in comparison.notes
    values = [run.figures.bits_per_byte for run in comparison.runs]
    assert values == sorted(values)
    for shift in comparison.shifts:
        assert list(shift.overall.changes) == ["bits_per_byte", "word_perplexity"]
        assert list(shift.overall.quantiles) == ["bits_per_byte"]
        assert list(shift.overall.distances) == ["bits_per_byte"]


def test_an_unfinished_run_is_named(models, runs, tmp_path):
    store = make_run(tmp_path, models["first"], ["text"])
    store.root.remove("_SUCCESS")
    with pytest.raises(RunError, match="is not finished"):
        compare_runs([runs["first a"], store])
    comparison = compare_runs([runs["first a"], store], partial=True, resamples=FEW)
    assert comparison.notes == [f"{store.location} is not complete."]
    assert sum(run.complete for run in comparison.runs) == 1


def test_not_a_run(runs, tmp_path):
    with pytest.raises(RunError, match="is not a run directory"):
        compare_runs([runs["first a"], RunStore(str(tmp_path))])


def test_nothing_scored(tmp_path):
    stores = [
        write_run(tmp_path / "one", {"a": [row(5, 5.0, 9)]}),
        write_run(tmp_path / "none", {"a": [unscored()]}),
        write_run(tmp_path / "empty", {}),
    ]
    for store in stores[1:]:
        with pytest.raises(RunError, match=r"no document of .* has a score"):
            compare_runs([stores[0], store])


def test_a_column_that_a_run_does_not_carry(runs, two, tmp_path):
    carrying = write_run(tmp_path / "one", {"a": [row(5, 5.0, 9, source="web")]})
    with pytest.raises(RunError, match="one: no carried column 'sorce'") as refused:
        compare_runs([carrying, carrying], by=("sorce",))
    assert "did you mean 'source'?" in refused.value.hint
    with pytest.raises(RunError, match="run: no carried column 'source'"):
        compare_runs([carrying, runs["first a"]], by=("source",), partial=True)


# --- one run against another


def arrays(rows):
    return (np.array([one[key] for one in rows]) for key in ("nll", "num_tokens", "num_bytes"))


def test_figures_are_of_sums(two):
    comparison, before, after = two
    by_name = {run.name: run for run in comparison.runs}
    for name, rows in (("one", before), ("two", after)):
        nll, tokens, num_bytes = arrays(rows)
        figures = by_name[name].figures
        assert figures.corpus_perplexity == pytest.approx(math.exp(nll.sum() / tokens.sum()))
        assert figures.bits_per_byte == pytest.approx(nll.sum() / num_bytes.sum() / math.log(2))
        interval = by_name[name].intervals["perplexity"]
        ratio = nll.sum() / tokens.sum()
        spread = 1.96 * math.sqrt(np.sum((nll - ratio * tokens) ** 2)) / tokens.sum()
        assert math.log(interval.high / interval.low) == pytest.approx(2 * spread, rel=0.2)


def test_changes_are_the_runs_minus_the_baselines(two):
    comparison, before, after = two
    (shift,) = comparison.shifts
    assert (comparison.baseline, shift.baseline, shift.run) == ("one", "one", "two")
    assert (shift.overall.num_scored_baseline, shift.overall.num_scored) == (1500, 900)
    values = []
    for rows in (before, after):
        nll, tokens, _ = arrays(rows)
        values.append(math.exp(nll.sum() / tokens.sum()))
    change = shift.overall.changes["perplexity"]
    assert [change.baseline, change.value] == pytest.approx(values)
    assert change.difference == pytest.approx(values[1] - values[0])
    assert change.relative == pytest.approx(values[1] / values[0] - 1)
    assert change.interval.low < change.difference < change.interval.high


def test_the_difference_of_unrelated_corpora_is_as_sure_as_both(two):
    """Variances add."""
    comparison, *_ = two
    intervals = [run.intervals["bits_per_byte"] for run in comparison.runs]
    widths = [interval.high - interval.low for interval in intervals]
    change = comparison.shifts[0].overall.changes["bits_per_byte"].interval
    assert change.high - change.low == pytest.approx(math.hypot(*widths), rel=0.15)


@pytest.mark.parametrize("group", ["", "web", "books"])
def test_distances_and_quantiles_are_numpys_and_scipys(two, group):
    comparison, before, after = two
    (shift,) = comparison.shifts
    groups = {one.value: one.shift for one in shift.groups["source"]}
    found = groups[group] if group else shift.overall
    logs, bits = [], []
    for rows in (before, after):
        nll, tokens, num_bytes = arrays([r for r in rows if not group or r["source"] == group])
        logs.append(nll / tokens)
        bits.append(nll / num_bytes / math.log(2))
    for name, sides in (("log_perplexity", logs), ("bits_per_byte", bits)):
        distances = found.distances[name]
        assert distances.ks_statistic == pytest.approx(stats.ks_2samp(*sides).statistic)
        assert distances.wasserstein == pytest.approx(stats.wasserstein_distance(*sides))
    for metric, sides in (("perplexity", np.exp(logs[0])), ("bits_per_byte", bits[0])):
        for name, change in found.quantiles[metric].items():
            assert change.baseline == pytest.approx(np.percentile(sides, int(name[1:])))
            assert change.difference == pytest.approx(change.value - change.baseline)
            assert change.relative == pytest.approx(change.difference / change.baseline)


def test_percentiles_are_the_documents(two):
    comparison, before, _ = two
    run = next(run for run in comparison.runs if run.name == "one")
    nll, tokens, _ = arrays(before)
    expected = np.percentile(np.exp(nll / tokens), range(101))
    assert run.percentiles["perplexity"] == pytest.approx(expected)


def test_groups_are_the_same_in_every_run(tmp_path):
    stores = [
        write_run(tmp_path / "one", {"a": [row(5, 5.0, 9, source="web")] * 3}),
        write_run(
            tmp_path / "two",
            {"a": [row(5, 6.0, 9, source="web"), row(5, 6.0, 9), row(5, 9.0, 9, source="new")]},
            weights="b" * 64,
        ),
    ]
    comparison = compare_runs(stores, by=("source", "source"), resamples=FEW)
    assert comparison.by == ["source"]
    (shift,) = comparison.shifts
    groups = {one.value: one.shift for one in shift.groups["source"]}
    assert set(groups) == {"web", "new", "(null)"}
    assert shift.groups["source"][0].value == "web"
    new = groups["new"]
    assert (new.num_scored_baseline, new.num_scored) == (0, 1)
    change = new.changes["perplexity"]
    assert (change.baseline, change.difference, change.interval) == (None, None, None)
    assert change.value == pytest.approx(math.exp(9 / 5))
    assert (new.distances, new.quantiles) == ({}, {})


# --- kinds


def test_checkpoints_are_a_trend_in_the_order_given(tmp_path):
    random = np.random.default_rng(0)
    nats = random.gamma(9, 3, 400)
    stores = [
        write_run(
            tmp_path / name,
            {"a": [row(10, float(x), 40) for x in nats * factor]},
            weights=name * 64,
        )
        for name, factor in (("3", 1.0), ("1", 0.8), ("2", 0.9))
    ]
    comparison = compare_runs(stores, resamples=400)
    assert comparison.kind == "checkpoints"
    assert [run.name for run in comparison.runs] == ["3", "1", "2"]
    steps = comparison.trend
    values = [math.exp(nats.sum() * factor / 4000) for factor in (1.0, 0.8, 0.9)]
    assert [step.value for step in steps] == pytest.approx(values)
    assert steps[0].from_previous is None
    assert steps[0].from_first is None
    assert steps[2].from_previous.difference == pytest.approx(values[2] - values[1])
    assert steps[2].from_first.difference == pytest.approx(values[2] - values[0])
    # The same documents: the change is surer than of unrelated ones.
    own = [run.intervals["perplexity"] for run in comparison.runs[:2]]
    change = steps[1].from_previous.interval
    unrelated = math.hypot(*(interval.high - interval.low for interval in own))
    assert change.high - change.low < 0.6 * unrelated
    assert change.high < 0 < steps[2].from_previous.interval.low


def test_nights_say_what_became_of_files_and_documents(tmp_path):
    monday = {"old": [row(10, 10.0, 40)] * 5, "gone": [row(10, 10.0, 40)] * 2}
    tuesday = {"old": monday["old"], "new": [row(10, 20.0, 40)] * 3}
    stores = [write_run(tmp_path / str(i), files) for i, files in enumerate((monday, tuesday))]
    comparison = compare_runs(stores, resamples=FEW)
    assert comparison.kind == "nightly"
    (shift,) = comparison.shifts
    assert (shift.files.added, shift.files.removed, shift.files.unchanged) == (1, 1, 1)
    pairing = shift.pairing
    assert (pairing.num_matched, pairing.num_only_in_baseline, pairing.num_only_in_run) == (5, 2, 3)
    assert pairing.num_equal == 5
    assert shift.overall.changes["bits_per_byte"].difference > 0
    assert comparison.trend is not None


def test_models_meet_datasets_in_a_matrix(runs):
    names = ["first a", "weights a", "first b", "weights b"]
    comparison = compare_runs([runs[name] for name in names], resamples=FEW)
    assert comparison.kind == "matrix"
    matrix = comparison.matrix
    assert matrix.datasets == ["first-a/corpus", "first-b/corpus"]
    expected = [[whole_bits(runs[f"{m} {c}"]) for c in "ab"] for m in ("first", "weights")]
    found = [[cell.bits_per_byte for cell in cells] for cells in matrix.cells]
    assert np.allclose(found, expected)
    # Halved log-probabilities are half the bits.
    assert np.allclose(np.array(found)[1], np.array(found)[0] / 2)
    # One thing differs at a time.
    against = {Path(shift.run).parent.name: shift.baseline for shift in comparison.shifts}
    assert {key: Path(value).parent.name for key, value in against.items()} == {
        "weights-a": "first-a",
        "first-b": "first-a",
        "weights-b": "first-b",
    }
    paired = {Path(s.run).parent.name: s.pairing is not None for s in comparison.shifts}
    assert paired == {"weights-a": True, "first-b": False, "weights-b": True}


def whole_bits(store):
    totals = [store.footer(shard.id).totals for shard in store.require_manifest().shards]
    return sum(t.nll for t in totals) / sum(t.num_bytes for t in totals) / math.log(2)


def test_a_matrix_with_holes_says_what_cannot_be_told_apart(runs):
    comparison = compare_runs([runs["first a"], runs["weights b"]], resamples=FEW)
    assert [[cell is None for cell in cells] for cells in comparison.matrix.cells] == [
        [False, True],
        [True, False],
    ]
    assert any("differ in model and in text" in note for note in comparison.notes)


def test_the_documents_that_both_models_scored_are_paired(runs):
    comparison = compare_runs([runs["first a"], runs["weights a"]], resamples=FEW)
    assert comparison.kind == "checkpoints"
    pairing = comparison.shifts[0].pairing
    assert (pairing.num_matched, pairing.num_texts_changed, pairing.num_fell) == (4, 0, 4)
    assert len(pairing.fell_most) == 4


# --- settings


def test_the_baseline_is_one_of_them_or_comes_first(runs):
    stores = [runs["first a"], runs["first b"]]
    names = [store.location for store in stores]
    for baseline, expected in ((None, 0), (stores[1], 1)):
        comparison = compare_runs(stores, baseline=baseline, resamples=FEW)
        star = next(run for run in comparison.runs if run.name == comparison.baseline)
        assert star.run == names[expected]
        assert [shift.baseline for shift in comparison.shifts] == [comparison.baseline]
    comparison = compare_runs(stores[:1], baseline=stores[1], resamples=FEW)
    assert comparison.baseline == "first-b/run"
    assert [shift.run for shift in comparison.shifts] == ["first-a/run"]


def test_the_same_run_twice_does_not_differ(runs):
    comparison = compare_runs([runs["first a"]] * 2, resamples=FEW)
    assert comparison.kind == "repeats"
    (shift,) = comparison.shifts
    assert shift.overall.changes["perplexity"].difference == 0
    assert shift.overall.distances["bits_per_byte"].ks_statistic == 0
    assert shift.pairing.num_equal == 4


def test_a_seed_repeats_everything(runs):
    stores = [runs["first a"], runs["first b"]]
    one, two, other = (
        compare_runs(stores, seed=seed, resamples=FEW).model_dump(exclude={"generated_at"})
        for seed in (3, 3, 4)
    )
    assert one == two
    assert one != other


def test_json_is_as_its_schema_says(two, runs):
    schema = Comparison.model_json_schema(mode="serialization")
    jsonschema.Draft202012Validator.check_schema(schema)
    matrix = compare_runs([runs["first a"], runs["weights b"]], resamples=FEW)
    for comparison in (two[0], matrix):
        content = json.loads(comparison.model_dump_json())
        jsonschema.validate(content, schema)
        assert content["comparison_version"] == 1
        assert Comparison.model_validate(content) == comparison
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content | {"runs": "none"}, schema)


def test_documents_that_moved_most_come_with_their_beginnings(runs):
    stores = [runs["first a"], runs["weights a"]]
    (shift,) = compare_runs(stores, resamples=FEW).shifts
    moved = [*shift.pairing.rose_most, *shift.pairing.fell_most]
    assert len(moved) == len(TEXTS)
    for one in moved:
        expected = TEXTS[2 * int(one.file[0]) + one.row]
        assert (one.excerpt, one.is_whole, one.missing) == (expected, True, None)
    page = to_markdown(compare_runs(stores, resamples=FEW))
    assert all(text in page for text in TEXTS)
    without = compare_runs(stores, resamples=FEW, text=False)
    assert not any(text in to_markdown(without) + without.model_dump_json() for text in TEXTS)


def test_an_excerpt_that_cannot_be_shown_says_why(tmp_path):
    texts = ["x" * 1000, "edited since", "as it was"]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    pq.write_table(pa.table({"body": texts}), corpus / "a.parquet")
    hashes = [hash_bytes(text.encode()) for text in (texts[0], "as it was scored", texts[2])]
    stores = []
    for name, nats in (("one", 10.0), ("two", 12.0)):
        rows = [row(10, nats + i, 40, text_hash=one) for i, one in enumerate(hashes)]
        files = {"a.parquet": rows, "gone.parquet": [row(10, nats, 40)]}
        stores.append(write_run(tmp_path / name, files, corpus=str(corpus), text_column="body"))
    (shift,) = compare_runs(stores, resamples=FEW).shifts
    found = {(one.file, one.row): one for one in shift.pairing.rose_most}
    assert found["a.parquet", 0].excerpt == "x" * 300
    assert not found["a.parquet", 0].is_whole
    assert found["a.parquet", 1].missing == "the text is not the one that was scored"
    assert found["a.parquet", 2].excerpt == "as it was"
    assert found["gone.parquet", 0].missing == "gone.parquet is no longer in the corpus"
    page = to_markdown(compare_runs(stores, resamples=FEW))
    assert f"| {'x' * 120}… |" in page
    assert "gone" in page
