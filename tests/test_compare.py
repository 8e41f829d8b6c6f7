"""pipeline/compare.py: what may be compared, and by what."""

import json
from pathlib import Path

import pytest

from pipeline.compare import TOKENIZERS_DIFFER, compare_runs
from pipeline.errors import RunError
from pipeline.store import RunStore
from tests.runs import make_run


@pytest.fixture(scope="module")
def runs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[RunStore]:
    other = tmp_path_factory.mktemp("model") / "other"
    other.mkdir()
    for file in tiny_model.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    config = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps(config | {"padding_side": "left"}))
    folder = tmp_path_factory.mktemp("runs")
    texts = ["some text", "and more of it"]
    return [
        make_run(folder / "a", tiny_model, texts),
        make_run(folder / "b", tiny_model, texts, prefix="none"),
        make_run(folder / "c", other, texts),
    ]


def test_one_tokenizer_ranks_by_perplexity(runs):
    comparison = compare_runs(runs[:2])
    assert comparison.ranked_by == "perplexity"
    assert comparison.notes == []
    values = [run.figures.corpus_perplexity for run in comparison.runs]
    assert values == sorted(values)


def test_two_tokenizers_rank_by_bits_per_byte_and_say_so(runs):
    comparison = compare_runs(runs)
    assert comparison.ranked_by == "bits_per_byte"
    assert TOKENIZERS_DIFFER in comparison.notes
    values = [run.figures.bits_per_byte for run in comparison.runs]
    assert values == sorted(values)


def test_an_unfinished_run_is_named(tiny_model, tmp_path):
    store = make_run(tmp_path, tiny_model, ["text"])
    store.root.remove("_SUCCESS")
    assert compare_runs([store]).notes == [f"{store.location} is not finished."]


def test_not_a_run(tmp_path):
    with pytest.raises(RunError, match="is not a run directory"):
        compare_runs([RunStore(str(tmp_path))])
