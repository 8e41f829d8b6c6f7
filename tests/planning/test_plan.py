"""From a request to a frozen plan: how rows are cut into shards, and when a run may go on."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import fs

from pipeline.corpus.columns import Columns
from pipeline.corpus.files import Footer
from pipeline.errors import CorpusError, ModelError, RunError
from pipeline.planning.plan import open_run
from pipeline.planning.sharding import (
    BYTES_PER_TOKEN,
    SMALLEST_SHARD_TOKENS,
    CorpusPlan,
    make_shards,
    plan_corpus,
)
from pipeline.runs.manifest import Manifest
from pipeline.runs.store import RunStore
from pipeline.schema import Shard, Span, part_schema
from pipeline.settings.config import ScoreConfig
from tests.support.tiny import MAX_TOKENS, save_tokenizer

Layout = list[list[tuple[int, int]]]
"""Of each file the (rows, text bytes) of its row groups."""


def footers(layout: Layout) -> list[Footer]:
    schema = pa.schema([("text", pa.string())])
    return [
        Footer(f"{i}.parquet", fs.FileInfo(f"{i}.parquet", fs.FileType.File), schema, tuple(groups))
        for i, groups in enumerate(layout)
    ]


def cut(layout: Layout, shard_bytes: int, limit: int | None = None) -> list[Shard]:
    return list(make_shards(footers(layout), shard_bytes, limit))


def rows_of(shards: list[Shard]) -> list[tuple[int, int]]:
    return [
        (span.file, span.first_row + i)
        for shard in shards
        for span in shard.spans
        for i in range(span.num_rows)
    ]


def all_rows(layout: Layout) -> list[tuple[int, int]]:
    return [(i, row) for i, groups in enumerate(layout) for row in range(sum(n for n, _ in groups))]


# Rows without bytes (nulls) and row groups without rows are both among them.
layouts = st.lists(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 400)), max_size=6), max_size=6
)
sizes = st.integers(1, 1000)
limits = st.none() | st.integers(1, 200)


# --- shards


@given(layouts, sizes, limits)
@example([], 1, None)
@example([[]], 1, None)
@example([[(0, 0)], [(0, 9)]], 1, None)
@example([[(5, 10)], [(5, 10)]], 10, 5)
def test_every_row_is_in_exactly_one_shard_in_order(layout, shard_bytes, limit):
    assert rows_of(cut(layout, shard_bytes, limit)) == all_rows(layout)[:limit]


@given(layouts, sizes, limits)
def test_shards_and_spans_say_what_they_hold(layout, shard_bytes, limit):
    shards = cut(layout, shard_bytes, limit)
    assert [shard.id for shard in shards] == list(range(len(shards)))
    for shard in shards:
        assert shard.num_rows == sum(span.num_rows for span in shard.spans) > 0
        files = [span.file for span in shard.spans]
        assert files == sorted(set(files))
        for span in shard.spans:
            groups = layout[span.file]
            held = [groups[i][0] for i in span.row_groups]
            assert all(held)
            assert list(span.row_groups) == sorted(set(span.row_groups))
            # Where the first of its row groups begins: what comes before it in the file.
            assert span.first_row == sum(rows for rows, _ in groups[: span.row_groups[0]])
            # Only a limit takes fewer rows than the row groups hold, and never leaves one unused.
            assert sum(held[:-1]) < span.num_rows <= sum(held)


@given(layouts, sizes)
def test_shards_end_with_the_row_group_that_fills_them(layout, shard_bytes):
    shards = cut(layout, shard_bytes)
    for shard in shards[:-1]:
        assert shard.text_bytes >= shard_bytes
    for shard in shards:
        last = shard.spans[-1]
        final = layout[last.file][last.row_groups[-1]][1]
        assert shard.text_bytes - final < shard_bytes
    counted = sum(size for groups in layout for rows, size in groups if rows)
    assert sum(shard.text_bytes for shard in shards) == counted


@given(layouts, sizes, st.integers(1, 200))
def test_a_limit_is_the_beginning_of_the_whole_plan(layout, shard_bytes, limit):
    """So that a trial with --limit costs what its rows cost, and meets the same rows."""
    whole, limited = cut(layout, shard_bytes), cut(layout, shard_bytes, limit)
    assert limited[:-1] == whole[: max(0, len(limited) - 1)]


def test_small_files_share_a_shard():
    assert cut([[(2, 30)], [(3, 30)], [(4, 30)]], 100) == [
        Shard(0, (Span(0, (0,), 0, 2), Span(1, (0,), 0, 3), Span(2, (0,), 0, 4)), 9, 90)
    ]


def test_a_big_file_is_cut_at_its_row_groups():
    assert cut([[(2, 60), (3, 60), (4, 60)]], 100) == [
        Shard(0, (Span(0, (0, 1), 0, 5),), 5, 120),
        Shard(1, (Span(0, (2,), 5, 4),), 4, 60),
    ]


def test_the_rest_of_a_big_file_shares_with_the_next():
    assert cut([[(1, 100), (1, 10)], [(1, 10)]], 100) == [
        Shard(0, (Span(0, (0,), 0, 1),), 1, 100),
        Shard(1, (Span(0, (1,), 1, 1), Span(1, (0,), 0, 1)), 2, 20),
    ]


def test_row_groups_and_files_without_rows_are_stepped_over():
    shards = cut([[(0, 0)], [(0, 7), (2, 5), (0, 7), (1, 5)], []], 100)
    assert shards == [Shard(0, (Span(1, (1, 3), 0, 3),), 3, 10)]


def test_no_row_makes_no_shard():
    assert cut([[], [(0, 0)]], 100) == []


def test_a_row_group_larger_than_a_shard_is_not_cut():
    assert [shard.num_rows for shard in cut([[(50, 5000), (1, 1)]], 100)] == [50, 1]


def test_a_limit_counts_only_the_bytes_it_takes():
    (shard,) = cut([[(10, 1000)]], 10_000, limit=3)
    assert (shard.num_rows, shard.text_bytes) == (3, 300)


# --- a corpus on disk


def write_file(path: Path, count: int, *, length: int = 10, row_group_size: int = 10) -> None:
    texts = pa.array([f"{i:0{length}}" for i in range(count)], pa.string())
    table = pa.table({"id": range(count), "source": ["web"] * count, "text": texts})
    # As many bytes in the file as in the text, so that sizes are round.
    options = {"use_dictionary": False, "write_statistics": False}
    pq.write_table(table, path, row_group_size=row_group_size, **options)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, count in (("a", 25), ("b", 0), ("c", 5)):
        write_file(folder / f"{name}.parquet", count)
    return folder


def plan(corpus: Path, **settings: int | None) -> CorpusPlan:
    defaults = {"default_shard_tokens": 10**9}
    return plan_corpus(str(corpus), text_column="text", **(defaults | settings))


def test_a_plan_names_every_file_and_counts_rows(corpus):
    found = plan(corpus)
    assert [(file.path, file.num_rows) for file in found.files] == [
        ("a.parquet", 25),
        ("b.parquet", 0),
        ("c.parquet", 5),
    ]
    for file in found.files:
        stat = (corpus / file.path).stat()
        assert (file.size_bytes, file.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert found.num_rows == 30
    assert rows_of(list(found.shards)) == [(0, i) for i in range(25)] + [(2, i) for i in range(5)]


def test_a_plan_with_a_limit_still_names_every_file(corpus):
    found = plan(corpus, limit=3)
    assert found.num_rows == 3
    assert len(found.files) == 3


def test_the_size_of_shards_can_be_set(corpus):
    assert [shard.num_rows for shard in plan(corpus, shard_tokens=1).shards] == [10, 10, 5, 5]


def test_a_small_corpus_is_not_cut_into_crumbs(corpus):
    assert len(plan(corpus, workers=64).shards) == 1


def test_every_worker_gets_a_few_shards_of_a_middling_corpus(tmp_path):
    """Or one of two workers would wait for the other at the end."""
    tokens = 16 * SMALLEST_SHARD_TOKENS
    rows = tokens * BYTES_PER_TOKEN // 1000
    write_file(tmp_path / "a.parquet", rows, length=1000)
    assert 14 <= len(plan(tmp_path, workers=64).shards) <= 16
    assert 7 <= len(plan(tmp_path, workers=2).shards) <= 8
    assert 3 <= len(plan(tmp_path, workers=1).shards) <= 4
    # A shard is never more than minutes of work.
    assert 7 <= len(plan(tmp_path, workers=1, default_shard_tokens=tokens // 8).shards) <= 8


def test_a_corpus_without_rows_is_a_plan_without_shards(tmp_path):
    write_file(tmp_path / "a.parquet", 0)
    assert plan(tmp_path).shards == ()
    assert plan(tmp_path).num_rows == 0


# --- opening a run


def request(corpus: Path, model: Path, run: Path, **settings: object) -> ScoreConfig:
    return ScoreConfig(corpus=str(corpus), model=str(model), out=str(run), **settings)


def open_(config: ScoreConfig) -> tuple[Manifest, bool]:
    return open_run(config, RunStore(config.out), default_shard_tokens=1000)


def start(config: ScoreConfig) -> Manifest:
    """Plan a run and freeze it, as a driver does."""
    manifest, is_new = open_(config)
    assert is_new
    RunStore(config.out).write_manifest(manifest)
    return manifest


def test_a_new_plan_writes_nothing(corpus, tiny_model, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    _, is_new = open_(request(corpus, tiny_model, tmp_path / "run"))
    assert is_new
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_new_plan_leaves_nothing_automatic(corpus, tiny_model, tmp_path):
    settings = {"carry": ("source",), "shard_tokens": 1}
    manifest, _ = open_(request(corpus, tiny_model, tmp_path / "run", **settings))
    rules = manifest.rules
    assert (rules.dtype, rules.prefix, rules.prefix_token_id) == ("float32", "bos", 0)
    assert (rules.window_tokens, rules.context_tokens) == (MAX_TOKENS - 1, 1)
    assert manifest.corpus == str(corpus)
    assert (manifest.text_column, manifest.id_column) == ("text", "id")
    assert manifest.carried == ("source",)
    assert manifest.num_rows == sum(shard.num_rows for shard in manifest.shards) == 30
    source = pa.field("source", pa.string())
    assert manifest.arrow_schema() == part_schema(pa.int64(), [source])
    assert {"winnow-ppl", "pyarrow", "transformers"} <= set(manifest.versions)
    # The tokenizer makes a token of every byte.
    texts = pq.ParquetDataset(corpus).read(columns=["text"])["text"].to_pylist()
    assert manifest.estimated_tokens == sum(len((text or "").encode()) for text in texts)
    assert set(manifest.fingerprint) >= {
        "model_config",
        "weights",
        "tokenizer",
        "dtype",
        "prefix",
        "prefix_token_id",
        "window_tokens",
        "context_tokens",
        "long_documents",
        "text_column",
        "schema_version",
    }


def test_what_workers_are_told(corpus, tiny_model, tmp_path):
    manifest, _ = open_(request(corpus, tiny_model, tmp_path / "run", carry=("source",)))
    assert manifest.without_plan().columns == Columns("text", "id", ("source",))
    told = [manifest.task(shard.id) for shard in manifest.shards]
    # b.parquet has no row.
    assert {name for task in told for name in task.files} == {"a.parquet", "c.parquet"}


def test_two_plans_of_one_request_differ_in_name_only(corpus, tiny_model, tmp_path):
    config = request(corpus, tiny_model, tmp_path / "run")
    one, other = open_(config)[0], open_(config)[0]
    assert one.run_id != other.run_id
    same = {"run_id": "", "created_at": ""}
    assert one.model_copy(update=same) == other.model_copy(update=same)


def test_the_same_request_goes_on_with_the_frozen_plan(corpus, tiny_model, tmp_path):
    config = request(corpus, tiny_model, tmp_path / "run", shard_tokens=10)
    manifest = start(config)
    assert open_(config) == (manifest, False)


def test_what_changes_neither_a_score_nor_the_rows_may_change(corpus, tiny_model, tmp_path):
    """A resume with more workers, other shards or what `auto` came to is the same run."""
    run = tmp_path / "run"
    manifest = start(request(corpus, tiny_model, run))
    settings = {"workers": 7, "shard_tokens": 1, "max_attempts": 9, "strict": True}
    spelled_out = {"dtype": "float32", "prefix": "bos", "window_tokens": MAX_TOKENS - 1}
    again = request(corpus, tiny_model, run, **settings, **spelled_out)
    assert open_(again) == (manifest, False)


def test_a_corpus_named_in_another_way_is_the_same(corpus, tiny_model, tmp_path, monkeypatch):
    run = tmp_path / "run"
    manifest = start(request(corpus, tiny_model, run))
    monkeypatch.chdir(tmp_path)
    for name in (Path("corpus"), Path("./corpus/")):
        assert open_(request(name, tiny_model, run)) == (manifest, False)


def test_a_column_named_twice_is_carried_once(corpus, tiny_model, tmp_path):
    run = tmp_path / "run"
    once = request(corpus, tiny_model, run, carry=("source",))
    twice = request(corpus, tiny_model, run, carry=("source", "source"))
    manifest = start(twice)
    assert manifest.carried == ("source",)
    assert manifest.request["carry"] == ["source"]
    assert open_(once) == open_(twice) == (manifest, False)
    # Winnow 0.1.0 recorded both.
    recorded = {"request": manifest.request | {"carry": ["source", "source"]}}
    RunStore(str(run)).write_manifest(manifest.model_copy(update=recorded))
    assert not open_(once)[1]
    assert not open_(twice)[1]


@pytest.mark.parametrize("begun", [("source", "id"), ("source,id",)], ids=["two", "one"])
def test_columns_may_be_named_together_or_one_by_one(corpus, tiny_model, tmp_path, begun):
    run = tmp_path / "run"
    manifest = start(request(corpus, tiny_model, run, carry=begun))
    assert manifest.carried == ("source", "id")
    for asked in (("source", "id"), ("source,id",), ("source,id", "source")):
        assert open_(request(corpus, tiny_model, run, carry=asked)) == (manifest, False)
        fresh = request(corpus, tiny_model, tmp_path / "new", carry=asked, reuse=str(run))
        assert open_(fresh)[0].reuse.reason.endswith("have no scores"), "and nothing else is amiss"
    for other in (("source",), ("source,id,text",)):
        with pytest.raises(RunError, match="holds another run: carry "):
            open_(request(corpus, tiny_model, run, carry=other))


def test_a_column_with_a_comma_in_its_name(corpus, tiny_model, tmp_path):
    run = tmp_path / "run"
    pq.write_table(
        pa.table({"text": ["one"], "a": [1], "b": [2], "a,b": [3]}), corpus / "comma.parquet"
    )
    manifest = start(request(corpus, tiny_model, run, carry=("a,b",)))
    assert manifest.carried == ("a,b",)
    assert open_(request(corpus, tiny_model, run, carry=("a,b",))) == (manifest, False)
    with pytest.raises(RunError, match='holds another run: carry "a,b" -> a,b'):
        open_(request(corpus, tiny_model, run, carry=("a", "b")))


def test_a_corpus_named_twice_is_the_same(corpus, tiny_model, tmp_path):
    run = tmp_path / "run"
    manifest = start(request(corpus, tiny_model, run))
    twice = request(corpus, tiny_model, run).model_copy(update={"corpus": (str(corpus),) * 2})
    assert open_(twice) == (manifest, False)


def test_a_model_moved_elsewhere_is_the_same(corpus, tiny_model, tmp_path):
    run = tmp_path / "run"
    manifest = start(request(corpus, tiny_model, run))
    moved = shutil.copytree(tiny_model, tmp_path / "moved")
    found, is_new = open_(request(corpus, moved, run))
    assert not is_new
    assert found.model.folder == str(moved), "or the engines would look where it was"
    assert found.model_copy(update={"model": manifest.model}) == manifest


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"window_tokens": 100}, "window_tokens 511 -> 100"),
        ({"context_tokens": 7}, "context_tokens 1 -> 7"),
        ({"prefix": "eos"}, "prefix bos -> eos; prefix_token_id 0 -> 1"),
        ({"prefix": "none"}, "prefix bos -> none; prefix_token_id 0 -> not set"),
        ({"dtype": "bfloat16"}, "dtype float32 -> bfloat16"),
        ({"long_documents": "skip"}, "long_documents window -> skip"),
        ({"text_column": "source"}, "text_column text -> source"),
        ({"limit": 5}, "limit not set -> 5"),
        ({"carry": ("source",)}, r"carry \(none\) -> source"),
        ({"id_column": "source"}, "id_column not set -> source"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_another_request_is_refused_naming_what_differs(
    corpus, tiny_model, tmp_path, settings, named
):
    run = tmp_path / "run"
    start(request(corpus, tiny_model, run))
    with pytest.raises(RunError, match=f"(?m){run} holds another run: {named}$") as raised:
        open_(request(corpus, tiny_model, run, **settings))
    assert "choose a new out" in raised.value.hint


def test_all_that_differs_is_named(corpus, tiny_model, tmp_path):
    run = tmp_path / "run"
    start(request(corpus, tiny_model, run, carry=("source",)))
    with pytest.raises(RunError, match="holds another run") as raised:
        open_(request(corpus, tiny_model, run, window_tokens=9, limit=2))
    changes = str(raised.value).partition("another run: ")[2].split("; ")
    assert sorted(changes) == [
        "carry source -> (none)",
        "limit not set -> 2",
        "window_tokens 511 -> 9",
    ]


def test_several_locations_are_one_corpus_in_whatever_order(corpus, tiny_model, tmp_path):
    run = tmp_path / "run"
    files = sorted(str(path) for path in corpus.iterdir())
    assert len(files) > 1
    whole = open_(request(corpus, tiny_model, run))[0]
    several = request(corpus, tiny_model, run).model_copy(update={"corpus": tuple(files)})
    manifest = start(several)
    changed = {"run_id": whole.run_id, "created_at": whole.created_at, "request": whole.request}
    assert manifest.model_copy(update=changed) == whole, "one folder or its files are the same rows"
    assert whole.request["corpus"] == str(corpus)
    assert manifest.request == whole.request | {"corpus": files}
    again = several.model_copy(update={"corpus": tuple(reversed(files))})
    assert open_(again) == (manifest, False)
    with pytest.raises(RunError, match="holds another run: corpus "):
        open_(request(corpus, tiny_model, run))


def test_another_corpus_is_refused(corpus, tiny_model, tmp_path):
    run, other = tmp_path / "run", shutil.copytree(corpus, tmp_path / "other")
    start(request(corpus, tiny_model, run))
    with pytest.raises(RunError, match=f"another run: corpus {corpus} -> {other}"):
        open_(request(other, tiny_model, run))


@pytest.mark.parametrize(
    ("file", "key"),
    [("model.safetensors", "weights"), ("tokenizer.json", "tokenizer")],
    ids=["weights", "tokenizer"],
)
def test_another_model_is_refused(corpus, tiny_model, tmp_path, file, key):
    run, other = tmp_path / "run", shutil.copytree(tiny_model, tmp_path / "other")
    start(request(corpus, tiny_model, run))
    with (other / file).open("ab") as content:
        content.write(b" ")
    # Digests are shortened: 64 digits twice would bury what matters.
    with pytest.raises(
        RunError, match=rf"(?m)another run: {key} [0-9a-f]{{12}}… -> [0-9a-f]{{12}}…$"
    ):
        open_(request(corpus, other, run))


def test_a_manifest_decides_neither_where_the_model_is_nor_that_its_code_runs(
    corpus, tiny_model, tmp_path
):
    config = request(corpus, tiny_model, tmp_path / "run")
    manifest = start(config)
    record = manifest.model.model_copy(update={"folder": "/evil", "trust_remote_code": True})
    RunStore(config.out).write_manifest(manifest.model_copy(update={"model": record}))
    found, is_new = open_(config)
    assert not is_new
    assert found == manifest


# --- a corpus that changed under the run


def test_a_removed_file_is_refused(corpus, tiny_model, tmp_path):
    config = request(corpus, tiny_model, tmp_path / "run")
    start(config)
    (corpus / "a.parquet").unlink()
    with pytest.raises(CorpusError, match=r"changed since this run was planned: a\.parquet is gon"):
        open_(config)


def test_changed_files_are_refused_and_counted(corpus, tiny_model, tmp_path):
    config = request(corpus, tiny_model, tmp_path / "run")
    start(config)
    write_file(corpus / "a.parquet", 99)
    (corpus / "c.parquet").write_bytes(b"")
    with pytest.raises(
        CorpusError, match=r"(?m)a\.parquet has 99 rows, had \d+ \(and 1 more\)$"
    ) as raised:
        open_(config)
    assert raised.value.hint == "choose a new out to score the corpus as it is now"


def test_a_file_added_later_is_not_part_of_the_run(corpus, tiny_model, tmp_path):
    config = request(corpus, tiny_model, tmp_path / "run")
    manifest = start(config)
    write_file(corpus / "new.parquet", 3)
    assert open_(config) == (manifest, False)


def test_a_corpus_of_one_file_goes_on_too(corpus, tiny_model, tmp_path):
    config = request(corpus / "a.parquet", tiny_model, tmp_path / "run")
    manifest = start(config)
    assert [file.path for file in manifest.files] == ["a.parquet"]
    assert open_(config) == (manifest, False)


# --- what cannot be started


def test_unreadable_files_are_recorded(corpus, tiny_model, tmp_path):
    (corpus / "bad.parquet").write_bytes(b"")
    manifest, _ = open_(request(corpus, tiny_model, tmp_path / "run"))
    assert list(manifest.unreadable) == ["bad.parquet"]
    assert manifest.num_rows == 30


def test_strict_stops_before_anything_is_written(corpus, tiny_model, tmp_path):
    for name in ("bad", "worse"):
        (corpus / f"{name}.parquet").write_bytes(b"")
    config = request(corpus, tiny_model, tmp_path / "run", strict=True)
    with pytest.raises(
        CorpusError, match=r"bad\.parquet: not a readable.*\(2 unreadable in all\)"
    ) as raised:
        open_(config)
    assert "leave out strict" in raised.value.hint
    assert not (tmp_path / "run").exists()


def test_strict_stops_at_a_link_that_leads_nowhere(corpus, tiny_model, tmp_path):
    (corpus / "d.parquet").symlink_to(tmp_path / "gone.parquet")
    manifest, _ = open_(request(corpus, tiny_model, tmp_path / "run"))
    assert list(manifest.unreadable) == ["d.parquet"]
    with pytest.raises(CorpusError, match=r"d\.parquet: a broken link to"):
        open_(request(corpus, tiny_model, tmp_path / "run", strict=True))


def test_strict_is_content_with_a_sound_corpus(corpus, tiny_model, tmp_path):
    assert open_(request(corpus, tiny_model, tmp_path / "run", strict=True))[1]


@pytest.mark.parametrize("name", ["thesis.docx", "scores/part-00000.parquet", "data/a.parquet"])
def test_a_folder_that_holds_something_else_is_refused(corpus, tiny_model, tmp_path, name):
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True)
    (run / name).write_text("precious")
    with pytest.raises(RunError, match="is not empty and is not a run directory") as raised:
        open_(request(corpus, tiny_model, run))
    assert raised.value.hint == "choose a new or empty folder for out"
    assert [path for path in run.rglob("*") if path.is_file()] == [run / name]


@pytest.mark.parametrize("name", [None, ".gitkeep", "_LOCK"], ids=["nothing", "hidden", "lock"])
def test_a_folder_that_is_as_good_as_empty_is_taken(corpus, tiny_model, tmp_path, name):
    (tmp_path / "run").mkdir()
    if name:
        (tmp_path / "run" / name).write_text("")
    assert open_(request(corpus, tiny_model, tmp_path / "run"))[1]


def test_a_window_that_does_not_fit_the_model_is_refused(corpus, tiny_model, tmp_path):
    config = request(corpus, tiny_model, tmp_path / "run", window_tokens=MAX_TOKENS)
    with pytest.raises(ModelError, match=f"^window_tokens {MAX_TOKENS} exceeds the maximum of "):
        open_(config)


def test_a_tokenizer_without_bos_or_eos_needs_a_word_on_the_prefix(corpus, tiny_model, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    for file in model.glob("tokenizer*"):
        file.unlink()
    save_tokenizer(model, bos=False, eos=False)
    with pytest.raises(ModelError, match="neither a BOS nor an EOS token"):
        open_(request(corpus, model, tmp_path / "run"))
    manifest, _ = open_(request(corpus, model, tmp_path / "run", prefix="none"))
    assert (manifest.rules.prefix, manifest.rules.prefix_token_id) == ("none", None)


# --- the manifest as it is written


def test_a_manifest_comes_back_as_it_went(corpus, tiny_model, tmp_path):
    config = request(corpus, tiny_model, tmp_path / "run", carry=("source",), shard_tokens=10)
    manifest = start(config)
    again = RunStore(config.out).manifest()
    assert again == manifest
    assert isinstance(again.shards[0].spans[0], Span)
    assert again.arrow_schema() == manifest.arrow_schema()


def test_a_manifest_is_plain_json(corpus, tiny_model, tmp_path):
    manifest = start(request(corpus, tiny_model, tmp_path / "run"))
    content = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert content["num_rows"] == 30
    assert [shard[0] for shard in content["shards"]] == [shard.id for shard in manifest.shards]
    assert list(content) == list(Manifest.model_fields)
