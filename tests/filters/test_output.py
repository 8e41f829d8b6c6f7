"""filtering.py, output.py, rewriting.py: a corpus in, a smaller one out, row for row."""

import json
import os
import shutil
import threading
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pipeline.filters.output as filter_output
from pipeline.errors import ConfigError, CorpusError, RunError, UsageError, WinnowError
from pipeline.filters.config import load_filter_config
from pipeline.filters.filtering import decide
from pipeline.filters.output import FilterWriter
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import FILTER_PLAN, FILTER_RECORD, RunStore
from tests.support.parts import rewrite
from tests.support.runs import score_corpus

TEXTS = ["a", "bb bb", None, "some more text", "", "é 😀", "zzzz", "the end", "q" * 40, "x y z"]


def write_corpus(folder: Path) -> Path:
    """Three files in two folders, with types that are easily lost."""
    corpus = folder / "corpus"
    for number, (name, copies, codec) in enumerate(
        [("a.parquet", 3, "snappy"), ("deep/b.parquet", 2, "zstd"), ("deep/c.parquet", 1, "none")]
    ):
        texts = TEXTS * copies
        size = len(texts)
        ids = [f"{number}-{index}" for index in range(size)]
        fields = [
            pa.field("key", pa.string(), nullable=False, metadata={b"about": b"an id"}),
            pa.field("text", pa.large_string()),
            pa.field("lang", pa.dictionary(pa.int32(), pa.string())),
            pa.field("at", pa.timestamp("ms", tz="Europe/Berlin")),
            pa.field("price", pa.decimal128(9, 2)),
            pa.field("tags", pa.list_(pa.struct([("name", pa.string()), ("n", pa.int8())]))),
            pa.field("pairs", pa.map_(pa.string(), pa.float32())),
        ]
        columns = [
            ids,
            texts,
            pa.array(["en", "de", None][i % 3] for i in range(size)).dictionary_encode(),
            list(range(size)),
            [None if i % 4 == 0 else i for i in range(size)],
            [[{"name": "t", "n": i % 5}] * (i % 3) for i in range(size)],
            [[("k", i / 2)] for i in range(size)],
        ]
        arrays = [
            pa.array(column, field.type) if isinstance(column, list) else column.cast(field.type)
            for column, field in zip(columns, fields, strict=True)
        ]
        table = pa.table(arrays, schema=pa.schema(fields, metadata={b"owner": b"us"}))
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, corpus / name, row_group_size=7, compression=codec)
    return corpus


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filter")
    corpus = write_corpus(folder)
    score_corpus(corpus, folder / "run", tiny_model, carry=("lang", "tags"), id_column="key")
    return folder


def run_filter(made: Path, out: Path, **options):
    config = load_filter_config(None, {"run": str(made / "run"), "out": str(out), **options})
    return FilterWriter(decide(config), str(out)).write()


def names(folder: Path) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))
    return sorted(found)


def read(folder: Path, name: str) -> pa.Table:
    return pq.read_table(folder / name, partitioning=None)


def ids(folder: Path, name: str) -> list[str]:
    return read(folder, name)["key"].to_pylist()


FILES = ["a.parquet", "deep/b.parquet", "deep/c.parquet"]
RULES = st.one_of(
    st.floats(3, 6).map(lambda value: {"max": [f"perplexity={value}"]}),
    st.tuples(st.integers(0, 100), st.integers(0, 100)).map(
        lambda pair: {"percentile": "{}:{}".format(*sorted(pair)), "within": "lang"}
    ),
    st.lists(st.sampled_from(["head", "middle", "tail"]), min_size=1, unique=True).map(
        lambda names: {"buckets": ",".join(names)}
    ),
    st.integers(1, 900).map(lambda tokens: {"budget_tokens": tokens, "prefer": "middle"}),
    st.integers(0, 9).map(lambda seed: {"sample_toward": "5,0.3", "seed": seed}),
)


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(RULES, st.sampled_from(["keep", "drop"]))
def test_every_row_is_kept_or_rejected_once_and_in_order(made, tmp_path, rules, unscored):
    shutil.rmtree(tmp_path, ignore_errors=True)
    out, rest = tmp_path / "out", tmp_path / "rest"
    run_filter(made, out, rejects=str(rest), unscored=unscored, force=True, **rules)
    assert names(out) == names(rest) == FILES
    store = RunStore(str(made / "run"))
    scores = scan_scores(store, store.require_manifest())
    config = load_filter_config(
        None, {"run": str(made / "run"), "unscored": unscored, "force": True, **rules}
    )
    decided = decide(config).selection.decide(scores).collect()
    for name in FILES:
        original = read(made / "corpus", name)
        keep = pa.array(decided.filter(pl.col("file") == name)["keep"].to_list())
        own = original.schema.names
        assert read(out, name).select(own).equals(original.filter(keep))
        assert read(rest, name).select(own).equals(original.filter(pa.compute.invert(keep)))


