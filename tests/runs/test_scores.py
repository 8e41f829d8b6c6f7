"""The reader of scores: a part is there, whole and of this run, or is refused by its name."""

import re
import zlib
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from pyarrow import fs

from pipeline import build_report, read_scores
from pipeline.comparisons.compare import compare_runs
from pipeline.errors import RunError
from pipeline.filters.config import FilterConfig
from pipeline.filters.filtering import decide
from pipeline.runs import parts as parts_module
from pipeline.runs import scores as scores_module
from pipeline.runs.manifest import Reuse
from pipeline.runs.scores import find_parts, is_complete, read_part, scan_scores
from pipeline.runs.store import RESUME, RunStore
from pipeline.storage.filesystem import remote_root
from pipeline.verification.integrity import check_integrity
from tests.runs.test_store import make_rows
from tests.support.made_runs import row, unscored, write_run
from tests.support.parts import rewrite, write_as_before
from tests.support.plans import SCHEMA, make_manifest

FILES = {
    f"{letter}.parquet": [
        row(3 + i, 2.0 * (3 + i) + place / 7, 20 + i, source=f"s{i % 2}") for i in range(6)
    ]
    + [unscored()]
    for place, letter in enumerate("abc")
}
SECOND = "scores/part-00001.parquet"


@pytest.fixture(params=["now", "0.1.0"])
def form(request, monkeypatch) -> str:
    if request.param == "0.1.0":
        write_as_before(monkeypatch)
    return request.param


@pytest.fixture(params=["local", "object store"])
def store(request, form, tmp_path) -> RunStore:
    """A finished run of three parts, of today and of 0.1.0, on disk and on a store."""
    made = write_run(tmp_path / "run", FILES)
    if request.param == "object store":
        files = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
        made.root = remote_root(files, "run", "s3://run")
    return made


@pytest.fixture
def part(tmp_path, store) -> Path:
    return tmp_path / "run" / SECOND


def scores(store: RunStore, *, partial: bool = False) -> pl.DataFrame:
    return scan_scores(store, store.require_manifest(), partial=partial).collect()


def expected(part: Path) -> pl.DataFrame:
    frame = pl.from_arrow(pq.ParquetDataset(sorted(part.parent.glob("*.parquet"))).read())
    assert isinstance(frame, pl.DataFrame)
    return frame


# Reading


def test_rows_are_pyarrows(store, part):
    lazy = scan_scores(store, store.require_manifest())
    whole = expected(part)
    assert lazy.collect_schema() == whole.schema
    for engine in ("streaming", "in-memory"):
        assert_frame_equal(lazy.collect(engine=engine), whole)
        assert lazy.select(pl.len()).collect(engine=engine).item() == whole.height
        assert_frame_equal(lazy.slice(9, 4).collect(engine=engine), whole.slice(9, 4))
        assert_frame_equal(lazy.head(9).collect(engine=engine), whole.head(9))
        assert_frame_equal(lazy.head(0).collect(engine=engine), whole.head(0))
        loud = pl.col("perplexity") > 8
        assert_frame_equal(
            lazy.filter(loud).select("row", "source").collect(engine=engine),
            whole.filter(loud).select("row", "source"),
        )
        assert_frame_equal(
            lazy.head(9).filter(loud).collect(engine=engine), whole.head(9).filter(loud)
        )
    batches = list(lazy.select("nll").collect_batches(maintain_order=True))
    assert_frame_equal(pl.concat(batches), whole.select("nll"))


def test_some_shards_in_the_order_asked_for(store, part):
    parts = find_parts(store, store.require_manifest())
    assert parts.scan([2, 0]).select("file").unique(maintain_order=True).collect()[
        "file"
    ].to_list() == ["c.parquet", "a.parquet"]
    assert parts.scan([]).collect().height == 0
    assert parts.scan([]).collect_schema() == expected(part).schema


def test_types_are_the_same_on_disk_and_on_a_store(tmp_path):
    """Dictionaries, time zones and nested columns."""
    made = RunStore(str(tmp_path / "run"))
    manifest = make_manifest()
    made.write_manifest(manifest)
    for shard in manifest.shards:
        with made.writing_part(shard.id, SCHEMA) as part:
            part.write(make_rows(*["ok", "null", "ok", "ok", "ok"][: shard.num_rows]))
            part.close(manifest.run_id, shard.id, manifest.fingerprint, 1.0)
    local = find_parts(made, manifest)
    frames = [local.scan().collect(), local._scan_checked([0, 1, 2]).collect()]
    assert_frame_equal(*frames)


def test_parts_of_both_forms_in_one_run(tmp_path, monkeypatch):
    made = write_run(tmp_path / "run", FILES)
    before = scores(made)
    rewrite(tmp_path / "run" / SECOND)
    assert made.footer(1).checksums is None
    assert_frame_equal(scores(made), before)


