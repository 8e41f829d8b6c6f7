"""A model folder: refused with a reason, or identified by what is in it."""

import hashlib
import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.vllm.model import (
    DEFAULT_WINDOW_TOKENS,
    Model,
    choose_dtype,
    choose_window_tokens,
    load_model,
    weight_bytes,
)
from pipeline.errors import ModelError
from tests.support.tiny import MAX_TOKENS

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def load(folder: Path | str, *, trust: bool = False) -> Model:
    return load_model(str(folder), revision=None, trust_remote_code=trust)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def change_config(folder: Path, **keys: Any) -> None:
    """Set keys of config.json; None takes the key away."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | keys
    kept = {key: value for key, value in config.items() if value is not None}
    path.write_text(json.dumps(kept))


def digests(model: Model) -> tuple[str, str, str]:
    return model.config_digest, model.weights_digest, model.tokenizer_digest


def test_a_model_is_what_its_folder_says(tiny_model):
    model = load(tiny_model)
    assert model.name == model.folder == str(tiny_model)
    assert model.revision is None
    assert (model.architecture, model.dtype) == ("LlamaForCausalLM", "float32")
    assert (model.vocab_size, model.max_tokens) == (258, MAX_TOKENS)
    for digest in digests(model):
        assert len(digest) == 64


@pytest.mark.parametrize(
    "make",
    [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("gone")],
    ids=["folder", "pipe", "link"],
)
def test_weights_that_are_no_file_are_not_waited_for(model, make):
    weights = model / "model.safetensors"
    weights.unlink()
    make(weights)
    with pytest.raises(ModelError, match=r"model\.safetensors is not a file"):
        load(model)


def test_the_name_stays_as_the_user_gave_it(tiny_model, monkeypatch):
    monkeypatch.chdir(tiny_model.parent)
    model = load(tiny_model.name)
    assert (model.name, model.folder) == (tiny_model.name, str(tiny_model))


# --- refused


@pytest.mark.parametrize("name", ["gone", "/gone/model", "./gone", "../a/b", "a/b/c", "a b/c", "-"])
def test_no_such_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"(?m)no such model folder: {name}$") as raised:
        load(name)
    assert "ORGANISATION/NAME on the hub" in raised.value.hint


def test_a_file_is_not_a_model_folder(model):
    with pytest.raises(ModelError, match="is a file, not a model folder"):
        load(model / "model.safetensors")


def test_a_folder_without_config_is_not_a_model(model):
    (model / "config.json").unlink()
    with pytest.raises(ModelError, match=r"is not a model folder: it has no config\.json") as r:
        load(model)
    assert "Hugging Face format" in r.value.hint


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"architectures": ["Llama',
        b"\xff\xfe\x00",
        b"<html>rate limited</html>",
        b"[" * 10**6,
    ],
    ids=["empty", "cut", "not UTF-8", "a web page", "brackets without end"],
)
def test_a_damaged_config_is_named(model, content):
    (model / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"config\.json is not readable JSON: "):
        load(model)


@pytest.mark.parametrize("content", ["[]", "null", '"config"', "3"])
def test_a_config_that_is_not_an_object_is_refused(model, content):
    (model / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json is not a model configuration"):
        load(model)


@pytest.mark.parametrize(
    "keys",
    [{"vocab_size": "many"}, {"text_config": "llama"}, {"architectures": 7}],
    ids=lambda keys: next(iter(keys)),
)
def test_a_config_with_values_of_the_wrong_kind_is_refused(model, keys):
    change_config(model, **keys)
    with pytest.raises(ModelError, match=r"config\.json"):
        load(model)


@pytest.mark.parametrize("how", ["index", "names"])
@pytest.mark.parametrize("left", ["nothing", "an empty file", "a dangling link"])
def test_a_missing_file_of_weights_is_named(model, how, left):
    one, other = (model / f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    (model / "model.safetensors").rename(one)
    if how == "index":
        one = one.rename(model / "one.safetensors")
        other = model / "other.safetensors"
        index = {"weight_map": {"a": one.name, "b": other.name, "c": one.name}}
        (model / "model.safetensors.index.json").write_text(json.dumps(index))
    if left == "an empty file":
        other.touch()
    elif left == "a dangling link":
        other.symlink_to("gone")
    with pytest.raises(ModelError, match=f"{other.name} is .*: the model has 2 files"):
        load(model)
    other.unlink(missing_ok=True)
    shutil.copy(one, other)
    assert load(model).weights_digest


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"weight_map": 1}'])
def test_an_index_that_is_none_is_named(model, content):
    (model / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"index\.json is not an index of weights"):
        load(model)


def test_pickled_weights_are_not_weights(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"has no \*\.safetensors weights") as raised:
        load(model)
    assert "convert" in raised.value.hint


def test_a_folder_without_tokenizer_is_refused(model):
    for file in model.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer \(tokenizer\.json or"):
        load(model)


@pytest.mark.parametrize(
    "keys",
    [
        {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}},
        {"auto_map": {}},
        {"text_config": {"vocab_size": 9, "auto_map": {"AutoConfig": "c.C"}}},
        {"a": {"b": {"auto_map": {"AutoModel": "m.M"}}}},
        {"a": [1, [{"auto_map": {"AutoModel": "m.M"}}]]},
    ],
    ids=["top", "empty", "text_config", "deep", "in lists"],
)
def test_a_models_own_code_is_refused_unless_trusted(model, keys):
    change_config(model, **keys)
    with pytest.raises(ModelError, match="brings its own Python code") as raised:
        load(model)
    assert "trust_remote_code" in raised.value.hint
    assert load(model, trust=True).architecture == "LlamaForCausalLM"


# --- identity


def test_digests_do_not_change_with_place_or_time(tiny_model, model):
    for file in model.iterdir():
        os.utime(file, ns=(1, 1))
    assert digests(load(model)) == digests(load(tiny_model))


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("config.json", 0),
        ("model.safetensors", 1),
        ("tokenizer.json", 2),
        ("tokenizer_config.json", 2),
    ],
)
def test_a_digest_changes_with_its_files_and_no_other_does(model, file, changed):
    before = digests(load(model))
    with (model / file).open("ab") as content:
        content.write(b"\n")
    after = digests(load(model))
    assert [one != other for one, other in zip(before, after, strict=True)] == [
        i == changed for i in range(3)
    ]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("model-00002-of-00002.safetensors", [False, True, False]),
        ("special_tokens_map.json", [False, False, True]),
        ("merges.txt", [False, False, True]),
        ("README.md", [False, False, False]),
        ("pytorch_model.bin", [False, False, False]),
        ("training_args.bin", [False, False, False]),
    ],
)
def test_a_file_that_is_added_counts_if_it_is_read(model, name, changed):
    before = digests(load(model))
    (model / name).write_bytes(b"{}")
    after = digests(load(model))
    assert [one != other for one, other in zip(before, after, strict=True)] == changed


def test_two_weight_files_that_change_places_are_another_model(model):
    """The digest is over names and contents, not over the contents alone."""
    first, second = model / "a.safetensors", model / "b.safetensors"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    before = load(model).weights_digest
    first.write_bytes(b"2")
    second.write_bytes(b"1")
    assert load(model).weights_digest != before


def test_code_that_is_trusted_is_part_of_the_models_identity(model):
    """It computes the scores: a run must not go on with other code."""
    change_config(model, auto_map={"AutoModelForCausalLM": "modeling_x.X"})
    (model / "modeling_x.py").write_text("SCALE = 1\n")
    before = digests(load(model, trust=True))
    (model / "modeling_x.py").write_text("SCALE = 2\n")
    assert digests(load(model, trust=True)) != before


# --- a model of the hub, from its cache


@pytest.fixture
def hub_cache(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache as the hub's client leaves it: names are links to blobs; no network."""
    root = tmp_path / "hub" / "models--org--tiny"
    snapshot = root / "snapshots" / COMMIT
    for folder in (root / "refs", root / "blobs", snapshot):
        folder.mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    for file in tiny_model.iterdir():
        content = file.read_bytes()
        large = file.suffix == ".safetensors"
        digest = (hashlib.sha256 if large else hashlib.sha1)(content).hexdigest()
        (root / "blobs" / digest).write_bytes(content)
        (snapshot / file.name).symlink_to(root / "blobs" / digest)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return snapshot


