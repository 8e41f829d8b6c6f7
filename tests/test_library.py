"""The public names: scores equal those of a run and of plain transformers; the examples run.

One real engine, with the demo's model, for everything that is about numbers; an engine that
answers by a rule for what is about tables, settings and words.
"""

import ast
import copy
import doctest
import inspect
import math
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import get_type_hints

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

import pipeline
from jobs.demo.model import demo_model
from pipeline import (
    Scorer,
    WinnowError,
    build_report,
    compare_runs,
    filter_run,
    read_scores,
)
from pipeline.engine.vllm.backend import VllmBackend
from pipeline.engine.vllm.reference import ReferenceScorer
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.errors import ConfigError, CorpusError, EngineError, MissingExtraError, ModelError
from pipeline.filters.filter_run import FilterSettings
from pipeline.planning.identity import engine_settings
from pipeline.runs.store import RunStore
from pipeline.schema import SCORE_FIELDS
from pipeline.settings.config import ScoringConfig, ScoringSettings
from tests.support.fakes import FakeEngine, fake_logprobs
from tests.support.runs import score_corpus

ROOT = Path(__file__).parents[1]
NAMES = [field.name for field in SCORE_FIELDS]
HEAVY = ("vllm", "torch", "transformers", "ray")
TEXTS = {
    "prose": [
        "The capital of France is Paris, and that of Italy is Rome.",
        "It was the best of times, it was the worst of times.",
        "",
        "Winter is colder than summer. " * 120,
        None,
        "It was the best of times, it was the worst of times.",
    ],
    "noise": [
        "xq zzk vvj qpw 9$! jjkq",
        "b7Gd0QxZ fK2p vLw9 tY1c",
        "Σ😀 \u0645\u0631 \x00 <|endoftext|>",
    ],
}
ALL_TEXTS = [text for texts in TEXTS.values() for text in texts]


class Lent:
    """The engine at hand in place of one more start."""

    def __init__(self, scorer: Scorer) -> None:
        self.score = scorer._engine.score

    def close(self) -> None:
        """Somebody else's."""


class Fake(FakeEngine):
    def close(self) -> None:
        """Nothing to let go of."""


@pytest.fixture(scope="module")
def started() -> Iterator[Scorer]:
    """With room for the longest text in one window."""
    with Scorer(demo_model(), dtype="float32", window_tokens=1024) as scorer:
        yield scorer


@pytest.fixture(scope="module")
def real(started: Scorer) -> Scorer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VllmBackend, "engine", lambda self, settings: Lent(started))
        return Scorer(demo_model(), dtype="float32", window_tokens=512)