def test_a_part_is_read_for_its_checksum_once(tmp_path, monkeypatch):
    made = write_run(tmp_path / "run", FILES)
    read = []
    check = parts_module.check_body
    monkeypatch.setattr(
        scores_module, "check_body", lambda path, sums: (read.append(path), check(path, sums))
    )
    scores(made)
    scores(made)
    assert len(read) == len(FILES)
    part = tmp_path / "run" / SECOND
    part.write_bytes(part.read_bytes())  # another time of modification
    scores(made)
    assert len(read) == len(FILES) + 1


def test_the_footer_covers_every_byte(tmp_path):
    write_run(tmp_path / "run", FILES)
    part = tmp_path / "run" / SECOND
    content = part.read_bytes()
    found = RunStore(str(tmp_path / "run")).footer(1).checksums
    length = int.from_bytes(content[-8:-4], "little")
    assert found.body_bytes == len(content) - length - 8
    assert found.body_crc32 == f"{zlib.crc32(content[: found.body_bytes]):08x}"
    blank = content[found.body_bytes :].replace(found.footer_crc32.encode(), b"00000000")
    assert found.footer_crc32 == f"{zlib.crc32(blank):08x}"


def test_a_value_that_looks_like_the_footers_checksum(tmp_path):
    """Statistics of carried columns stand in the footer as they are."""
    trap = '"footer_crc32":"12345678"'
    made = write_run(tmp_path / "run", {trap: [row(5, 5.0, 9, source=trap)] * 3}, dtype=trap)
    assert scores(made)["source"].to_list() == [trap] * 3


# What is missing

READERS = {
    "scores": lambda run: read_scores(run),
    "report": lambda run: build_report(run, text=False),
    "filter": lambda run: decide(FilterConfig(run=str(run), max={"perplexity": 8.0})),
    "filter by another": lambda run: decide(
        FilterConfig(
            run=str(run.parent / "other"),
            minus=str(run),
            metric="difference",
            max={"difference": 1.0},
            force=True,
        )
    ),
    "compare": lambda run: compare_runs([RunStore(str(run.parent / "other")), RunStore(str(run))]),
}


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    # These runs are made up: there is no corpus.
    monkeypatch.setattr("pipeline.filters.filtering.require_planned", lambda root, files: None)
    for name in ("other", "run"):
        write_run(tmp_path / name, FILES)
    return tmp_path / "run"


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_finished_run_that_lost_a_part_is_refused(run, read):
    read(run)
    (run / SECOND).unlink()
    with pytest.raises(RunError, match=re.escape(f"{run}/{SECOND} is missing")) as refused:
        read(run)
    assert refused.value.exit_code == 2
    assert refused.value.hint == f"{RESUME}; or read the parts that exist with partial"


def test_what_there_is_is_marked(run):
    (run / SECOND).unlink()
    rows = len(FILES["a.parquet"]) * 2
    assert read_scores(run, partial=True).collect().height == rows
    report = build_report(run, text=False, partial=True)
    assert (report.complete, report.coverage.num_shards_done) == (False, 2)
    assert report.overall.num_documents == rows
    request = FilterConfig(run=str(run), max={"perplexity": 8.0}, partial=True)
    assert decide(request).record().partial
    comparison = compare_runs(
        [RunStore(str(run.parent / "other")), RunStore(str(run))], partial=True
    )
    assert [one.complete for one in comparison.runs if one.run == str(run)] == [False]
    assert any("is not complete" in note for note in comparison.notes)


def test_the_commands_say_the_same(run, winnow):
    (run / SECOND).unlink()
    for command in (["report", run], ["compare", run.parent / "other", run]):
        code, out, err = winnow(*command)
        assert (code, out) == (2, "")
        assert f"{run}/{SECOND} is missing" in err.replace("\n", "")
        assert err.endswith(f"{RESUME}; or read the parts that exist with --partial\n")
        assert winnow(*command, "--partial")[0] == 0


def test_partial_may_be_said_by_the_environment(run, winnow, monkeypatch):
    (run / SECOND).unlink()
    monkeypatch.setenv("WINNOW_REPORT_PARTIAL", "1")
    assert winnow("report", run)[0] == 0


def test_a_run_with_a_shard_that_was_given_up_is_reported(tmp_path):
    made = write_run(tmp_path / "run", FILES, finished=False)
    (tmp_path / "run" / SECOND).unlink()
    (tmp_path / "run/scores/part-00002.parquet").unlink()
    made.write_failure("00001", {"shard": 1, "reason": "out of memory"})
    message = f"{made.location} is not finished: it has 1 of 3 parts"
    with pytest.raises(RunError, match=re.escape(message)) as refused:
        build_report(made, text=False)
    assert refused.value.hint.startswith("wait for it or, if it was stopped, repeat the")
    made.write_failure("00002", {"shard": 2, "reason": "out of memory"})
    report = build_report(made, text=False)
    assert not report.complete
    assert report.overall.num_documents == len(FILES["a.parquet"])
    assert [failure["shard"] for failure in report.coverage.given_up] == [1, 2]


