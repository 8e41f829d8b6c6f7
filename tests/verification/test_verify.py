"""pipeline/verification: true scores pass, false ones do not."""

import json
import math
import shutil
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from pipeline.engine.vllm.backend import VllmBackend
from pipeline.engine.vllm.reference import ReferenceScorer
from pipeline.errors import CorpusError, ModelError, RunError
from pipeline.runs.store import RunStore
from pipeline.schema import Window, WindowScore
from pipeline.verification.rescoring import Progress, relative_error, sample_documents
from pipeline.verification.verify import read_verification, verify_run
from tests.support.runs import make_run

TEXTS = ["x", "The capital of France", "word " * 150, None, "", "Σ😀", "<s></s>"]


class TrueEngine:
    """transformers as an engine, with a factor on every log-probability to make it lie."""

    def __init__(self, model: Path, factor: float = 1.0) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self._factor = factor

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        for key, window in windows:
            ids = torch.tensor([window.prompt])
            with torch.no_grad():
                table = torch.log_softmax(self._model(ids).logits[0].double(), dim=-1)
            logprobs = table[:-1].gather(1, ids[0, 1:, None])[window.num_context - 1 :, 0].numpy()
            yield WindowScore(key, np.asarray(logprobs * self._factor))


@pytest.fixture(scope="module")
def true_run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    folder = tmp_path_factory.mktemp("true")
    engine = TrueEngine(tiny_model)
    return make_run(folder, tiny_model, TEXTS, engine=engine, window_tokens=101, context_tokens=7)


def test_true_scores_pass(true_run):
    verification = verify_run(true_run, sample=100)
    assert verification.passed
    truth = verification.truth
    assert truth is not None
    # All that have a score, long and short: windows and prefix as the rules say.
    assert truth.num_documents == 5
    assert truth.largest_nll_error < 1e-5
    assert truth.corpus_perplexity == pytest.approx(truth.reference_corpus_perplexity, rel=1e-5)
    assert read_verification(true_run) == verification


def test_it_says_how_far_it_is_within_a_long_document_too(true_run):
    seen = list[Progress]()
    truth = verify_run(true_run, sample=100, on_progress=seen.append).truth
    assert truth is not None
    begun = Progress("in float32", truth.num_documents, truth.num_tokens)
    assert seen[0] == begun
    assert seen[-1] == begun._replace(
        documents_done=truth.num_documents, tokens_done=truth.num_tokens
    )
    assert seen == sorted(seen)
    # "word " * 150 has several windows, each of 101 tokens, 7 of them context.
    steps = [now.tokens_done - before.tokens_done for before, now in pairwise(seen)]
    assert max(steps) == 100
    assert sum(truth.num_tokens > 100 for truth in truth.worst) == 1


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"prefix": "none"}, id="no prefix"),
        pytest.param({"prefix": "eos"}, id="eos prefix"),
        pytest.param({"long_documents": "truncate", "window_tokens": 60}, id="truncated"),
        pytest.param({"window_tokens": 60, "context_tokens": 50}, id="much context"),
    ],
)
def test_true_scores_pass_under_every_rule(settings, tiny_model, tmp_path):
    store = make_run(tmp_path, tiny_model, TEXTS, engine=TrueEngine(tiny_model), **settings)
    assert verify_run(store, sample=100).passed


def test_false_scores_fail(tiny_model, tmp_path):
    store = make_run(tmp_path, tiny_model, TEXTS, engine=TrueEngine(tiny_model, 1.001))
    verification = verify_run(store, sample=3)
    assert not verification.passed
    assert [check.name for check in verification.checks if not check.passed] == ["truth"]
    assert verification.truth is not None
    assert verification.truth.largest_nll_error == pytest.approx(1e-3, rel=1e-2)
    # The tolerance decides.
    assert verify_run(store, sample=3, tolerance=2e-3).passed


