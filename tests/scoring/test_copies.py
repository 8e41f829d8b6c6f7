"""Exact copies are scored once, and nobody can tell from the rows."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.run.isolation import PoisonSearch, Rows
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.errors import EngineError
from pipeline.planning.plan import open_run
from pipeline.runs.manifest import Totals
from pipeline.runs.store import RunStore
from pipeline.schema import Document, Window, WindowScore
from pipeline.scoring import copies
from pipeline.scoring.copies import RecentTexts
from pipeline.scoring.shard import probe_shard, score_shard
from pipeline.scoring.stream import MOST_WAITING
from pipeline.settings.config import ScoreConfig
from tests.support.fakes import FakeEngine

WINDOW = 8


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> HubTokenizer:
    return HubTokenizer(str(tiny_model))


class Counting(FakeEngine):
    """Counts the windows it was shown, and how many were taken before one was answered."""

    def __init__(self) -> None:
        self.shown: list[Window] = []

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        def seen() -> Iterator[tuple[int, Window]]:
            for entry in windows:
                self.shown.append(entry[1])
                yield entry

        return super().score(seen())


class Deadly(Counting):
    """Dies of every window that begins with a mark."""

    def _answer(self, entry: tuple[int, Window]) -> WindowScore:
        if entry[1].prompt[1] == ord("!") - 33 + 2:
            raise EngineError("died of it")
        return super()._answer(entry)


class Corpus:
    """One shard over `texts`, planned once and scored as often as asked."""

    def __init__(self, folder: Path, model: Path, texts: list[str | None], **wanted) -> None:
        table = pa.table({"id": range(len(texts)), "text": pa.array(texts, pa.string())})
        (folder / "corpus").mkdir(exist_ok=True)
        pq.write_table(table, folder / "corpus/0.parquet", row_group_size=5)
        self.folder = folder
        config = ScoreConfig(
            corpus=str(folder / "corpus"), model=str(model), out=str(folder / "x"), **wanted
        )
        self.manifest, _ = open_run(config, RunStore(config.out), default_shard_tokens=10**9)

    def score(self, tokenizer, *, engine=None, **how) -> tuple[Totals, pa.Table]:
        store = RunStore(str(self.folder / f"run-{how.get('dedup', True)}"))
        [shard] = self.manifest.shards
        totals = score_shard(
            self.manifest.task(shard.id),
            self.manifest,
            engine=engine or FakeEngine(),
            tokenizer=tokenizer,
            store=store,
            **how,
        )
        assert store.footer(0).totals == totals
        return totals, pq.read_table(Path(store.location) / store.part_name(0))


def all_alike(corpus: Corpus, tokenizer: HubTokenizer) -> tuple[Totals, pa.Table]:
    """With and without: the same rows in every column. The totals with."""
    with_copies, rows = corpus.score(tokenizer, dedup=True)
    without, expected = corpus.score(tokenizer, dedup=False)
    assert rows.equals(expected)
    assert (without.num_rows_copied, without.num_tokens_copied) == (0, 0)
    for name in Totals.model_fields.keys() - {"seconds", "num_rows_copied", "num_tokens_copied"}:
        assert getattr(with_copies, name) == getattr(without, name), name
    return with_copies, rows


TEXTS = st.lists(
    st.sampled_from(["a", "b ", "", None, "é" * 3, "long enough for windows", "日本語", "ab" * 30]),
    min_size=1,
    max_size=40,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    texts=TEXTS,
    long_documents=st.sampled_from(["window", "truncate", "skip"]),
    prefix=st.sampled_from(["bos", "none"]),
    lists=st.booleans(),
    batch_rows=st.sampled_from([1, 3, 256]),
    most_texts=st.sampled_from([1, 2, 1 << 15]),
)
def test_rows_are_those_of_scoring_every_document(
    tmp_path_factory, tiny_model, tokenizer, texts, long_documents, prefix, lists, batch_rows,
    most_texts,
):  # fmt: skip
    corpus = Corpus(
        tmp_path_factory.mktemp("corpus"),
        tiny_model,
        texts,
        window_tokens=WINDOW,
        long_documents=long_documents,
        prefix=prefix,
        token_logprobs=lists,
        token_ids=lists,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.corpus.reader.BATCH_ROWS", batch_rows)
        patch.setattr(copies, "MOST_TEXTS", most_texts)
        totals, rows = all_alike(corpus, tokenizer)
    if most_texts > len(texts):
        distinct = {text for text in texts if text}
        assert totals.num_rows_copied == sum(map(bool, texts)) - len(distinct)
        firsts = {text: row for row, text in reversed(list(enumerate(texts)))}
        tokens = rows["num_tokens"].to_pylist()
        copied = [n for i, n in enumerate(tokens) if texts[i] and firsts[texts[i]] != i]
        assert totals.num_tokens_copied == sum(copied)
        assert totals.num_tokens_computed == sum(tokens) - sum(copied)


def test_the_engine_is_shown_a_text_once(tmp_path, tiny_model, tokenizer):
    corpus = Corpus(tmp_path, tiny_model, ["one", "two", "one", "one", "two", "three"])
    engine = Counting()
    totals, _ = corpus.score(tokenizer, engine=engine)
    assert len(engine.shown) == 3
    assert (totals.num_rows_copied, totals.num_tokens_copied) == (3, 9)
    engine = Counting()
    corpus.score(tokenizer, engine=engine, dedup=False)
    assert len(engine.shown) == 6


def test_progress_counts_computed_tokens(tmp_path, tiny_model, tokenizer):
    corpus = Corpus(tmp_path, tiny_model, ["one", "one", "three"])
    seen: list[tuple[int, int]] = []
    corpus.score(tokenizer, on_progress=lambda documents, tokens: seen.append((documents, tokens)))
    assert [sum(column) for column in zip(*seen, strict=True)] == [3, 8]


def test_scores_that_are_not_finite_are_copied_as_they_are(tmp_path, tiny_model, tokenizer):
    class Overflows(FakeEngine):
        def _answer(self, entry: tuple[int, Window]) -> WindowScore:
            key, logprobs = super()._answer(entry)
            return WindowScore(key, logprobs - float("inf"))

    corpus = Corpus(tmp_path, tiny_model, ["one", "one"], token_logprobs=True)
    _, rows = corpus.score(tokenizer, engine=Overflows())
    assert rows["error"].to_pylist() == ["nonfinite"] * 2
    assert rows["token_logprobs"].to_pylist() == [None] * 2


# --- documents that kill the engine


def search(corpus: Corpus, tokenizer: HubTokenizer, **how: bool) -> dict[int, str]:
    """As the driver searches, with an engine that dies of every text with a mark."""
    [shard] = corpus.manifest.shards
    hunt = PoisonSearch(shard.num_rows)
    while not hunt.is_over and not hunt.is_hopeless:
        for rows in hunt.take():
            try:
                probe_shard(
                    corpus.manifest.task(shard.id),
                    corpus.manifest,
                    *rows,
                    engine=Deadly(),
                    tokenizer=tokenizer,
                    **how,
                )
                hunt.survived(Rows(*rows))
            except EngineError:
                hunt.died(Rows(*rows))
    return hunt.poison


def test_a_deadly_document_and_its_copies_become_error_rows(tmp_path, tiny_model, tokenizer):
    texts = ["fine", "!bad", "well", "!bad", "fine", "!worse", "!bad"]
    corpus = Corpus(tmp_path, tiny_model, texts)
    poison = search(corpus, tokenizer)
    assert set(poison) == {1, 5}
    _, rows = corpus.score(tokenizer, engine=Deadly(), poison=poison)
    expected = ["engine_died" if text[0] == "!" else None for text in texts]
    assert rows["error"].to_pylist() == expected

    each = search(corpus, tokenizer, dedup=False)
    _, without = corpus.score(tokenizer, engine=Deadly(), poison=each, dedup=False)
    assert rows.equals(without)


def test_so_they_do_where_texts_are_forgotten(tmp_path, tiny_model, tokenizer, monkeypatch):
    """The search has to know the same texts as the scoring after it, at every moment."""
    monkeypatch.setattr(copies, "MOST_TEXTS", 2)
    texts = [f"{'!' if i % 5 < 2 else ''}{i % 5}" for i in range(11)] + ["!0", "2", "!1", "!0"]
    corpus = Corpus(tmp_path, tiny_model, texts)
    poison = search(corpus, tokenizer)
    _, rows = corpus.score(tokenizer, engine=Deadly(), poison=poison)
    assert rows["error"].to_pylist() == ["engine_died" if t[0] == "!" else None for t in texts]


def test_many_copies_of_a_deadly_document_do_not_make_the_search_hopeless(
    tmp_path, tiny_model, tokenizer
):
    texts = ["fine", *["!bad"] * 40]
    corpus = Corpus(tmp_path, tiny_model, texts)
    poison = search(corpus, tokenizer)
    assert set(poison) == {1}
    _, rows = corpus.score(tokenizer, engine=Deadly(), poison=poison)
    assert pl.Series(rows["status"]).value_counts(sort=True).rows() == [("error", 40), ("ok", 1)]


# --- bounds


def test_what_is_remembered_is_bounded():
    recent = RecentTexts()
    for number in range(copies.MOST_TEXTS + 100):
        recent.look_up(Document(number, str(number)))
        if number % 1000 == 0:
            assert recent.look_up(Document(number, "again and again"))[1] == (number > 0)
    assert len(recent) == copies.MOST_TEXTS
    assert recent.look_up(Document(0, "again and again"))[1], "those seen last are remembered"
    assert not recent.look_up(Document(0, "50"))[1]


def test_with_token_columns_the_text_remembered_is_bounded_too(monkeypatch):
    monkeypatch.setattr(copies, "MOST_LISTED_BYTES", 100)
    recent, without = RecentTexts(token_columns=True), RecentTexts()
    for text in ("é" * 30, "b" * 39, "c"):
        recent.look_up(Document(0, text))
        without.look_up(Document(0, text))
    assert (len(recent), len(without)) == (3, 3)
    recent.look_up(Document(0, "dd"))
    assert len(recent) == 3
    # A text that is blamed anew counts once.
    for _ in range(9):
        recent.look_up(Document(0, "b" * 39, error="engine_died"))
    assert len(recent) == 3


def test_texts_that_may_not_be_shared():
    recent = RecentTexts()
    for _ in range(2):
        assert recent.look_up(Document(0, None)) == (None, False)
        assert recent.look_up(Document(0, "")) == (None, False)
        assert recent.look_up(Document(0, None, error="not UTF-8")) == (None, False)
        assert recent.look_up(Document(0, "x", error="engine_died"))[1] is False
    assert recent.look_up(Document(0, "x"))[1] is True


def test_batches_of_copies_alone_do_not_pile_up(tmp_path, tiny_model, tokenizer, monkeypatch):
    """Without windows in between nothing is answered: the engine has to be left now and then."""
    monkeypatch.setattr("pipeline.corpus.reader.BATCH_ROWS", 1)
    corpus = Corpus(tmp_path, tiny_model, ["one"] * (5 * MOST_WAITING) + ["two"])
    ahead: list[int] = []
    done = 0

    class Watched(HubTokenizer):
        asked = 0

        def encode(self, texts, *, offsets=False):
            self.asked += 1
            ahead.append(self.asked - done)
            return super().encode(texts, offsets=offsets)

    def advance(documents: int, tokens: int) -> None:
        nonlocal done
        done += documents

    totals, rows = corpus.score(Watched(str(tiny_model)), on_progress=advance)
    assert rows["num_tokens"].to_pylist() == [3] * len(rows)
    assert totals.num_rows_copied == len(rows) - 2
    # Those ahead in the reading thread, and the one in hand.
    assert max(ahead) <= MOST_WAITING + 1 + 4
