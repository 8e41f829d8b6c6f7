"""One shard end to end with an engine that answers by a rule: every row scored, in its place."""

import gc
import math
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.engine.protocol import Encoded, Engine, Tokenizer
from pipeline.engine.vllm.rules import CausalRules
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.engine.windows import plan_windows
from pipeline.errors import EngineError, UnreadableFileError, WinnowError
from pipeline.planning.plan import open_run
from pipeline.runs.manifest import Manifest, Totals, add_totals
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.schema import RATIOS, Document, Window, WindowScore
from pipeline.scoring.preparing import prepare_document
from pipeline.scoring.shard import score_shard
from pipeline.settings.config import ScoreConfig
from tests.support.fakes import FakeEngine, fake_logprobs
from tests.support.tiny import MAX_TOKENS

WINDOW = 16
METRIC_COLUMNS = ["nll", *RATIOS]
TEXTS: list[str | None] = [
    "a short text",
    None,
    "",
    " \n\t",
    "<s></s>",
    "Σ😀 \u0645\u0631\u062d\u0628\u0627 \x00 end",
    "x",
    *(f"document {i} says " + "so and so, " * (i % 9) for i in range(40)),
    None,
    "the last one is longer than the others " * 9,
]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> HubTokenizer:
    return HubTokenizer(str(tiny_model))


