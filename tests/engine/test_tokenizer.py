"""Text to tokens exactly as it is written. The tiny tokenizer makes one token of each byte."""

import json
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from pipeline.engine.protocol import Encoded
from pipeline.engine.vllm.tokenizer import HubTokenizer, PrefixToken
from pipeline.errors import ModelError
from tests.support.tiny import SPECIALS, save_tokenizer

TEXTS = {
    "empty": "",
    "word": "word",
    "leading space": "  two",
    "trailing newline": "a\n\n",
    "only white space": " \t\r\n\x0b\f\u00a0\u2003 ",
    "line ends": "a\r\nb\rc\n",
    "NUL": "a\x00b\x00",
    "emoji": "😀👩\u200d👩\u200d👧",
    "right to left": "\u0645\u0631\u062d\u0628\u0627 \u202e",
    "not normalised": "e\u0301 \u212b ﬁ",
    "byte order mark": "\ufeffx",
    "special tokens": "<s>a</s><s>",
    "half a special token": "<s",
}


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> HubTokenizer:
    return HubTokenizer(str(tiny_model))


@pytest.fixture(scope="module")
def byte_of(tiny_model: Path) -> dict[int, int]:
    """Token id to byte. The byte-level alphabet: printable bytes stand for themselves, the others
    for the code points from 256 on, as GPT-2 has them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    symbols = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    symbols |= {chr(256 + i): byte for i, byte in enumerate(others)}
    assert set(symbols) == set(pre_tokenizers.ByteLevel.alphabet())
    vocab = json.loads((tiny_model / "tokenizer.json").read_text())["model"]["vocab"]
    return {vocab[symbol]: byte for symbol, byte in symbols.items()}


def saved(folder: Path, *, bos: bool, eos: bool) -> HubTokenizer:
    save_tokenizer(folder, bos=bos, eos=eos)
    return HubTokenizer(str(folder))


# --- encoding


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_text_reaches_the_tokenizer_unchanged(tokenizer, byte_of, text):
    (one,) = tokenizer.encode([text])
    assert bytes(byte_of[token] for token in one.ids) == text.encode()


@given(text=st.text(max_size=50))
def test_any_text_reaches_the_tokenizer_unchanged(tokenizer, byte_of, text):
    (one,) = tokenizer.encode([text])
    assert bytes(byte_of[token] for token in one.ids) == text.encode()


def test_special_tokens_in_a_text_are_text(tokenizer):
    """Or a web page that mentions </s> would end the document there."""
    text = "".join(SPECIALS)
    (one,) = tokenizer.encode([text])
    assert len(one.ids) == len(text)
    assert not {0, 1} & set(one.ids)


def test_no_special_token_is_added(tokenizer):
    assert [len(one.ids) for one in tokenizer.encode(["", "a"])] == [0, 1]


def test_no_special_token_is_added_even_if_the_folder_says_so(tmp_path):
    save_tokenizer(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"add_bos_token": True, "add_eos_token": True})
    )
    assert len(HubTokenizer(str(tmp_path)).encode(["a"])[0].ids) == 1


def test_a_batch_equals_each_alone(tokenizer):
    texts = list(TEXTS.values())
    assert tokenizer.encode(texts) == [tokenizer.encode([text])[0] for text in texts]


def test_an_empty_batch(tokenizer):
    assert tokenizer.encode([]) == []
    assert tokenizer.encode([], offsets=True) == []


def test_nothing_is_cut_or_padded(tokenizer):
    """Longer than the model: windows are cut later, and filterwarnings turns a warning to red."""
    lengths = [3, 30_000, 0]
    assert [len(one.ids) for one in tokenizer.encode(["x" * n for n in lengths])] == lengths


def test_nothing_is_cut_even_if_the_folder_says_so(tmp_path):
    save_tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["truncation"] = {
        "max_length": 5,
        "strategy": "LongestFirst",
        "stride": 0,
        "direction": "Right",
    }
    content["padding"] = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<s>",
    }
    path.write_text(json.dumps(content))
    tokenizer = HubTokenizer(str(tmp_path))
    assert [len(one.ids) for one in tokenizer.encode(["x" * 20, "y"])] == [20, 1]


# --- offsets


def test_offsets_are_left_out_unless_asked_for(tokenizer):
    (one,) = tokenizer.encode(["a"])
    assert one == Encoded(one.ids, None)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_offsets_name_the_characters_of_each_token(tokenizer, text):
    (one,) = tokenizer.encode([text], offsets=True)
    assert one.ids == tokenizer.encode([text])[0].ids
    # A character of several bytes is several tokens, each of which covers all of it.
    expected = [(i, i + 1) for i, character in enumerate(text) for _ in character.encode()]
    assert one.offsets == expected


def test_a_tokenizer_without_offsets_says_what_to_do(tokenizer, monkeypatch):
    """There are still tokenizers written in Python alone; this one is made to look like them."""
    slow = type("Slow", (), {"is_fast": False})()
    monkeypatch.setattr(tokenizer, "_tokenizer", slow)
    with pytest.raises(
        ModelError, match="does not report which characters a token covers"
    ) as raised:
        tokenizer.encode(["a"], offsets=True)
    assert "only prefix none and long_documents truncate need" in raised.value.hint


# --- the prefix

BOS, EOS, NONE = PrefixToken("bos", 0), PrefixToken("eos", 1), PrefixToken("none", None)


@pytest.mark.parametrize(
    ("bos", "eos", "asked", "expected"),
    [
        (True, True, "auto", BOS),
        (True, True, "bos", BOS),
        (True, True, "eos", EOS),
        (True, True, "none", NONE),
        (True, False, "auto", BOS),
        (True, False, "bos", BOS),
        (True, False, "none", NONE),
        (False, True, "auto", EOS),
        (False, True, "eos", EOS),
        (False, True, "none", NONE),
        (False, False, "none", NONE),
    ],
)
def test_the_prefix(tmp_path, bos, eos, asked, expected):
    """Token 0 is a BOS as good as any: a test for truth would lose it."""
    assert saved(tmp_path, bos=bos, eos=eos).prefix(asked) == expected


@pytest.mark.parametrize(
    ("bos", "eos", "asked", "message"),
    [
        (True, False, "eos", "the tokenizer has no EOS token"),
        (False, True, "bos", "the tokenizer has no BOS token"),
        (False, False, "auto", "the tokenizer has neither a BOS nor an EOS token"),
        (False, False, "bos", "the tokenizer has no BOS token"),
        (False, False, "eos", "the tokenizer has no EOS token"),
    ],
)
def test_a_prefix_that_the_tokenizer_lacks_is_refused(tmp_path, bos, eos, asked, message):
    with pytest.raises(ModelError, match=message) as raised:
        saved(tmp_path, bos=bos, eos=eos).prefix(asked)
    assert "prefix none" in raised.value.hint


# --- threads


class OneAtATime:
    """Refuses a second caller, as fast tokenizers do while they change their settings."""

    is_fast = True

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._borrowed = threading.Lock()

    def __call__(self, texts: list[str], **settings: Any) -> Any:
        if not self._borrowed.acquire(blocking=False):
            raise RuntimeError("Already borrowed")
        try:
            time.sleep(0.01)
            return self._tokenizer(texts, **settings)
        finally:
            self._borrowed.release()


def test_two_threads_at_once_get_their_own_tokens(tokenizer, monkeypatch):
    texts = {"a": ["a" * 2000] * 20, "é": ["é" * 2000] * 20}
    alone = {key: tokenizer.encode(value, offsets=key == "é") for key, value in texts.items()}
    monkeypatch.setattr(tokenizer, "_tokenizer", OneAtATime(tokenizer._tokenizer))
    together = threading.Barrier(2)

    def encode(key: str) -> list[list[Encoded]]:
        together.wait(timeout=30)
        return [tokenizer.encode(texts[key], offsets=key == "é") for _ in range(10)]

    with ThreadPoolExecutor(2) as threads:
        results = dict(zip(texts, threads.map(encode, texts), strict=True))
    for key, found in results.items():
        assert all(one == alone[key] for one in found)


# --- folders that are not a tokenizer


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"model": ', "EOF while parsing a value at line 1 column 10"),
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{}", "Model missing. at line 1 column 2"),
        ('{"model": {"type": "New"}}', "did not match any variant of untagged enum ModelUntagged"),
    ],
)
def test_a_damaged_tokenizer_is_named(tiny_model, tmp_path, content, reason):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    file = folder / "tokenizer.json"
    file.write_text(content)
    said = rf"\A{re.escape(str(file))} cannot be read: .*{re.escape(reason)}.*\nhint: "
    with pytest.raises(ModelError, match=said):
        HubTokenizer(str(folder))


def test_a_tokenizer_that_transformers_cannot_use_is_named(tiny_model, tmp_path):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match=rf"(?m)^cannot load the tokenizer of {folder}: [^\n]+$"):
        HubTokenizer(str(folder))


def test_a_tokenizers_own_code_is_not_run(tiny_model, tmp_path):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass T: pass\n")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {
        "tokenizer_class": "T",
        "auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]},
    }
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot load the tokenizer"):
        HubTokenizer(str(folder))
    assert not ran.exists()
