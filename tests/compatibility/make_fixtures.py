"""How the fixtures of this folder were made: a corpus, its runs, nights and a filter's output.

Run once, at commit 71fab52, by `python -m tests.compatibility.make_fixtures`. What is in fixtures/
stands for what 0.1.0 wrote, and is never made again: a reader that no longer takes it is broken,
not the fixture. This file stays to say what is in it.

Everything is made below PLACE, which is the placeholder that install.py replaces, so the files are
those that were written and not edited ones. `first_run`, `run` and `other_run` are the command
line's, with the real engine; `given_up` and the nights went through the real driver with the
engine of tests/fakes.py. Reports and comparisons are left out: nothing reads them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from jobs.nights.audit import run_night
from jobs.nights.night import load_night
from jobs.run.score import run_score
from pipeline.settings.config import ScoreConfig, Workers
from tests.compatibility.install import FIXTURES, PLACE
from tests.faulty import POISON_TOKENS, Faulty, Silent, healthy
from tests.support.tiny import MAX_TOKENS, save_tokenizer

FIRST_WRITTEN = 1_767_323_045  # 2026-01-02T03:04:05Z
CARRIED = ("lang", "quality")
WORDS = {
    "en": "the a river stone bridge over under slowly walks sings light water green old",
    "de": "der die das Fluss Stein Brücke über unter langsam geht singt Licht Wasser grün",
    "fi": "joki kivi silta yli alla hitaasti kävelee laulaa valo vesi vihreä vanha",
}
AUDIT = """\
[score]
corpus = "{place}/corpus/?.parquet"
model = "{place}/model"
carry = ["lang", "quality"]
dtype = "float32"
window_tokens = 96
shard_tokens = 500

[audit]
runs = "{place}/{runs}"
by = ["lang"]
{sample}
[[audit.require]]
metric = "num_documents"
min = 10

[[audit.require]]
metric = "corpus_perplexity"
max = 1000
max_increase = 0.05

[[audit.require]]
metric = "num_documents"
by = "lang"
max_increase = 0.5