def test_integrity_alone_loads_no_model(true_run, monkeypatch):
    def load(*arguments: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(VllmBackend, "reference", load)
    verification = verify_run(true_run, sample=0)
    assert verification.passed
    assert verification.truth is None


def test_a_damaged_run_is_not_rescored(tiny_model, tmp_path, monkeypatch):
    store = make_run(tmp_path, tiny_model, TEXTS, engine=TrueEngine(tiny_model))
    store.root.remove("_SUCCESS")
    monkeypatch.setattr(VllmBackend, "reference", None)
    verification = verify_run(store)
    assert not verification.passed
    assert verification.truth is None


def told(store: RunStore, **model: object) -> None:
    """Write into the manifest what somebody else might."""
    manifest = store.require_manifest()
    record = manifest.model.model_copy(update=model)
    store.write_manifest(manifest.model_copy(update={"model": record}))


def test_a_manifest_does_not_decide_that_code_runs(tiny_model, tmp_path):
    evil, ran = shutil.copytree(tiny_model, tmp_path / "evil"), tmp_path / "ran"
    (evil / "evil.py").write_text(
        f"import pathlib; pathlib.Path({str(ran)!r}).touch()\n"
        "from transformers import PreTrainedTokenizerFast\nclass T(PreTrainedTokenizerFast): pass\n"
    )
    names = {"tokenizer_class": "T", "auto_map": {"AutoTokenizer": [None, "evil.T"]}}
    path = evil / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | names))
    store = make_run(tmp_path, tiny_model, TEXTS, engine=TrueEngine(tiny_model))

    told(store, folder=str(evil), trust_remote_code=True)
    with pytest.raises(ModelError, match=f"scored with Python code from {evil}") as raised:
        verify_run(store)
    assert "trust_remote_code" in raised.value.hint
    assert verify_run(store, sample=0).passed
    told(store, folder=str(evil), trust_remote_code=False)
    with pytest.raises(ModelError, match="cannot load"):
        verify_run(store, trust_remote_code=True)
    assert not ran.exists()

    told(store, folder=str(evil), trust_remote_code=True)
    assert verify_run(store, trust_remote_code=True).passed
    assert ran.exists(), "the code was there to be run"


def test_pickled_weights_that_a_manifest_names_are_not_loaded(tiny_model, tmp_path):
    store = make_run(tmp_path, tiny_model, ["one"], engine=TrueEngine(tiny_model))
    folder = shutil.copytree(tiny_model, tmp_path / "pickled")
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    told(store, folder=str(folder))
    with pytest.raises(ModelError, match=r"cannot load .*: .*model\.safetensors"):
        verify_run(store)


def test_a_name_on_the_hub_in_a_manifest_is_not_fetched(tiny_model, tmp_path, monkeypatch):
    asked = []

    def ask(*address: object, **_: object) -> None:
        asked.append(address)
        raise OSError("there is no network here")

    store = make_run(tmp_path, tiny_model, ["one"], engine=TrueEngine(tiny_model))
    told(store, folder="org/strange")
    monkeypatch.setattr("socket.getaddrinfo", ask)
    with pytest.raises(ModelError, match="cannot load org/strange to rescore"):
        verify_run(store)
    assert asked == []


def test_the_sample_is_seeded(true_run):
    manifest = true_run.require_manifest()
    first = sample_documents(true_run, manifest, 2, seed=1)
    assert sample_documents(true_run, manifest, 2, seed=1) == first
    assert any(sample_documents(true_run, manifest, 2, seed=s) != first for s in range(2, 9))
    [long] = [d for d in sample_documents(true_run, manifest, 9, 0) if d.num_tokens > 700]
    assert long.text == TEXTS[2]


def test_nothing_to_sample(tiny_model, tmp_path):
    store = make_run(tmp_path, tiny_model, [None, ""])
    with pytest.raises(RunError, match="no scored document to sample"):
        verify_run(store)


def test_a_text_that_is_gone(tiny_model, tmp_path):
    store = make_run(tmp_path, tiny_model, ["one", "two"])
    (tmp_path / "corpus" / "0.parquet").unlink()
    with pytest.raises(CorpusError, match=r"cannot read row 0 of 0\.parquet"):
        sample_documents(store, store.require_manifest(), 9, 0)


def test_the_reference_by_hand(true_run, tiny_model):
    """One forward pass over prefix and text, summed here."""
    manifest = true_run.require_manifest()
    nll, num_tokens = ReferenceScorer(manifest.model, manifest.rules).nll("ab")
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    # The tiny vocabulary: two specials, then the bytes' symbols in order of code point.
    a, b = 2 + ord("a") - ord("!"), 2 + ord("b") - ord("!")
    with torch.no_grad():
        table = torch.log_softmax(model(torch.tensor([[0, a, b]])).logits[0], dim=-1)
    assert num_tokens == 2
    assert nll == pytest.approx(-float(table[0, a] + table[1, b]), rel=1e-6)


def test_relative_error():
    assert relative_error(1.5, 1.0) == 0.5
    assert relative_error(0.0, 0.0) == 0.0
    assert relative_error(1.0, 0.0) == math.inf