class Run:
    """A planned run over a corpus, scored in this process."""

    def __init__(self, folder: Path, model: Path, tables: list[pa.Table], **settings: Any) -> None:
        corpus = folder / "corpus"
        corpus.mkdir()
        for i, table in enumerate(tables):
            pq.write_table(table, corpus / f"{i}.parquet", row_group_size=11)
        self.folder = folder / "run"
        config = ScoreConfig(corpus=str(corpus), model=str(model), out=str(self.folder), **settings)
        self.store = RunStore(config.out)
        self.manifest: Manifest = open_run(config, self.store, default_shard_tokens=10**9)[0]
        self.store.write_manifest(self.manifest)

    @property
    def rules(self) -> CausalRules:
        return self.manifest.rules

    def score(
        self, tokenizer: HubTokenizer, engine: Engine | None = None, **callbacks: Any
    ) -> list[Totals]:
        return [
            score_shard(
                self.manifest.task(shard.id),
                self.manifest,
                engine=engine or FakeEngine(),
                tokenizer=tokenizer,
                store=self.store,
                **callbacks,
            )
            for shard in self.manifest.shards
        ]

    def rows(self) -> pl.DataFrame:
        return scan_scores(self.store, self.manifest).collect()

    def files(self) -> list[str]:
        """Everything that lies in the run directory, finished or not."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.folder)) for path in found)


@pytest.fixture
def score(tmp_path, tiny_model, tokenizer):
    """texts or tables, settings -> the run and its rows."""

    def do(corpus: list[Any], **settings: Any) -> pl.DataFrame:
        return do.run(corpus, **settings).rows()

    def run(corpus: list[Any], **settings: Any) -> Run:
        made = plan(corpus, **settings)
        made.score(tokenizer)
        return made

    def plan(corpus: list[Any], **settings: Any) -> Run:
        if not isinstance(corpus[0], pa.Table):
            corpus = [pa.table({"text": pa.array(corpus, pa.string())})]
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Run(folder, tiny_model, corpus, **settings)

    do.run, do.plan = run, plan
    return do


def expected_nll(text: str, tokenizer: HubTokenizer, rules: CausalRules, **how: bool) -> float:
    windows = plan_windows(
        tokenizer.encode([text])[0].ids,
        prefix=rules.prefix_token_id,
        window_tokens=rules.window_tokens,
        context_tokens=rules.context_tokens,
        **how,
    )
    return -math.fsum(
        value for window in windows for value in fake_logprobs(window.prompt, window.num_context)
    )


# --- rows out are rows in


@pytest.mark.parametrize("shard_tokens", [1, 100, 10**9], ids=["tiny", "small", "one shard"])
def test_every_row_is_in_its_place(score, shard_tokens):
    tables = [
        pa.table({"id": range(100 * i, 100 * i + len(texts)), "text": pa.array(texts, pa.string())})
        for i, texts in enumerate([TEXTS, [], TEXTS[::-1], ["x"]])
    ]
    run = score.run(tables, shard_tokens=shard_tokens)
    rows = run.rows()
    assert rows["file"].to_list() == [
        f"{i}.parquet" for i, table in enumerate(tables) for _ in range(table.num_rows)
    ]
    assert rows["row"].to_list() == [row for table in tables for row in range(table.num_rows)]
    assert rows["doc_id"].to_list() == [v for t in tables for v in t["id"].to_pylist()]
    texts = [text or "" for table in tables for text in table["text"].to_pylist()]
    assert rows["num_bytes"].to_list() == [len(text.encode()) for text in texts]
    assert rows["num_chars"].to_list() == [len(text) for text in texts]
    assert rows["num_words"].to_list() == [len(text.split()) for text in texts]
    assert run.files() == [
        "manifest.json",
        *(f"scores/part-{i:05}.parquet" for i in range(len(run.manifest.shards))),
    ]


def test_columns_are_those_of_the_plan(score):
    run = score.run([pa.table({"id": ["a"], "text": ["b"], "lang": ["en"]})], carry=("lang",))
    assert pq.read_schema(run.folder / "scores/part-00000.parquet").equals(
        run.manifest.arrow_schema()
    )
    assert run.rows().columns[:4] == ["file", "row", "doc_id", "lang"]


# --- the numbers


@pytest.mark.parametrize("prefix", ["bos", "eos", "none"])
@pytest.mark.parametrize(
    ("window_tokens", "context_tokens"), [(2, 1), (WINDOW, 1), (WINDOW, 9), (MAX_TOKENS - 1, 1)]
)
def test_nll_equals_a_direct_computation(score, tokenizer, prefix, window_tokens, context_tokens):
    settings = {"prefix": prefix, "window_tokens": window_tokens, "context_tokens": context_tokens}
    run = score.run(TEXTS, **settings)
    for text, row in zip(TEXTS, run.rows().iter_rows(named=True), strict=True):
        if row["status"] == "ok":
            nll = expected_nll(text, tokenizer, run.rules)
            size = len(text.encode())
            assert row["nll"] == nll
            assert row["num_tokens"] == (size - 1 if prefix == "none" else size)
            assert row["num_tokens"] + row["num_skipped_tokens"] == size
            assert row["perplexity"] == pytest.approx(math.exp(nll / row["num_tokens"]))
            assert row["bits_per_token"] == pytest.approx(math.log2(row["perplexity"]))
            bits = nll / math.log(2) / row["num_scored_bytes"]
            assert row["bits_per_byte"] == pytest.approx(bits)
        else:
            assert [row[name] for name in METRIC_COLUMNS] == [None] * len(METRIC_COLUMNS)


def test_a_document_of_thirty_thousand_tokens(score, tokenizer):
    text = "".join(chr(97 + i * i % 26) for i in range(30_000))
    run = score.run(["before", text, "after"])
    rows = run.rows()
    assert rows["num_tokens"].to_list() == [6, 30_000, 5]
    assert rows["num_windows"].to_list() == [1, 59, 1]
    assert rows["nll"][1] == expected_nll(text, tokenizer, run.rules)


def test_nothing_differs_when_the_batches_do(score, monkeypatch):
    whole = score(TEXTS, window_tokens=WINDOW)
    for batch_rows, text_bytes in [(1, 1 << 20), (7, 1 << 20), (256, 100), (256, 1)]:
        monkeypatch.setattr("pipeline.corpus.reader.BATCH_ROWS", batch_rows)
        monkeypatch.setattr("pipeline.corpus.reader.BATCH_TEXT_BYTES", text_bytes)
        assert score(TEXTS, window_tokens=WINDOW).equals(whole)


def test_nothing_differs_when_the_shards_do(score):
    whole = score(TEXTS, window_tokens=WINDOW)
    assert score(TEXTS, window_tokens=WINDOW, shard_tokens=1).equals(whole)


def test_a_second_attempt_writes_the_same_rows(score, tokenizer):
    run = score.run(TEXTS)
    first = run.rows()
    run.score(tokenizer)
    assert run.rows().equals(first)
    assert len(run.files()) == 2


# --- statuses


def unchecked_strings(values: list[bytes | None]) -> pa.Array:
    """Bytes in a column of strings, as writers that do not check leave them."""
    raw = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())


LONG = "x" * WINDOW
"""One token more than the first window takes: the prefix stands in it too."""


@pytest.mark.parametrize(
    ("value", "settings", "expected"),
    [
        (b"x", {}, ("ok", None, 1, 0, 1)),
        (b" ", {}, ("ok", None, 1, 0, 1)),
        (LONG.encode(), {}, ("ok", None, 16, 0, 2)),
        (LONG.encode(), {"long_documents": "truncate"}, ("truncated", None, 15, 1, 1)),
        (LONG.encode(), {"long_documents": "skip"}, ("skipped", "too_long", 0, 16, 0)),
        (LONG[1:].encode(), {"long_documents": "truncate"}, ("ok", None, 15, 0, 1)),
        (LONG[1:].encode(), {"long_documents": "skip"}, ("ok", None, 15, 0, 1)),
        (b"", {}, ("empty", None, 0, 0, 0)),
        (b"", {"prefix": "none"}, ("empty", None, 0, 0, 0)),
        (None, {}, ("null", None, 0, 0, 0)),
        (b"\xff", {}, ("error", "not UTF-8", 0, 0, 0)),
        (b"x", {"prefix": "none"}, ("skipped", "too_short", 0, 1, 0)),
        (b"xy", {"prefix": "none"}, ("ok", None, 1, 1, 1)),
        (LONG.encode(), {"prefix": "none"}, ("ok", None, 15, 1, 1)),
        (
            LONG.encode() + b"x",
            {"prefix": "none", "long_documents": "truncate"},
            ("truncated", None, 15, 2, 1),
        ),
    ],
    ids=[
        "one token",
        "a space",
        "two windows",
        "truncated",
        "too long",
        "just not truncated",
        "just not too long",
        "empty",
        "empty without prefix",
        "null",
        "not UTF-8",
        "too short",
        "two tokens without prefix",
        "just fits without prefix",
        "truncated without prefix",
    ],
)
def test_statuses(score, value, settings, expected):
    corpus = [pa.table({"text": unchecked_strings([b"before", value, b"after"])})]
    rows = score(corpus, window_tokens=WINDOW, **settings)
    columns = ["status", "error", "num_tokens", "num_skipped_tokens", "num_windows"]
    assert rows.select(columns).row(1) == expected
    is_scored = expected[0] in ("ok", "truncated")
    for name in METRIC_COLUMNS:
        # Of a text without words there is no word perplexity.
        assert (rows[name][1] is not None) == (
            is_scored and (name != "word_perplexity" or value != b" ")
        )
    # Whatever a row is, its neighbours are scored.
    assert rows["status"].to_list()[::2] == ["ok", "ok"]


def test_a_document_beyond_all_measure_is_not_tokenized(score, tokenizer, monkeypatch):
    monkeypatch.setattr("pipeline.corpus.reader.LARGEST_TEXT_CHARS", 50)
    seen: list[str] = []
    encode = HubTokenizer.encode

    def watched(self: HubTokenizer, texts: list[str], **options: bool):
        seen.extend(texts)
        return encode(self, texts, **options)

    monkeypatch.setattr(HubTokenizer, "encode", watched)
    bomb = "é " * 26
    rows = score(["one", bomb, bomb, "x" * 50], window_tokens=WINDOW)
    assert rows["status"].to_list() == ["ok", "error", "error", "ok"]
    assert rows["error"].to_list() == [None, "too_large", "too_large", None]
    assert rows["num_chars"].to_list() == [3, 52, 52, 50], "it is measured all the same"
    assert rows["num_bytes"][1] == 78
    assert max(map(len, seen)) == 50


def test_truncate_scores_the_first_window_only(score, tokenizer):
    text = "abcdefghij" * 9
    run = score.run([text], window_tokens=WINDOW, long_documents="truncate")
    row = run.rows().row(0, named=True)
    assert row["nll"] == expected_nll(text, tokenizer, run.rules, only_first=True)
    assert (row["num_bytes"], row["num_scored_bytes"]) == (90, 15)
    assert row["bits_per_byte"] == pytest.approx(row["nll"] / math.log(2) / 15)


@pytest.mark.parametrize(
    ("text", "prefix", "scored"),
    [
        ("é" * 20, "bos", "é" * 8),
        ("日本語日本語日本語", "bos", "日本語日本"),
        ("😀" * 9, "bos", "😀" * 4),
        ("ab cd ef gh ij kl", "bos", "ab cd ef gh ij "),
        ("abcdefghijklmnopqrst", "none", "bcdefghijklmnop"),
    ],
    ids=["two bytes", "three bytes", "four bytes", "words", "without prefix"],
)
def test_the_bytes_of_a_truncated_text_are_those_of_the_tokens_that_were_scored(
    score, text, prefix, scored
):
    """15 tokens, which are 15 bytes; a word counts if the cut goes through it."""
    rows = score([text], window_tokens=WINDOW, long_documents="truncate", prefix=prefix)
    assert rows["num_tokens"].to_list() == [15]
    assert rows["num_scored_bytes"].to_list() == [15]
    assert rows["num_scored_words"].to_list() == [len(scored.split())]
    assert rows["num_chars"].to_list() == [len(text)]


def test_every_scored_document_has_bits_per_byte(score):
    """Its first character may be several tokens, of which only the first is not scored."""
    rows = score(["é", "😀", "日本"], prefix="none")
    assert rows["status"].to_list() == ["ok"] * 3
    assert rows["bits_per_byte"].null_count() == 0


def test_a_text_that_begins_with_the_prefix_gets_no_second_one(score):
    """Real tokenizers make the BOS of some texts; the tiny one never does."""

    class WithBos(Tokenizer):
        def encode(self, texts: list[str], *, offsets: bool = False) -> list[Encoded]:
            return [Encoded([0, 7, 8], [(0, 0), (0, 1), (1, 2)])]

    rules = score.plan(["x"]).rules
    prepared = prepare_document(Document(0, "ab"), [0, 7, 8], WithBos(), rules)
    assert prepared.windows == [Window([0, 7, 8], 1)]
    assert (prepared.status, prepared.scored_text) == ("ok", "ab")
    assert prepared.num_skipped_tokens == 1


class NonFinite(FakeEngine):
    """Overflows on one text, as float16 does."""

    def _answer(self, entry: tuple[int, Window]) -> WindowScore:
        key, logprobs = super()._answer(entry)
        if ord("!") - 33 + 2 in entry[1].prompt:
            logprobs[-1] = -math.inf
        return WindowScore(key, logprobs)


def test_a_document_whose_scores_are_not_finite_is_an_error_row(score, tokenizer):
    run = score.plan(["good", "bad! and more of it", "good"], window_tokens=6)
    run.score(tokenizer, NonFinite())
    rows = run.rows()
    assert rows["status"].to_list() == ["ok", "error", "ok"]
    assert rows["error"].to_list() == [None, "nonfinite", None]
    row = rows.row(1, named=True)
    assert (row["num_tokens"], row["num_skipped_tokens"]) == (0, 19)
    assert [row[name] for name in METRIC_COLUMNS] == [None] * len(METRIC_COLUMNS)


# --- token columns


def test_token_columns_have_a_value_for_every_scored_token(score, tokenizer):
    settings = {"window_tokens": WINDOW, "long_documents": "truncate", "prefix": "none"}
    rows = score(TEXTS, token_logprobs=True, token_ids=True, **settings)
    for text, row in zip(TEXTS, rows.iter_rows(named=True), strict=True):
        if row["nll"] is None:
            assert (row["token_ids"], row["token_logprobs"]) == (None, None)
            continue
        ids = tokenizer.encode([text])[0].ids
        assert row["token_ids"] == ids[1 : 1 + row["num_tokens"]]
        # Eighths, of which float32 holds every digit.
        assert -math.fsum(row["token_logprobs"]) == row["nll"]
        assert row["token_logprobs"] == fake_logprobs(ids[: 1 + row["num_tokens"]], 1).tolist()


# --- carried columns


def test_carried_columns_are_cast_and_null_where_a_file_lacks_them(score):
    tables = [
        pa.table({"text": ["a", "b"], "lang": ["en", None], "n": pa.array([1, None], pa.int32())}),
        pa.table({"text": ["c"], "n": pa.array([2**40], pa.int64())}),
        pa.table({"text": ["d"], "lang": pa.array(["fr"], pa.large_string())}),
    ]
    run = score.run(tables, carry=("n", "lang"))
    schema = run.manifest.arrow_schema()
    assert (schema.field("n").type, schema.field("lang").type) == (pa.int64(), pa.large_string())
    assert run.rows()["n"].to_list() == [1, None, 2**40, None]
    assert run.rows()["lang"].to_list() == ["en", None, None, "fr"]


def test_the_id_column_becomes_doc_id_whatever_its_type(score):
    tables = [pa.table({"text": ["a", "b"], "url": pa.array(["x", "y"]).dictionary_encode()})]
    assert score(tables, id_column="url")["doc_id"].to_list() == ["x", "y"]


def test_star_carries_the_text_and_everything_else(score):
    table = pa.table(
        {
            "text": TEXTS,
            "tags": [["a", "b"]] * len(TEXTS),
            "meta": [{"year": i, "by": "x"} for i in range(len(TEXTS))],
            "half": pa.array([0.5] * len(TEXTS), pa.float32()),
        }
    )
    rows = score([table], carry=("*",))
    assert rows.select(table.column_names).to_arrow().to_pylist() == table.to_pylist()


def test_a_large_integer_among_floats_is_refused_and_a_small_one_is_not(score):
    """One file's null made pandas turn the column into floats there: a float holds 53 bits."""
    floats = pa.table({"text": ["b"], "n": [0.5]})
    small = pa.table({"text": ["a"], "n": [2**53]})
    assert score([small, floats], carry=("n",))["n"].to_list() == [float(2**53), 0.5]
    with pytest.raises(WinnowError, match="double cannot hold every int64"):
        score([pa.table({"text": ["a"], "n": [2**53 + 1]}), floats], carry=("n",))