[[audit.require]]
metric = "error"
max = 0.0
"""
SAMPLE = 'sample_rows = 16\nsample_by = "lang"\nseed = 3\n'


MERGES = ("t h", "e r", "i n", "e n", "th e", "n g", "s t")


def save_model(folder: Path, seed: int) -> None:
    """The model of tests/tiny.py, smaller still, for it is committed.

    Some tokens are of two bytes and more, lest a count of tokens be one of bytes.
    """
    vocab_size = save_tokenizer(folder)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    for merge in MERGES:
        tokenizer["model"]["vocab"][merge.replace(" ", "")] = vocab_size
        tokenizer["model"]["merges"].append(merge.split(" "))
        vocab_size += 1
    path.write_text(json.dumps(tokenizer, ensure_ascii=False))
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=MAX_TOKENS,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder, safe_serialization=True)


def sentence(lang: str, number: int, length: int) -> str:
    """So many words, by a rule without chance."""
    words = WORDS[lang].split()
    return " ".join(words[(number * 5 + i * i + i * number) % len(words)] for i in range(length))


def documents(name: str) -> Iterator[tuple[str | None, str | None]]:
    """(text, language) of each row of a corpus file."""
    if name == "a":
        for i in range(13):
            yield sentence("en", i, 3 + 2 * i), "en"
        yield sentence("en", 4, 11), "en"  # row 4 again
    elif name == "b":
        for i in range(12):
            lang = ("de", "en")[i % 2]
            yield sentence(lang, i, 2 + i), lang
        yield None, "de"
        yield "", "en"
        yield sentence("en", 4, 11), "en"  # and again in another file
    elif name == "c":
        yield " \n\t ", None
        yield sentence("en", 4, 11), None
        for i in range(8):
            yield sentence("fi", i, 4 + i), "fi"
        yield "x", "fi"
        yield sentence("en", 30, 120), "en"  # more than one window
    elif name == "d":
        for i in range(5):
            yield sentence("de", i, 6), "de"
        yield "x" * POISON_TOKENS, "fi"
        yield "0123456789 " * 12, None
        yield "0123456789 " * 12, "en"
        yield None, None
        yield "not UTF-8", "en"


def write_file(corpus: Path, name: str) -> None:
    texts, langs = zip(*documents(name), strict=True)
    data = [None if text is None else text.encode() for text in texts]
    data = [b"caf\xe9" if text == b"not UTF-8" else text for text in data]
    quality = [None if i % 7 == 6 else i % 4 / 4 for i in range(len(texts))]
    table = {
        "id": [f"{name}/{i}" for i in range(len(texts))],
        "text": pa.array(data, pa.binary()).view(pa.string()),  # taken unchecked
        "lang": pa.array(langs, pa.string()),
        "quality": pa.array(quality, pa.float64()),
    }
    path = corpus / f"{name}.parquet"
    pq.write_table(pa.table(table), path, row_group_size=5)
    written = (FIRST_WRITTEN + ord(name)) * 10**9 + 123_456_789
    os.utime(path, ns=(written, written))


def winnow(*arguments: str, code: int) -> None:
    """As a user would."""
    ended = subprocess.run([sys.executable, "-m", "jobs.cli", *arguments], check=False)
    assert ended.returncode == code, arguments


def score(out: str, model: str = "model", *more: str, code: int) -> None:
    places = [f"{PLACE}/corpus", "--out", f"{PLACE}/{out}", "--model", f"{PLACE}/{model}"]
    rules = ["--dtype", "float32", "--window-tokens", "96", "--shard-tokens", "250"]
    carried = [word for column in CARRIED for word in ("--carry", column)]
    winnow("score", *places, *rules, *carried, *more, code=code)


def refuse() -> None:
    raise RuntimeError("made to fail")


def make_given_up(folder: Path) -> None:
    """A run whose last shard failed as often as it may."""
    config = ScoreConfig(
        corpus=str(PLACE / "corpus"),
        out=str(PLACE / "given_up"),
        model=str(PLACE / "model"),
        carry=CARRIED,
        dtype="float32",
        window_tokens=POISON_TOKENS + 2,  # no other document has a window of just that length
        shard_tokens=250,
        workers=Workers(1, 1),
        max_attempts=1,
        token_logprobs=True,
        token_ids=True,
    )
    outcome = run_score(config, Silent(), Faulty(folder, 1000, refuse))
    assert [one.get("shard") is not None for one in outcome.failures].count(True) == 1


def audit(name: str, night: str, verdict: str) -> None:
    scoring = partial(run_score, make_engine=healthy)
    record, _ = run_night(load_night(PLACE / f"{name}.toml", night), Silent(), score=scoring)
    assert record.verdict == verdict, record.reasons


def make() -> None:
    """All of it, in the order of its days: the corpus grows after the first run and night."""
    corpus = PLACE / "corpus"
    corpus.mkdir(parents=True)
    for name, seed in (("model", 0), ("other_model", 1)):
        save_model(PLACE / name, seed)
    for name, runs, sample in (("audit", "nights", ""), ("sampled", "sampled_nights", SAMPLE)):
        text = AUDIT.format(place=PLACE, runs=runs, sample=sample)
        (PLACE / f"{name}.toml").write_text(text)

    write_file(corpus, "a")
    write_file(corpus, "b")
    score("first_run", code=0)
    audit("audit", "2026-01-05", "pass")

    write_file(corpus, "c")
    write_file(corpus, "d")
    audit("audit", "2026-01-06", "fail")
    audit("sampled", "2026-01-06", "pass")
    whole = (corpus / "a.parquet").read_bytes()
    (corpus / "torn.parquet").write_bytes(whole[: len(whole) // 2])
    happened = PLACE / "happened"
    happened.mkdir()
    make_given_up(happened)
    shutil.rmtree(happened)
    score("run", "model", "--reuse", f"{PLACE}/first_run", code=1)
    score("other_run", "other_model", code=1)
    outputs = ["--out", f"{PLACE}/filtered", "--rejects", f"{PLACE}/rejects"]
    rules = ["--percentile", "20:80", "--within", "lang", "--max", "num_tokens=400", "--by", "lang"]
    winnow("filter", f"{PLACE}/run", *outputs, *rules, code=1)
    shutil.rmtree(PLACE / "other_model")


if __name__ == "__main__":
    assert not FIXTURES.exists(), "the fixtures are not made again"
    try:
        make()
        unread = shutil.ignore_patterns("*.html", "report.*", "comparison.*")
        shutil.copytree(PLACE, FIXTURES, symlinks=True, ignore=unread)
    finally:
        shutil.rmtree(PLACE)