def test_more_than_one_is_counted(tmp_path):
    made = write_run(tmp_path / "run", FILES)
    for part in (tmp_path / "run/scores").iterdir():
        part.unlink()
    with pytest.raises(RunError, match=r"part-00000\.parquet is missing, and 2 more of 3"):
        scores(made)
    assert scores(made, partial=True).height == 0
    assert not is_complete(made, made.require_manifest())


# What is not as it was written


def damaged(part: Path, store: RunStore, what: str) -> None:
    """Every way to read it names the part, in a line, and says what to type."""
    with pytest.raises(RunError, match=what) as refused:
        scores(store)
    assert refused.value.exit_code == 2
    assert store.root.show(SECOND) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "only that shard is scored again" in refused.value.hint
    checks = {one.name: one for one in check_integrity(store, store.require_manifest())}
    assert not checks["rows"].passed


@pytest.mark.parametrize("length", [0, 3, 7, 100, -1])
def test_a_part_that_was_cut_off(part, store, length):
    part.write_bytes(part.read_bytes()[:length])
    damaged(part, store, "is not a part")


def test_a_folder_in_the_place_of_a_part(part, store):
    part.unlink()
    part.mkdir()
    with pytest.raises(RunError, match=re.escape(f"{SECOND} is a folder, not a file")):
        scores(store)


def test_bytes_put_between_body_and_footer(part, store, form):
    content = part.read_bytes()
    length = int.from_bytes(content[-8:-4], "little") + 8
    part.write_bytes(content[:-length] + b"\0" * 8 + content[-length:])
    if form == "now" and store.root.is_local:
        damaged(part, store, "its length is not the one recorded when it was written")
    else:  # the footer says where each page begins: its values are as they were
        assert scores(store).height == sum(map(len, FILES.values()))


def test_a_flipped_bit_in_a_page(part, store):
    metadata = pq.read_metadata(part)
    column = metadata.row_group(0).column(metadata.schema.names.index("nll"))
    content = bytearray(part.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    part.write_bytes(content)
    damaged(part, store, "is damaged: ")


def test_a_row_too_few(part, store):
    rewrite(part, lambda table: table.slice(1))
    damaged(part, store, "says num_rows = 7, the rows add up to 6")


def test_a_column_too_few(part, store):
    rewrite(part, lambda table: table.drop_columns("source"))
    damaged(part, store, "its columns differ from those in the manifest")


def test_a_footer_that_does_not_add_up_to_the_runs(part, store):
    totals = store.footer(1).totals.model_dump()
    rewrite(part, totals=totals | {"num_bytes": totals["num_bytes"] + 1})
    damaged(part, store, "its footer says num_bytes")


def test_totals_of_the_run_that_do_not_add_up(store):
    success = store.success()
    totals = success.totals.model_copy(update={"num_tokens": 1})
    store.write_success(success.model_copy(update={"totals": totals}))
    with pytest.raises(RunError, match="_SUCCESS says num_tokens = 1, the rows add up to"):
        scores(store)


# What is of another run


def test_a_part_of_another_run(part, store):
    rewrite(part, run_id="another")
    damaged(part, store, "belongs to another run, another; this one is ")


def test_a_part_of_another_fingerprint(part, store):
    fingerprint = store.require_manifest().fingerprint
    rewrite(part, fingerprint={**fingerprint, "window_tokens": 99})
    damaged(part, store, "has another fingerprint: window_tokens 64 -> 99")


def test_a_part_in_the_place_of_another(part, store):
    part.write_bytes((part.parent / "part-00000.parquet").read_bytes())
    damaged(part, store, "has the scores of another shard, 0")


@pytest.mark.parametrize(
    ("run_id", "shard", "message"),
    [
        ("theirs", 4, None),
        ("a third run's", 9, None),  # reused there already
        ("theirs", 3, "has the scores of another shard, 3"),
    ],
)
def test_a_reused_part_is_of_the_shard_that_was_reused(part, store, run_id, shard, message):
    manifest = store.require_manifest()
    reuse = Reuse(run="/elsewhere", run_id="theirs", shards={1: 4})
    store.write_manifest(manifest.model_copy(update={"reuse": reuse}))
    rewrite(part, run_id=run_id, shard=shard)
    if message is None:
        assert scores(store).height == sum(map(len, FILES.values()))
    else:
        damaged(part, store, message)


def test_a_part_by_itself(part, store):
    manifest = store.require_manifest()
    footer, table = read_part(store, manifest, manifest.shards[1])
    assert footer == store.footer(1)
    assert table.equals(pq.read_table(part))