def test_an_integer_that_does_not_fit_is_not_turned_into_another(score):
    """Hashes as ids: one file has them unsigned. A wrong id is worse than none."""
    tables = [
        pa.table({"text": ["a"], "n": pa.array([2**63 + 1], pa.uint64())}),
        pa.table({"text": ["b"], "n": pa.array([-1], pa.int64())}),
    ]
    with pytest.raises(WinnowError, match="'n'"):
        score(tables, carry=("n",))


@pytest.mark.parametrize("kind", ["plain", "dictionary", "in lists", "in structs"])
def test_carried_text_that_is_not_utf8_leaves_the_part_readable(score, kind):
    """It is the reports that would fail, on the whole run and long after the scoring."""
    source = unchecked_strings([b"ok", b"\xff"])
    if kind == "dictionary":
        source = source.dictionary_encode()
    elif kind == "in lists":
        source = pa.ListArray.from_arrays([0, 1, 2], source)
    elif kind == "in structs":
        source = pa.StructArray.from_arrays([source], ["name"])
    rows = score([pa.table({"text": ["a", "b"], "source": source})], carry=("source",))
    assert rows["status"].to_list() == ["ok", "ok"]
    value = rows["source"].to_list()[0]
    assert value in ("ok", ["ok"], {"name": "ok"})


