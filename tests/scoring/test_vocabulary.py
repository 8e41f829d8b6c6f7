"""Tokens that a tokenizer has and its model does not: known before an engine dies of them."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from jobs.doctor import examine
from pipeline.engine.vllm.backend import VllmBackend
from pipeline.errors import EngineError, ModelError
from pipeline.runs.scores import scan_scores
from pipeline.schema import Window, WindowScore
from pipeline.settings.config import make_scoring_config
from tests.support.fakes import FakeEngine
from tests.support.runs import make_run
from tests.support.tiny import add_tokens

TOKEN = "<tool>"
VOCAB_SIZE = 258
SOUND = "Shelf 1 holds jars."
DEADLY = f"Step 1 asks {TOKEN} for the weather."


class Strict(FakeEngine):
    """Dies of an id that the model does not have, as an embedding does."""

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        return super().score(map(self._held, windows))

    def _held(self, entry: tuple[int, Window]) -> tuple[int, Window]:
        if max(entry[1].prompt) >= VOCAB_SIZE:
            raise EngineError("the engine failed: index out of range in self")
        return entry


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    add_tokens(folder, TOKEN)
    return folder


def test_a_document_with_such_a_token_is_an_error_row_and_the_others_are_scored(model, tmp_path):
    texts = [SOUND, DEADLY, None, DEADLY, *(f"{n} {text}" for n in range(9) for text in (DEADLY,))]
    store = make_run(tmp_path, model, [*texts, SOUND], engine=Strict())
    rows = scan_scores(store, store.require_manifest()).sort("file", "row").collect()
    expected = [
        "null" if text is None else "error" if TOKEN in text else "ok" for text in [*texts, SOUND]
    ]
    assert rows["status"].to_list() == expected
    errors = rows.filter(status="error")
    assert set(errors["error"]) == {"token_out_of_vocabulary"}
    assert errors["nll"].null_count() == errors["perplexity"].null_count() == len(errors)
    assert errors["num_bytes"][0] == len(DEADLY)


def test_what_truncation_leaves_out_is_no_reason(model, tmp_path):
    texts = ["a long beginning " + TOKEN, TOKEN + " a long end"]
    store = make_run(
        tmp_path, model, texts, engine=Strict(), window_tokens=8, long_documents="truncate"
    )
    rows = scan_scores(store, store.require_manifest()).sort("file", "row").collect()
    assert rows["status"].to_list() == ["truncated", "error"]


def test_a_prefix_that_the_model_does_not_have_is_refused(model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.bos_token = TOKEN
    tokenizer.save_pretrained(model)
    backend = VllmBackend()
    found = backend.load_model(make_scoring_config(str(model), {}))
    with pytest.raises(ModelError, match=rf"the bos token, .* has the id {VOCAB_SIZE}"):
        backend.plan_rules(make_scoring_config(str(model), {}), found)
    of_eos = backend.plan_rules(make_scoring_config(str(model), {"prefix": "eos"}), found)
    assert of_eos.prefix == "eos"


@pytest.mark.parametrize("command", ["plan", "score --dry-run"])
def test_planning_warns(winnow, model, tiny_model, tmp_path, command):
    corpus = make_run(tmp_path / "made", tiny_model, [SOUND, DEADLY]).root.location
    corpus = str(Path(corpus).parent / "corpus")
    name, *options = command.split()
    out = ["--out", str(tmp_path / "run")] if name == "score" else []
    said = (
        f"Warning: the tokenizer has '{TOKEN}' (id {VOCAB_SIZE}), and the model has {VOCAB_SIZE} "
        "ids: documents with it become error rows (token_out_of_vocabulary)\n"
    )
    code, _, err = winnow(name, corpus, "--model", str(model), *out, *options)
    assert code == 0
    assert said in err
    code, _, err = winnow(name, corpus, "--model", str(tiny_model), *out, *options)
    assert (code, "Warning" in err) == (0, False)


def test_doctor_warns(model):
    [check] = [check for check in examine(model=str(model)) if check.name == "vocabulary"]
    assert check.status == "warning"
    assert "token_out_of_vocabulary" in check.found


def test_a_special_token_is_not_read_into_a_text_and_does_no_harm(tiny_model, tmp_path, winnow):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    add_tokens(folder, "<pad>", special=True)
    store = make_run(tmp_path, folder, ["text <pad> text"], engine=Strict())
    rows = scan_scores(store, store.require_manifest()).collect()
    assert rows["status"].to_list() == ["ok"]
    assert all(check.name != "vocabulary" for check in examine(model=str(folder)))