@pytest.fixture(scope="module")
def workplace(real: Scorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the examples' names are there: the model, and the run runs/first."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "HuggingFaceTB").mkdir()
    (folder / "HuggingFaceTB/SmolLM2-135M").symlink_to(demo_model())
    (folder / "data").mkdir()
    sources = [source for source, texts in TEXTS.items() for _ in texts]
    table = pa.table({"text": ALL_TEXTS, "source": sources})
    pq.write_table(table, folder / "data/0.parquet", row_group_size=4)
    score_corpus(
        folder / "data",
        folder / "runs/first",
        demo_model(),
        engine=Lent(real),
        carry=("source",),
        window_tokens=512,
        shard_tokens=200,
    )
    return folder


@pytest.fixture
def at_work(workplace: Path, real: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(VllmBackend, "engine", lambda self, settings: Lent(real))


@pytest.fixture
def fake(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    """settings -> a scorer whose engine answers by a rule."""
    monkeypatch.setattr(VllmBackend, "engine", lambda self, settings: Fake())
    return lambda **settings: Scorer(tiny_model, **settings)


def test_a_score_is_the_runs(real, workplace):
    expected = read_scores(workplace / "runs/first").collect()
    found = real.score(ALL_TEXTS)

    assert found.columns == NAMES
    assert found.height == len(ALL_TEXTS)
    exact = [name for name, kind in found.schema.items() if kind != pl.Float64]
    assert_frame_equal(found.select(exact), expected.select(exact))
    # Company in the engine moves float32 by a few of its last bits.
    assert_frame_equal(found, expected.select(NAMES), rel_tol=1e-5)
    assert set(found["status"]) == {"ok", "null", "empty"}
    assert found["num_windows"].max() > 1


def test_the_engine_asked_for_is_the_runs(at_work, workplace, monkeypatch, real):
    asked = []
    monkeypatch.setattr(VllmBackend, "engine", lambda self, settings: asked.append(settings))
    Scorer("HuggingFaceTB/SmolLM2-135M", dtype="float32", window_tokens=512)
    manifest = RunStore(str(workplace / "runs/first")).require_manifest()
    assert [replace_folder(one) for one in asked] == [replace_folder(engine_settings(manifest))]
    assert real.rules == manifest.rules


def replace_folder(settings):
    values = {name: getattr(settings, name) for name in settings.__slots__}
    return values | {"folder": os.path.realpath(settings.folder)}


def test_a_score_is_that_of_plain_transformers(real, workplace):
    manifest = RunStore(str(workplace / "runs/first")).require_manifest()
    reference = ReferenceScorer(manifest.model, manifest.rules)
    texts = [text for text in ALL_TEXTS if text]
    found = real.score(texts)
    expected = [reference.nll(text) for text in texts]
    assert found["num_tokens"].to_list() == [tokens for _, tokens in expected]
    assert found["nll"].to_list() == pytest.approx([nll for nll, _ in expected], rel=1e-4)


def test_the_examples_run(at_work):
    """Of the docstrings, in one go: what an example makes the next one uses."""
    shared, said = {}, []
    runner = doctest.DocTestRunner()
    for name in pipeline.__all__:
        for example in doctest.DocTestFinder().find(getattr(pipeline, name), name):
            example.globs = shared
            runner.run(example, out=said.append, clear_globs=False)
    assert runner.failures == 0, "".join(said)
    assert runner.tries >= 10


def test_the_script_of_the_page_runs(tiny_model, tmp_path):
    """With Ray and vLLM, as a reader runs it."""
    # A cluster that ran in this process has left its token's settings.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, ROOT / "docs/library.py", tiny_model, tmp_path]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr
    assert "documents would stay" in ended.stdout
    assert (tmp_path / "library.png").read_bytes().startswith(b"\x89PNG")
    assert pl.scan_parquet(tmp_path / "kept/*.parquet").collect().height > 0
    source = (ROOT / "docs/library.py").read_text()
    assert set(pipeline.__all__) - {"WinnowError"} <= set(re.findall(r"\w+", source))


def test_texts_stay_in_order_whatever_their_number(fake, tiny_model):
    texts = [None if i % 7 == 0 else "ab" * (i % 5) + str(i % 40) for i in range(700)]
    tokenizer = HubTokenizer(str(tiny_model))
    bos = tokenizer.prefix("auto").token_id
    expected = [
        None
        if text is None
        else -math.fsum(fake_logprobs([bos, *tokenizer.encode([text])[0].ids], 1))
        for text in texts
    ]
    for settings in ({}, {"dedup": False}):
        found = fake(**settings).score(text for text in texts)
        assert found["nll"].to_list() == expected
        assert found["num_chars"].to_list() == [len(text or "") for text in texts]


TABLES = {
    "polars": lambda texts: pl.DataFrame({"n": range(len(texts)), "text": texts}),
    "polars categories": lambda texts: pl.DataFrame(
        {"n": range(len(texts)), "text": pl.Series(texts, dtype=pl.Categorical)}
    ),
    "arrow": lambda texts: pa.table({"n": range(len(texts)), "text": texts}),
    "arrow dictionary": lambda texts: pa.table(
        {"n": range(len(texts)), "text": pa.array(texts).dictionary_encode()}
    ),
    "arrow views": lambda texts: pa.table(
        {"n": range(len(texts)), "text": pa.array(texts, pa.string_view())}
    ),
    "arrow chunks": lambda texts: pa.concat_tables(
        pa.table({"n": range(i, len(texts)), "text": texts[i:]}).slice(0, 300)
        for i in range(0, len(texts), 300)
    ),
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("num_rows", [0, 1, 700])
def test_a_table_comes_back_with_the_scores(fake, make, num_rows):
    texts = [None if i % 9 == 4 else f"text {i} " * (i % 3) for i in range(700)][:num_rows]
    table = make(texts) if texts else make(["x"])[:0]
    scorer = fake(token_ids=True)

    found = scorer.score_table(table)

    assert type(found) is type(table)
    frame = pl.DataFrame(found)
    assert frame.columns == ["n", "text", *NAMES, "token_ids"]
    assert_frame_equal(frame.select("n", "text"), pl.DataFrame(table))
    assert_frame_equal(frame.drop("n", "text"), scorer.score(texts))


def test_an_arrow_table_keeps_what_it_says_of_itself(fake):
    table = pa.table({"body": ["a"]}).replace_schema_metadata({"made": "by hand"})
    found = fake().score_table(table, "body")
    assert found.schema.metadata == {b"made": b"by hand"}
    assert found.schema.field("nll").type == pa.float64()


def test_texts_that_are_not_utf8(fake):
    raw = pa.array([b"fine", b"\xff\xfe", None], pa.binary()).view(pa.string())
    scorer = fake()
    for found in (
        pl.DataFrame(scorer.score_table(pa.table({"text": raw})).drop_columns("text")),
        scorer.score(["fine", "half a \ud800", None]),
    ):
        assert found["status"].to_list() == ["ok", "error", "null"]
        assert found["error"].to_list() == [None, "not UTF-8", None]


class Stream:
    """What pandas has of a column: a stream of Arrow's, and its own idea of a missing text."""

    def __init__(self, texts: list[str | None]) -> None:
        self._array = pa.chunked_array([texts])

    def __arrow_c_stream__(self, requested_schema=None):
        return self._array.__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, at: int) -> object:
        return self._array[at].as_py() or math.nan


COLUMNS = {
    "a stream, as pandas has": Stream,
    "polars": pl.Series,
    "polars categories": lambda texts: pl.Series(texts, dtype=pl.Categorical),
    "polars bytes": lambda texts: pl.Series([text and text.encode() for text in texts]),
    "polars objects": lambda texts: pl.Series(texts, dtype=pl.Object),
    "arrow": pa.array,
    "arrow bytes": lambda texts: pa.array(texts).cast(pa.binary()),
    "arrow categories of views": lambda texts: pa.DictionaryArray.from_arrays(
        pa.array([0, None, 1]), pa.array([texts[0], texts[2]], pa.string_view())
    ),
    "numpy": lambda texts: np.array(texts, dtype=object),
}


@pytest.mark.parametrize("make", COLUMNS.values(), ids=COLUMNS)
def test_a_column_is_scored_as_its_list_is(fake, make):
    texts = ["a text", None, "än\u0001other"]
    assert_frame_equal(fake().score(make(texts)), fake().score(texts))


def test_hints_say_what_to_type(fake):
    scorer = fake()
    hints = {
        '[row["text"] for row in rows]': lambda: scorer.score([{"text": "a"}]),
        "[text.decode() for text in texts]": lambda: scorer.score([b"a"]),
        "the column itself": lambda: scorer.score(["a", math.nan]),
        "collect it": lambda: scorer.score_table(pl.LazyFrame({"text": ["a"]})),
        "polars.DataFrame(TABLE)": lambda: scorer.score_table({"text": ["a"]}),
        "score takes a list of texts": lambda: scorer.score_table(["a"]),
        "there are none": lambda: scorer.score_table(pl.DataFrame()),
    }
    for hint, wrong in hints.items():
        with pytest.raises(CorpusError) as raised:
            wrong()
        assert hint in raised.value.hint


def test_a_table_that_was_scored_before_is_told_all_names_at_once(fake):
    scorer = fake()
    with pytest.raises(CorpusError, match="already has columns 'status', 'error', 'num_tokens'"):
        scorer.score_table(scorer.score_table(pl.DataFrame({"text": ["a"]})))


def test_a_scorer_is_not_sent_to_another_process(fake):
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="a Scorer holds an engine, which cannot be copied"):
            attempt(fake())


def test_help_and_completion_know_every_setting():
    """As `inspect` tells them, for whom `**settings` would be one name."""
    for function, settings in ((Scorer, ScoringSettings), (filter_run, FilterSettings)):
        found = inspect.signature(function).parameters
        hints = get_type_hints(settings, include_extras=True)
        assert {name: found[name].annotation for name in hints} == hints
        assert all(found[name].kind is inspect.Parameter.KEYWORD_ONLY for name in hints)
        assert "settings" not in found


def test_completion_shows_what_a_result_has(workplace):
    run = workplace / "runs/first"
    for result in (
        build_report(run),
        compare_runs([run, run]),
        filter_run(run, percentile=(0, 99)),
    ):
        shown = {name for name in dir(result) if name[0] != "_"}
        assert shown >= {*type(result).model_fields, "model_dump", "model_dump_json"}
        assert not shown & {"construct", "copy", "dict", "json", "parse_obj", "model_fields"}


def test_a_whole_number_of_numpy_is_one(fake):
    assert fake(window_tokens=np.int64(200)).rules.window_tokens == 200


def test_a_column_of_nothing(fake):
    found = fake().score_table(pl.DataFrame({"text": [None, None]}))
    assert found["status"].to_list() == ["null", "null"]


def test_token_columns(fake, tiny_model):
    found = fake(token_logprobs=True, token_ids=True).score(["abc", None, "abc"])
    ids = HubTokenizer(str(tiny_model)).encode(["abc"])[0].ids
    assert found["token_ids"].to_list() == [ids, None, ids]
    assert found["token_logprobs"].list.sum().to_list() == [
        pytest.approx(-found["nll"][0]),
        None,
        pytest.approx(-found["nll"][2]),
    ]


def test_settings_are_those_of_a_run():
    hints = get_type_hints(ScoringSettings)
    fields = {name: field.annotation for name, field in ScoringConfig.model_fields.items()}
    assert {"model": str} | hints == fields


BAD_SETTINGS = {
    "misspelt": ({"window_token": 5}, "unknown key 'window_token'", "did you mean 'window_tokens'"),
    "of a run": ({"workers": 2}, "unknown key 'workers' in the settings of a Scorer", "known: "),
    "not a value": ({"dtype": "int8"}, "dtype = 'int8': must be", None),
    "almost a value": ({"dtype": "float31"}, "dtype = 'float31': must", "did you mean 'float32'?"),
    "too small": ({"window_tokens": 1}, "window_tokens = 1: must be", None),
    "too large": (
        {"window_tokens": 5000},
        "window_tokens 5000 exceeds the maximum of",
        "use 511 or less",
    ),
    "no room": ({"context_tokens": 600}, "context_tokens 600 leaves", "a smaller context_tokens"),
}


@pytest.mark.parametrize(("settings", "message", "hint"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_a_bad_setting_is_named_as_python_names_it(fake, settings, message, hint):
    with pytest.raises(WinnowError) as raised:
        fake(**settings)
    assert type(raised.value) in (ConfigError, ModelError)
    assert message in str(raised.value)
    said = f"{raised.value} {raised.value.hint}"
    assert "--" not in said
    assert "\n" not in said
    assert hint is None or hint in str(raised.value.hint)


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="no such model folder") as raised:
        Scorer(tmp_path / "nowhere")
    assert raised.value.hint.startswith("model is a folder in Hugging Face format")


@pytest.mark.parametrize("name", ["", " "], ids=["empty", "a blank"])
def test_a_model_without_a_name(name):
    with pytest.raises(ModelError, match=r"(?m)^model is empty$") as raised:
        Scorer(name)
    assert raised.value.hint.startswith("model is a folder in Hugging Face format, or ORG")


BAD_TEXTS = {
    "one string": ("abc", "a list of texts, not str"),
    "bytes": (b"abc", "a list of texts, not bytes"),
    "nothing": (None, "a list of texts, not NoneType"),
    "a number inside": (["a", 1.5], r"texts\[1\] is float, not a string"),
    "bytes inside": ([b"a"], r"texts\[0\] is bytes"),
    "rows inside": ([{"text": "a"}], r"texts\[0\] is dict, not a string"),
    "a path": (Path("a.txt"), r"a list of texts, not pathlib\.PosixPath"),
    "a lazy table": (pl.LazyFrame({"text": ["a"]}), r"a list of texts, not polars\.LazyFrame"),
    "an array without dimensions": (np.array("abc"), r"a list of texts, not numpy\.ndarray"),
    "a Series of numbers": (pl.Series([1]), "the array is int64, not text"),
    "a Series of objects": (
        pl.Series(["a", object()], dtype=pl.Object),
        r"texts\[1\] is object, not a string",
    ),
    # Iterated over, these would give names, or no order, and scores of them in silence.
    "a dict": ({"text": ["a"]}, "a list of texts, not dict"),
    "a set": ({"a", "b"}, "a list of texts, not set"),
    "a table": (pl.DataFrame({"text": ["a"]}), "a list of texts, not polars.DataFrame"),
    "an Arrow table": (pa.table({"text": ["a"]}), "a list of texts, not pyarrow.Table"),
    "an array of numbers": (pa.array([1]), "the array is int64, not text"),
    "what pandas has for none": (["a", float("nan")], r"texts\[1\] is float, not a string"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("texts", "message"), BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_what_is_not_a_list_of_texts_is_refused(fake, texts, message):
    scorer = fake()
    with pytest.raises(CorpusError, match=message):
        scorer.score(texts)
    assert scorer.score(["a"])["status"].to_list() == ["ok"], "and goes on"


BAD_TABLES = {
    "no such column": (pl.DataFrame({"texts": ["a"]}), "no column 'text'", "did you mean 'texts'?"),
    "numbers": (pl.DataFrame({"text": [1]}), "column 'text' is int64, not text", None),
    "scored before": (
        pl.DataFrame({"text": ["a"], "status": ["new"]}),
        "the table already has a column 'status'",
        "rename or drop",
    ),
    "twice": (
        pa.Table.from_arrays([pa.array(["a"])] * 2, ["text", "text"]),
        "the column 'text' more than once",
        None,
    ),
    "lazy": (pl.LazyFrame({"text": ["a"]}), "not polars.LazyFrame", "collect it"),
    "a record batch": (
        pa.record_batch({"text": ["a"]}),
        "not pyarrow.RecordBatch",
        "polars.DataFrame(TABLE) makes one of it",
    ),
    "a dictionary": ({"text": ["a"]}, "not dict", "polars.DataFrame(TABLE) makes one of it"),
}


@pytest.mark.parametrize(("table", "message", "hint"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_table_that_cannot_be_scored_is_refused(fake, table, message, hint):
    with pytest.raises(CorpusError, match=re.escape(message)) as raised:
        fake().score_table(table)
    assert hint is None or hint in raised.value.hint


@pytest.mark.parametrize("column", [0, None, pl.col("text"), pl.Series(["a"])], ids=repr)
def test_a_text_column_is_a_name(fake, column):
    with pytest.raises(CorpusError, match="not the name of a column") as raised:
        fake().score_table(pl.DataFrame({"text": ["a"]}), column)
    assert raised.value.hint == "known: text"


@pytest.mark.parametrize(
    "make",
    [pa.array, lambda texts: pa.chunked_array([texts[:2], texts[2:]]), pl.Series],
    ids=["array", "chunks", "series"],
)
def test_an_array_is_scored_as_a_list_is(fake, make):
    texts = ["one", None, "", "two", "one"]
    assert_frame_equal(fake().score(make(texts)), fake().score(texts))


def test_a_list_is_refused_before_any_of_it_is_scored(tiny_model, monkeypatch):
    class Costly(Fake):
        def score(self, windows):
            raise AssertionError("scored")

    monkeypatch.setattr(VllmBackend, "engine", lambda self, settings: Costly())
    texts = [f"text {i}" for i in range(2000)]
    with pytest.raises(CorpusError, match=r"texts\[2000\] is int"):
        Scorer(tiny_model).score([*texts, 3])


def test_a_closed_scorer(fake):
    with fake() as scorer:
        scorer.score(["a"])
    scorer.close()
    with pytest.raises(EngineError, match="the scorer is closed"):
        scorer.score(["a"])
    with pytest.raises(EngineError, match="the scorer is closed"), scorer:
        raise AssertionError("entered")


def test_a_scorer_says_what_it_is(fake, tiny_model):
    scorer = fake(dtype="float32")
    assert repr(scorer) == f"<Scorer of {tiny_model}, float32>"
    scorer.close()
    assert repr(scorer) == f"<Scorer of {tiny_model}, float32, closed>"


def test_an_error_of_the_users_own_comes_through(fake):
    def texts() -> Iterator[str]:
        yield "a"
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        fake().score(texts())


def test_texts_that_are_made_by_scoring_others_with_the_same_scorer_are_refused(fake):
    """Its engine would wait for the text, and the text for its engine."""
    scorer, other = fake(), fake()

    def texts(using: Scorer) -> Iterator[str]:
        yield "a"
        yield str(using.score(["b"])["num_tokens"][0])

    with pytest.raises(EngineError, match="score was called by what gives another call") as raised:
        scorer.score(texts(scorer))
    assert "a Scorer of their own" in raised.value.hint
    assert scorer.score(texts(other))["status"].to_list() == ["ok", "ok"]


def test_without_vllm_the_extra_is_named(tiny_model, monkeypatch):
    monkeypatch.setattr("pipeline.errors.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="Scorer needs vllm, torch, transformers") as raised:
        Scorer(tiny_model)
    assert "pip install 'winnow-ppl[cpu]'" in raised.value.hint


def python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return done.stdout


LOADED = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def test_importing_the_package_imports_nothing_else():
    loaded = python("import pipeline; dir(pipeline); " + LOADED).split()
    assert "pipeline" in loaded
    assert not {*HEAVY, "polars", "pyarrow", "numpy", "pydantic"} & set(loaded)


def test_reading_a_run_imports_no_engine(workplace):
    code = """
import sys
from pipeline import build_report, compare_runs, filter_run, read_scores
assert read_scores(sys.argv[1]).collect().height == build_report(sys.argv[1]).overall.num_documents
filter_run(sys.argv[1], percentile=(10, 90), corpus=sys.argv[2])
compare_runs([sys.argv[1], sys.argv[1]], resamples=100)
"""
    loaded = python(code + LOADED, str(workplace / "runs/first"), str(workplace / "data")).split()
    assert "polars" in loaded
    assert not set(HEAVY) & set(loaded)


def test_the_names_are_the_same_for_python_and_for_type_checkers():
    tree = ast.parse((ROOT / "pipeline/__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == pipeline._HOMES
    assert sorted(seen) == pipeline.__all__
    assert set(seen) <= set(dir(pipeline))
    for name, home in seen.items():
        assert getattr(pipeline, name).__module__ == home
    with pytest.raises(AttributeError, match="no attribute 'Scorrer'"):
        pipeline.Scorrer  # noqa: B018


def test_tab_completion_offers_what_is_for_users():
    assert [name for name in dir(pipeline) if name[0] != "_"] == pipeline.__all__
    assert pipeline.__version__ == version("winnow-ppl")
    with pytest.raises(AttributeError, match="no attribute 'read_score'"):
        _ = pipeline.read_score