def test_the_files_are_as_they_were_but_for_the_rows(made, tmp_path):
    run_filter(made, tmp_path / "out", percentile="20:80")
    for name in FILES:
        before = pq.read_metadata(made / "corpus" / name)
        after = pq.read_metadata(tmp_path / "out" / name)
        schemas = [m.schema.to_arrow_schema() for m in (before, after)]
        assert schemas[1].equals(schemas[0], check_metadata=True)
        others = [
            {k: v for k, v in m.metadata.items() if k != b"ARROW:schema"} for m in (before, after)
        ]
        assert others[1] == others[0]
        for at in range(before.num_columns):
            columns = [m.row_group(0).column(at) for m in (before, after)]
            assert columns[1].compression == columns[0].compression
            assert columns[1].physical_type == columns[0].physical_type
        sizes = [after.row_group(i).num_rows for i in range(after.num_row_groups)]
        assert all(size == 7 for size in sizes[:-1])
        assert sizes[-1] <= 7


def test_added_columns_are_the_runs(made, tmp_path):
    run_filter(
        made, tmp_path / "out", buckets="head,middle,tail", add_columns=True, unscored="keep"
    )
    store = RunStore(str(made / "run"))
    scores = scan_scores(store, store.require_manifest()).collect()
    for name in FILES:
        got = pl.from_arrow(read(tmp_path / "out", name))
        own = scores.filter(pl.col("file") == name)
        shared = [column for column in own.columns if column not in ("file", "row", "doc_id")]
        added = [column for column in shared if column not in ("lang", "tags")]
        assert got.columns == [*read(made / "corpus", name).column_names, *added, "bucket"]
        assert got.select(added).equals(own.select(added))
        assert got["key"].to_list() == own["doc_id"].to_list()
        scored = got.filter(pl.col("nll").is_not_null())
        assert set(scored["bucket"]) == {"head", "middle", "tail"}
        assert got.filter(pl.col("nll").is_null())["bucket"].null_count() == len(got) - len(scored)


def test_bucket_folders(made, tmp_path):
    out, column = tmp_path / "out", tmp_path / "column"
    run_filter(made, out, buckets="head,tail", bucket_folders=True, unscored="keep")
    run_filter(made, column, buckets="head,tail", unscored="keep")
    for name in FILES:
        named = pl.from_arrow(read(column, name))
        for folder, bucket in (("head", "head"), ("tail", "tail"), ("unscored", None)):
            rows = named.filter(pl.col("bucket").eq_missing(pl.lit(bucket)))
            assert ids(out / folder, name) == rows["key"].to_list()
        assert read(out / "head", name).schema.equals(read(made / "corpus", name).schema)


def test_add_columns_refuses_a_collision(tiny_model, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    pq.write_table(pa.table({"text": ["a", "bcd"], "nll": [1, 2]}), corpus / "x.parquet")
    score_corpus(corpus, tmp_path / "run", tiny_model)
    with pytest.raises(ConfigError, match=r"x\.parquet has a column 'nll' already"):
        run_filter(tmp_path, tmp_path / "out", max=["perplexity=5"], add_columns=True, force=True)
    assert not (tmp_path / "out").exists()


def test_the_record(made, tmp_path):
    record = run_filter(made, tmp_path / "out", percentile="20:80", within="lang", seed=3)
    written = json.loads((tmp_path / "out" / FILTER_RECORD).read_text())
    assert written == json.loads(record.model_dump_json())
    manifest = RunStore(str(made / "run")).require_manifest()
    assert written["run_id"] == manifest.run_id
    assert written["fingerprint"] == manifest.fingerprint
    assert written["rules"]["seed"] == 3
    assert {cutoff["group"] for cutoff in written["cutoffs"]} == {"de", "en", None}
    assert written["before"]["documents"] == 60
    assert written["unscored"] == {"empty": 6, "null": 6}
    kept = sum(len(ids(tmp_path / "out", name)) for name in FILES)
    assert written["after"]["documents"] == kept
    values = pl.concat(
        [pl.from_arrow(read(tmp_path / "out", name)).select("key") for name in FILES]
    )
    store = RunStore(str(made / "run"))
    scores = (
        scan_scores(store, manifest)
        .collect()
        .filter(pl.col("doc_id").is_in(values["key"].to_list()))
    )
    for cutoff in written["cutoffs"]:
        own = scores.filter(pl.col("lang").cast(pl.String).eq_missing(pl.lit(cutoff["group"])))
        assert (own["perplexity"].min(), own["perplexity"].max()) == (cutoff["low"], cutoff["high"])


def inodes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_ino for name in names(folder)}