# --- totals and progress


def test_totals_are_the_sums_of_the_rows_and_stand_in_the_footer(score, tokenizer):
    run = score.plan(TEXTS, window_tokens=WINDOW, shard_tokens=1)
    done: list[tuple[int, int]] = []
    parts = run.score(
        tokenizer, on_progress=lambda documents, tokens: done.append((documents, tokens))
    )
    totals, rows = add_totals(parts), run.rows()
    assert len(parts) == len(run.manifest.shards) > 1
    assert totals.num_rows == rows.height == len(TEXTS)
    for name in ("num_tokens", "num_skipped_tokens", "num_bytes", "num_windows", "nll"):
        assert getattr(totals, name) == rows[name].sum()
    assert totals.statuses == {"empty": 1, "null": 2, "ok": len(TEXTS) - 3}
    assert sum(documents for documents, _ in done) == totals.num_rows
    assert sum(tokens for _, tokens in done) == totals.num_tokens
    for index, part in enumerate(parts):
        footer = run.store.footer(index)
        assert (footer.shard, footer.totals) == (index, part)
        assert footer.fingerprint == run.manifest.fingerprint


# --- failure


class Breaks(FakeEngine):
    """Dies after a number of answers."""

    def __init__(self, answers: int) -> None:
        self.answers = answers

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        yield from islice(super().score(windows), self.answers)
        raise EngineError("the engine died")


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("answers", [0, 1, 20])
def test_an_engine_that_dies_leaves_no_file_and_no_thread(score, tokenizer, monkeypatch, answers):
    # Small batches, so that rows are already written and batches wait ahead when it dies.
    monkeypatch.setattr("pipeline.corpus.reader.BATCH_ROWS", 3)
    run = score.plan(TEXTS)
    with pytest.raises(EngineError, match="the engine died"):
        run.score(tokenizer, Breaks(answers))
    assert run.files() == ["manifest.json"]
    assert prefetch_threads() == []
    # What is left of the unfinished part must go in silence: here a complaint turns to red.
    gc.collect()
    # The next attempt finds nothing in its way.
    run.score(tokenizer)
    assert run.rows().height == len(TEXTS)