def test_a_name_on_the_hub_is_found_in_the_cache_with_its_commit(hub_cache, tiny_model):
    model = load("org/tiny")
    assert (model.name, model.revision) == ("org/tiny", COMMIT)
    assert model.folder == str(hub_cache)
    assert digests(model) == digests(load(tiny_model))


def test_the_digest_of_a_cached_blob_is_its_name(hub_cache, tiny_model):
    """Gigabytes that the hub's client has hashed are not hashed again."""
    blob = (hub_cache / "model.safetensors").resolve()
    blob.write_bytes(b"not read")
    assert load("org/tiny").weights_digest == load(tiny_model).weights_digest


def test_a_name_that_cannot_be_fetched(hub_cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(
        ModelError, match=r"(?m)^cannot fetch org/gone from the hub: [^\n]+$"
    ) as raised:
        load("org/gone")
    assert "point model at a local folder" in raised.value.hint


def test_a_hub_that_never_answers_is_given_up(hub_cache, monkeypatch):
    """Its client by itself waits for ever, and asks for that with every request."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("pipeline.storage.locations.SILENCE_SECONDS", 0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        port = deaf.getsockname()[1]
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
        with pytest.raises(ModelError, match=r"cannot fetch org/gone from the hub: .*timed out"):
            load("org/gone")
        load("org/tiny")  # the cache has it


@pytest.mark.parametrize("asked", ["the option", "the environment"])
def test_offline_the_cache_is_all_there_is(hub_cache, monkeypatch, asked):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", asked == "the environment")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    options = {"revision": None, "trust_remote_code": False, "offline": asked == "the option"}
    assert load_model("org/tiny", **options).revision == COMMIT
    with pytest.raises(
        ModelError, match=r"^org/gone is not in /.*, and the hub is not contacted"
    ) as it:
        load_model("org/gone", **options)
    assert it.value.hint == "download the model on a machine with a network: hf download org/gone"


def test_a_folder_wins_over_a_name_on_the_hub(hub_cache, tiny_model, tmp_path, monkeypatch):
    shutil.copytree(tiny_model, tmp_path / "org" / "tiny")
    monkeypatch.chdir(tmp_path)
    assert load("org/tiny").revision is None


# --- dtype


@pytest.mark.parametrize(
    ("keys", "dtype"),
    [
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": None, "torch_dtype": "float16"}, "float16"),
        ({"dtype": "float16", "torch_dtype": "float32"}, "float16"),
        ({"dtype": None, "torch_dtype": None}, "float32"),
        ({"dtype": "float32", "text_config": {"dtype": "bfloat16"}}, "bfloat16"),
    ],
    ids=["dtype", "torch_dtype", "both", "neither", "of the text part"],
)
def test_dtype_auto_is_what_the_checkpoint_names(model, keys, dtype):
    change_config(model, **keys)
    assert choose_dtype("auto", load(model)) == dtype


@pytest.mark.parametrize("asked", ["bfloat16", "float16", "float32"])
def test_a_dtype_that_is_asked_for_is_taken(tiny_model, asked):
    exotic = replace(load(tiny_model), dtype="float8_e4m3fn")
    assert choose_dtype(asked, exotic) == asked


def test_a_checkpoint_of_another_dtype_must_be_told_one(tiny_model):
    exotic = replace(load(tiny_model), dtype="float8_e4m3fn")
    with pytest.raises(
        ModelError, match="has the dtype float8_e4m3fn, which is not supported"
    ) as r:
        choose_dtype("auto", exotic)
    assert r.value.hint == "choose one with dtype: bfloat16, float16, float32"


# --- windows


@pytest.mark.parametrize(
    ("keys", "max_tokens"),
    [
        ({"max_position_embeddings": 1024}, 1024),
        ({"max_position_embeddings": None, "n_positions": 99}, 99),
        ({"max_position_embeddings": 1024, "max_seq_len": 77}, 77),
        ({"max_position_embeddings": "long"}, None),
        ({"max_position_embeddings": None}, None),
        ({"text_config": {"max_position_embeddings": 55}}, 55),
    ],
    ids=["usual", "GPT-2", "the smaller", "not a number", "none", "of the text part"],
)
def test_the_positions_a_model_was_built_for(model, keys, max_tokens):
    change_config(model, **keys)
    assert load(model).max_tokens == max_tokens


@pytest.mark.parametrize(
    ("max_tokens", "asked", "chosen"),
    [
        (512, None, 511),
        (512, 511, 511),
        (512, 2, 2),
        (2048, None, 2047),
        (2049, None, DEFAULT_WINDOW_TOKENS),
        (131072, None, DEFAULT_WINDOW_TOKENS),
        (131072, 131071, 131071),
        (None, None, DEFAULT_WINDOW_TOKENS),
        (None, 100_000, 100_000),
    ],
)
def test_a_window_leaves_a_position_for_the_token_that_is_generated(
    tiny_model, max_tokens, asked, chosen
):
    model = replace(load(tiny_model), max_tokens=max_tokens)
    assert choose_window_tokens(asked, model, 1) == chosen


@pytest.mark.parametrize("asked", [512, 513, 10**9])
def test_a_window_that_does_not_fit_is_refused(tiny_model, asked):
    model = replace(load(tiny_model), name="tiny")
    with pytest.raises(
        ModelError, match=f"^window_tokens {asked} exceeds the maximum of tiny, 511"
    ):
        choose_window_tokens(asked, model, 1)


@pytest.mark.parametrize(("asked", "context"), [(None, 511), (100, 100), (100, 5000)])
def test_a_context_that_leaves_no_room_is_refused(tiny_model, asked, context):
    with pytest.raises(ModelError, match=f"^context_tokens {context} leaves no room in windows"):
        choose_window_tokens(asked, load(tiny_model), context)


def test_the_largest_context_leaves_room_for_one_token(tiny_model):
    assert choose_window_tokens(100, load(tiny_model), 99) == 100


@pytest.mark.parametrize(("dtype", "each"), [("float32", 4), ("bfloat16", 2)])
def test_the_memory_of_weights_is_that_of_their_elements(tiny_model, dtype, each):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    # Weights that are tied are stored once.
    assert weight_bytes(str(tiny_model), dtype) == each * sum(p.numel() for p in model.parameters())