def test_a_rerun_writes_only_what_is_missing(made, tmp_path):
    out, rest = tmp_path / "out", tmp_path / "rest"
    options = {"percentile": "20:80", "rejects": str(rest)}
    run_filter(made, out, **options)
    before, done = inodes(out), (out / FILTER_RECORD).stat().st_ino
    run_filter(made, out, **options)
    assert (inodes(out), (out / FILTER_RECORD).stat().st_ino) == (before, done)
    # As a killed process leaves it: one file missing, one torn, one half-written, no marker.
    (out / FILTER_RECORD).unlink()
    (rest / "a.parquet").unlink()
    torn = out / "deep/b.parquet"
    content = torn.read_bytes()
    torn.write_bytes(content[:50])
    (out / "deep" / ".tmp-1-c.parquet").write_bytes(b"PAR1")
    run_filter(made, out, **options)
    assert (out / FILTER_RECORD).exists()
    assert torn.read_bytes() == content
    assert not list(out.rglob(".tmp-*"))
    after = inodes(out)
    assert after["deep/c.parquet"] == before["deep/c.parquet"]
    for name in FILES:
        both = {*ids(out, name), *ids(rest, name)}
        assert both == set(ids(made / "corpus", name))


def test_another_rule_into_the_same_folder_is_refused(made, tmp_path):
    run_filter(made, tmp_path / "out", max=["perplexity=5"])
    with pytest.raises(RunError, match=r"another filter: max perplexity 5\.0 -> 4\.9"):
        run_filter(made, tmp_path / "out", max=["perplexity=4.9"])
    with pytest.raises(RunError, match="rejects not set -> "):
        run_filter(made, tmp_path / "out", max=["perplexity=5"], rejects=str(tmp_path / "r"))


def test_folders_that_may_not_be_written(made, tmp_path):
    rules = {"percentile": "20:80"}
    corpus = made / "corpus"
    link = tmp_path / "link"
    link.symlink_to(corpus)
    for out in (corpus, corpus / "deep", corpus / "new", link / "new"):
        with pytest.raises(UsageError, match="the corpus"):
            run_filter(made, out, **rules)
        with pytest.raises(UsageError, match=r"^rejects "):
            run_filter(made, tmp_path / "fine", rejects=str(out), **rules)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match=r"is not empty \(mine\.txt is in it\)"):
        run_filter(made, tmp_path / "full", **rules)
    with pytest.raises(UsageError, match="one is inside the other"):
        run_filter(made, tmp_path / "o", rejects=str(tmp_path / "o" / "r"), **rules)
    with pytest.raises(UsageError, match="is a file"):
        run_filter(made, tmp_path / "full" / "mine.txt", **rules)
    assert not (tmp_path / "fine").exists()
    assert names(corpus) == FILES


def test_a_folder_that_only_begins_like_the_corpus_is_fine(made, tmp_path):
    out = made / "corpus-filtered"
    run_filter(made, out, percentile="20:80")
    assert names(out) == FILES
    shutil.rmtree(out)


BAD = {
    "metric": ({"max": ["perplexty=3"]}, "no metric 'perplexty'", "did you mean 'perplexity'"),
    "hash": ({"max": ["text_hash=3"]}, "no metric 'text_hash'", "known|did you"),
    "text": ({"max": ["lang=3"]}, "no metric 'lang'", "known|did you"),
    "difference": ({"max": ["difference=3"]}, "no metric 'difference'", "minus RUN_B"),
    "within": (
        {"percentile": "1:9", "within": "lng"},
        r"no carried column 'lng' \(within\)",
        "did you mean 'lang'",
    ),
    "nested": ({"percentile": "1:9", "within": "tags"}, "lists or structs", ""),
    "nothing": ({"max": ["perplexity=0"]}, "keep none of the 48 scored", "force"),
}


@pytest.mark.parametrize(("rules", "message", "hint"), BAD.values(), ids=BAD)
def test_refused_before_anything_is_written(made, tmp_path, rules, message, hint):
    with pytest.raises(ConfigError, match=message) as raised:
        run_filter(made, tmp_path / "out", **rules)
    assert hint.split("|")[0] in (raised.value.hint or "") or "did you" in str(raised.value.hint)
    assert not (tmp_path / "out").exists()


def test_keeping_everything_is_a_result(made, tmp_path):
    """A night without anything to drop ends as any other, and says so."""
    record = run_filter(made, tmp_path / "out", min=["perplexity=0"])
    assert record.keeps_everything
    assert record.after.documents == 48
    assert json.loads((tmp_path / "out" / FILTER_RECORD).read_text())["keeps_everything"] is True
    assert sum(pq.read_metadata(tmp_path / "out" / name).num_rows for name in FILES) == 48
    assert not run_filter(made, tmp_path / "less", percentile="20:80").keeps_everything