def test_a_file_that_is_gone_leaves_no_part_and_no_thread(score, tokenizer):
    run = score.plan(TEXTS)
    file = run.folder.parent / "corpus" / "0.parquet"
    file.unlink()
    with pytest.raises(UnreadableFileError, match=r"0\.parquet, near row 0"):
        run.score(tokenizer)
    assert run.files() == ["manifest.json"]
    assert prefetch_threads() == []
    gc.collect()


class Forgets(FakeEngine):
    """Loses the answer to the last window of what it was given."""

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        answers = list(super().score(windows))
        yield from (answer for answer in answers if answer.key != len(answers) - 1)


class Shortens(FakeEngine):
    """Answers with one log-probability too few."""

    def _answer(self, entry: tuple[int, Window]) -> WindowScore:
        key, logprobs = super()._answer(entry)
        return WindowScore(key, np.delete(logprobs, 0))


@pytest.mark.parametrize("engine", [Forgets(), Shortens()], ids=["no answer", "short answer"])
def test_an_engine_that_breaks_its_contract_commits_nothing(score, tokenizer, engine):
    """A sum over some of the tokens looks like a score."""
    run = score.plan(["x" * 100], window_tokens=WINDOW)
    with pytest.raises(EngineError, match="window"):
        run.score(tokenizer, engine)
    assert run.files() == ["manifest.json"]