def test_keeping_nothing_takes_force(made, tmp_path):
    record = run_filter(made, tmp_path / "out", max=["perplexity=0"], force=True)
    assert record.after.documents == 0
    assert not record.keeps_everything


@pytest.fixture
def copied(made, tmp_path) -> Path:
    """The corpus and its run, to be damaged."""
    shutil.copytree(made / "run", tmp_path / "made" / "run")
    shutil.copytree(made / "corpus", tmp_path / "made" / "corpus")
    manifest = tmp_path / "made" / "run" / "manifest.json"
    content = manifest.read_text().replace(str(made), str(tmp_path / "made"))
    manifest.write_text(content)
    return tmp_path / "made"


def test_a_file_that_is_gone_is_named_and_a_touched_one_is_not(copied, tmp_path):
    os.utime(copied / "corpus" / "a.parquet")
    (copied / "corpus" / "deep" / "c.parquet").unlink()
    with pytest.raises(
        CorpusError, match=r"(?m)/deep/c\.parquet is no longer in the corpus$"
    ) as raised:
        run_filter(copied, tmp_path / "out", percentile="20:80")
    assert "corpus" in raised.value.settings
    assert not (tmp_path / "out").exists()


def test_an_unfinished_run_counts_what_it_lacks(copied, tmp_path):
    (copied / "run" / "_SUCCESS").unlink()
    (copied / "run" / "scores" / "part-00001.parquet").unlink()
    with pytest.raises(RunError, match="is not finished"):
        run_filter(copied, tmp_path / "out", percentile="20:80")
    store = RunStore(str(copied / "run"))
    shard = store.require_manifest().shards[1]
    record = run_filter(
        copied, tmp_path / "out", percentile="0:100", partial=True, unscored="keep", force=True
    )
    assert record.partial
    assert record.unscored["unseen"] == shard.num_rows
    assert record.before.documents == record.after.documents == 60
    for name in FILES:
        assert ids(tmp_path / "out", name) == ids(copied / "corpus", name)
    dropped = run_filter(
        copied,
        tmp_path / "less",
        rejects=str(tmp_path / "rest"),
        percentile="0:100",
        partial=True,
        force=True,
    )
    assert dropped.after.documents == 60 - sum(dropped.unscored.values())
    for name in FILES:
        both = ids(tmp_path / "less", name) + ids(tmp_path / "rest", name)
        assert sorted(both) == sorted(ids(copied / "corpus", name))


def test_a_limited_run_leaves_the_rest_unseen(made, tiny_model, tmp_path):
    score_corpus(made / "corpus", tmp_path / "run", tiny_model, limit=32)
    record = run_filter(tmp_path, tmp_path / "out", percentile="0:100", force=True)
    assert record.unscored["unseen"] == 28
    assert names(tmp_path / "out") == FILES
    assert ids(tmp_path / "out", "deep/c.parquet") == []


def test_a_damaged_file_is_named_and_the_others_are_written(copied, tmp_path):
    file = copied / "corpus" / "deep" / "b.parquet"
    info = file.stat()
    content = bytearray(file.read_bytes())
    content[4:40] = b"\xff" * 36
    file.write_bytes(content)
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    with pytest.raises(
        WinnowError, match=r"deep/b\.parquet cannot be rewritten.*the output is incomplete"
    ):
        run_filter(copied, tmp_path / "out", percentile="20:80")
    assert names(tmp_path / "out") == ["a.parquet", "deep/c.parquet"]
    assert (tmp_path / "out" / FILTER_PLAN).exists()
    assert not (tmp_path / "out" / FILTER_RECORD).exists()


def test_scores_out_of_order_are_refused(copied, tmp_path):
    part = copied / "run" / "scores" / "part-00000.parquet"
    rewrite(part, lambda table: table.take(list(reversed(range(table.num_rows)))))
    with pytest.raises(RunError, match="does not have the input rows in order"):
        run_filter(copied, tmp_path / "out", percentile="20:80")


def test_stopping_leaves_no_half_file(made, tmp_path, monkeypatch):
    original = filter_output.rewrite_file

    def stop(*arguments):
        arguments[-1].set()
        return original(*arguments)

    monkeypatch.setattr(filter_output, "rewrite_file", stop)
    with pytest.raises(WinnowError, match="stopped"):
        run_filter(made, tmp_path / "out", percentile="20:80")
    assert names(tmp_path / "out") == []
    assert not list((tmp_path / "out").rglob(".tmp-*"))
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
    monkeypatch.undo()
    run_filter(made, tmp_path / "out", percentile="20:80")
    assert names(tmp_path / "out") == FILES
