"""The run directory: a final name means complete content, and damage is told in one line."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline.errors import RunError, UsageError
from pipeline.runs import parts as parts_module
from pipeline.runs.manifest import FORM_VERSION, PartFooter, Success, Totals
from pipeline.runs.parts import FOOTER_KEY
from pipeline.runs.store import RunStore
from pipeline.storage.filesystem import TEMPORARY_PREFIX, remote_root
from tests.support.plans import SCHEMA, make_manifest

FINGERPRINT = {"weights": "abc", "window_tokens": 64, "min_k_percent": 12.5, "prefix": None}
ROW = {
    "file": "a.parquet",
    "doc_id": 7,
    "source": "web",
    "num_chars": 10,
    "num_words": 2,
    "num_scored_bytes": 10,
    "num_scored_words": 2,
    "text_hash": -(1 << 63),
}
SUCCESS = Success(
    run_id="5f" * 16,
    finished_at="2026-01-02T03:04:05+00:00",
    num_shards=3,
    num_unreadable_files=1,
    totals=Totals(num_rows=11, nll=0.1, statuses={"ok": 11}),
    wall_seconds=12.5,
    tokens_per_second=99.5,
)


class Interrupted(BaseException):
    """Like KeyboardInterrupt: not an Exception, and still nothing may be left behind."""


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(str(tmp_path / "run"))


@pytest.fixture
def bucket(tmp_path: Path) -> RunStore:
    """Not a LocalFileSystem to the code under test."""
    for folder in ("run/scores", "run/failed"):
        (tmp_path / folder).mkdir(parents=True)
    store = RunStore(str(tmp_path / "run"))
    store.root = remote_root(
        fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "run", "s3://run"
    )
    return store


@pytest.fixture(params=["local", "object store"])
def any_store(request: pytest.FixtureRequest) -> RunStore:
    return request.getfixturevalue("store" if request.param == "local" else "bucket")


def make_rows(*statuses: str, first_row: int = 0) -> pa.Table:
    """Rows as the scorer makes them; only what is scored has an nll."""
    rows = [
        ROW
        | {
            "row": first_row + i,
            "status": status,
            "num_tokens": 4 if status == "ok" else 0,
            "num_skipped_tokens": 0 if status == "ok" else 3,
            "num_bytes": 10,
            "num_windows": 1 if status == "ok" else 0,
            "nll": 2.5 if status == "ok" else None,
        }
        for i, status in enumerate(statuses)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_part(store: RunStore, shard: int, *tables: pa.Table, seconds: float = 1.0) -> Totals:
    with store.writing_part(shard, SCHEMA) as part:
        for table in tables:
            part.write(table)
        return part.close("r1", shard, FINGERPRINT, seconds)


def read_part(store: RunStore, shard: int) -> pa.Table:
    with store.root.open_input(store.part_name(shard)) as source:
        return pq.read_table(source, page_checksum_verification=True)


def names_on_disk(tmp_path: Path) -> list[str]:
    run = tmp_path / "run"
    return sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())


def put(store: RunStore, name: str, content: bytes = b"") -> None:
    """Write without the store's own means, as another program would."""
    path = Path(store.root.path) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# Parts


def test_a_part_is_read_back_as_it_was_written(any_store):
    tables = [make_rows("ok", "empty"), make_rows("ok", first_row=2)]
    write_part(any_store, 7, *tables)
    found = read_part(any_store, 7)
    assert found.equals(pa.concat_tables(tables))
    # Types exactly as planned: dictionaries, time zones and which columns may be null.
    assert found.schema.equals(SCHEMA)


def test_totals_are_sums_over_all_rows(any_store):
    totals = write_part(
        any_store, 7, make_rows("ok", "null", "ok"), make_rows("ok", "error"), seconds=3.25
    )
    assert totals == Totals(
        num_rows=5,
        num_tokens=12,
        num_skipped_tokens=6,
        num_bytes=50,
        num_windows=3,
        nll=7.5,
        statuses={"error": 1, "null": 1, "ok": 3},
        seconds=3.25,
    )


def test_the_footer_says_what_the_part_is(any_store):
    totals = write_part(any_store, 7, make_rows("ok", "skipped"))
    found = any_store.footer(7)
    assert found == PartFooter(
        run_id="r1",
        fingerprint=FINGERPRINT,
        shard=7,
        totals=totals,
        checksums=found.checksums,
    )
    assert any_store.footer(7).schema_version == FORM_VERSION


@pytest.mark.parametrize(
    "tables", [(), (make_rows(),)], ids=["nothing written", "an empty table written"]
)
def test_a_part_without_rows_is_a_part(store, tables):
    assert write_part(store, 0, *tables) == Totals(seconds=1.0)
    assert store.footer(0).totals.num_rows == 0
    assert read_part(store, 0).schema.equals(SCHEMA)


def test_rows_without_a_score_add_no_nll(store):
    assert write_part(store, 0, make_rows("null", "empty")).nll == 0.0


@pytest.mark.parametrize("limit", ["ROW_GROUP_ROWS", "ROW_GROUP_BYTES"])
def test_a_large_part_is_written_in_row_groups(store, monkeypatch, limit):
    four_rows = make_rows(*["ok"] * 4)
    monkeypatch.setattr(
        parts_module, limit, 8 if limit == "ROW_GROUP_ROWS" else 2 * four_rows.nbytes
    )
    tables = [make_rows(*["ok"] * 4, first_row=first) for first in range(0, 20, 4)]
    write_part(store, 0, *tables)
    with store.root.open_input(store.part_name(0)) as source:
        metadata = pq.read_metadata(source)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [8, 8, 4]
    assert read_part(store, 0)["row"].to_pylist() == list(range(20))


def test_a_part_appears_only_when_it_is_whole(any_store, tmp_path):
    before = names_on_disk(tmp_path) if (tmp_path / "run").exists() else []
    with any_store.writing_part(7, SCHEMA) as part:
        part.write(make_rows("ok"))
        assert any_store.done() == set()
        part.close("r1", 7, FINGERPRINT, 1.0)
        assert any_store.done() == set()
    assert before == []
    assert any_store.done() == {7}
    assert names_on_disk(tmp_path) == ["scores/part-00007.parquet"]


@pytest.mark.parametrize("closed", [False, True], ids=["before the footer", "after the footer"])
@pytest.mark.parametrize("error", [ValueError, Interrupted], ids=lambda error: error.__name__)
def test_an_error_in_the_block_leaves_nothing(any_store, tmp_path, error, closed):
    def fail_while_writing() -> None:
        with any_store.writing_part(7, SCHEMA) as part:
            part.write(make_rows("ok"))
            if closed:
                part.close("r1", 7, FINGERPRINT, 1.0)
            raise error("engine died")

    with pytest.raises(error, match="engine died"):
        fail_while_writing()
    assert names_on_disk(tmp_path) == []


def test_an_error_leaves_an_earlier_part_as_it_was(any_store):
    write_part(any_store, 7, make_rows("ok", "ok"))
    with pytest.raises(ZeroDivisionError), any_store.writing_part(7, SCHEMA):
        _ = 1 // 0
    assert any_store.footer(7).totals.num_rows == 2


def test_a_late_attempt_replaces_a_part_by_an_equal_one(store, tmp_path):
    write_part(store, 7, make_rows("ok"))
    before = read_part(store, 7)
    write_part(store, 7, make_rows("ok"))
    assert read_part(store, 7).equals(before)
    assert names_on_disk(tmp_path) == ["scores/part-00007.parquet"]


def pages(path: Path) -> dict[str, tuple[int, int]]:
    """Begin of the first page and end of the last one, of every column that has values."""
    group = pq.read_metadata(path).row_group(0)
    found = {}
    for column in (group.column(i) for i in range(group.num_columns)):
        if column.num_values and column.statistics and column.statistics.has_min_max:
            begin = column.dictionary_page_offset or column.data_page_offset
            found[column.path_in_schema] = (begin, begin + column.total_compressed_size)
    return found


def test_a_flipped_bit_in_a_page_is_found(store):
    write_part(store, 0, make_rows(*["ok", "null"] * 50))
    path = Path(store.root.full(store.part_name(0)))
    whole = path.read_bytes()
    found = pages(path)
    assert {"row", "status", "nll"} <= found.keys()
    for column, (_, end) in found.items():
        # The last byte of a column is the last one of a page, never of a page's header.
        torn = bytearray(whole)
        torn[end - 1] ^= 1
        path.write_bytes(torn)
        assert store.footer(0)  # the footer is as it was: only reading the page can tell
        with pytest.raises(OSError, match="CRC checksum verification failed"):
            pq.read_table(path, columns=[column], page_checksum_verification=True)


# Which parts are done


def test_done_counts_parts_by_their_number(any_store):
    assert any_store.done() == set()
    for shard in (0, 7, 123456):
        write_part(any_store, shard, make_rows("ok"))
    assert any_store.done() == {0, 7, 123456}


@pytest.mark.parametrize(
    "name",
    [
        f"scores/{TEMPORARY_PREFIX}0123abcd-part-00007.parquet",
        "scores/part-00007.parquet.crc",
        "scores/part-00007.parquet~",
        "scores/part-00007.pq",
        "scores/copy-of-part-00007.parquet",
        "scores/part-x.parquet",
        "scores/part-.parquet",
        "scores/part--0007.parquet",
        "scores/old/part-00007.parquet",
        "scores/_SUCCESS",
        "part-00007.parquet",
        "failed/part-00007.parquet",
    ],
)
def test_done_ignores_what_is_not_a_part(store, name):
    write_part(store, 1, make_rows("ok"))
    put(store, name)
    assert store.done() == {1}


@pytest.mark.parametrize(
    "name",
    ["part-7.parquet", "part-000007.parquet", "part-\u0660\u0660\u0660\u0660\u0667.parquet"],
    ids=["too short", "too long", "other digits"],
)
def test_done_ignores_parts_under_another_name(store, name):
    # No reader would find it: a shard has one name only.
    put(store, f"scores/{name}")
    assert store.done() == set()


def test_a_folder_is_not_a_part(store):
    Path(store.root.full(store.part_name(7))).mkdir(parents=True)
    assert store.done() == set()


# Damaged parts


def cut_off(content: bytes) -> bytes:
    return content[: len(content) // 2]


def garbled(content: bytes) -> bytes:
    at = content.rindex(b'"shard"')
    return content[:at] + b'"sherd"' + content[at + 7 :]


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda _: b"", "is not a part: "),
        (lambda _: b"not Parquet", "is not a part: "),
        (cut_off, "is not a part: "),
        (lambda whole: whole[:-1], "is not a part: "),
        (garbled, "is not a part: the checksum of its footer is wrong"),
    ],
    ids=["empty", "not Parquet", "cut off", "one byte short", "other footer"],
)
def test_a_damaged_part_is_one_clear_error(
    any_store, tmp_path, damage: Callable[[bytes], bytes], what
):
    write_part(any_store, 7, make_rows("ok"))
    path = tmp_path / "run/scores/part-00007.parquet"
    path.write_bytes(damage(path.read_bytes()))
    message = f"{any_store.location}/scores/part-00007.parquet {what}"
    with pytest.raises(RunError, match=re.escape(message)) as raised:
        any_store.footer(7)
    assert "\n" not in str(raised.value)
    assert "only that shard is scored again" in raised.value.hint


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        ({}, "is not a part: "),
        ({FOOTER_KEY: ""}, "is damaged: Invalid JSON"),
        ({FOOTER_KEY: "{}"}, "is damaged: run_id: Field required"),
        ({FOOTER_KEY: '{"shard": 7'}, "is damaged: Invalid JSON"),
    ],
    ids=["none", "empty", "no keys", "torn"],
)
def test_parquet_of_another_program_is_not_a_part(store, metadata, what):
    put(store, store.part_name(7))
    table = pa.table({"x": [1]}).replace_schema_metadata(metadata)
    pq.write_table(table, store.root.full(store.part_name(7)))
    with pytest.raises(RunError, match=re.escape(f"part-00007.parquet {what}")):
        store.footer(7)


def test_a_part_that_is_missing_is_not_a_part(any_store):
    with pytest.raises(RunError, match=re.escape("part-00007.parquet is not a part: ")):
        any_store.footer(7)


# The manifest


def test_the_manifest_is_read_back(any_store):
    assert any_store.manifest() is None
    any_store.write_manifest(make_manifest())
    assert any_store.manifest() == make_manifest()
    assert any_store.require_manifest() == make_manifest()


def test_a_folder_without_a_manifest_is_not_a_run(any_store):
    message = f"{any_store.location} is not a run directory: it has no manifest.json"
    with pytest.raises(RunError, match=re.escape(message)) as raised:
        any_store.require_manifest()
    assert "the output folder of a scoring run" in raised.value.hint


def test_a_misspelt_run_names_the_one_beside_it(tmp_path):
    nights = tmp_path / "nightly"
    for night in ("2026-11-24", "2026-11-25"):
        RunStore(str(nights / night)).write_manifest(make_manifest())
    with pytest.raises(RunError, match="is not a run directory") as raised:
        RunStore(str(nights / "2026-11-52")).require_manifest()
    assert raised.value.hint == f"did you mean {nights}/2026-11-25?"


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", cut_off, lambda _: b"\xff\xfe", lambda _: b"not JSON", lambda _: b"[" * 10**6],
    ids=["empty", "cut off", "not UTF-8", "not JSON", "brackets without end"],
)
def test_a_damaged_manifest_is_one_clear_error(any_store, damage: Callable[[bytes], bytes]):
    content = make_manifest().to_json().encode()
    any_store.root.write_bytes("manifest.json", damage(content))
    message = f"{any_store.location}/manifest.json is damaged: "
    with pytest.raises(RunError, match=re.escape(message)) as raised:
        any_store.manifest()
    assert "\n" not in str(raised.value)
    assert "out" in raised.value.settings


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("num_rows",), "many", "num_rows: Input should be a valid integer"),
        (("files",), None, "files: Input should be a valid"),
        (("files", 1, "path"), 3, "files.1.path: Input should be a valid string"),
        (("part_schema",), "AAAA", "part_schema: Value error, is not an Arrow schema"),
        (("shards", 1, 0), 7, "shards: Value error, shard 1 refers to files that are not listed"),
        (
            ("shards", 1, 1, 0, 0),
            2,
            "shards: Value error, shard 1 refers to files that are not listed",
        ),
        (("num_rows",), -1, "num_rows: Input should be greater than or equal to 0"),
        (("text_bytes",), 10**400, "text_bytes: Input should be less than"),
    ],
    ids=[
        "wrong type",
        "null",
        "deep inside",
        "no schema",
        "another shard",
        "of no file",
        "negative",
        "huge",
    ],
)
def test_a_manifest_that_does_not_fit_names_the_key(store, path, value, message):
    content = json.loads(make_manifest().to_json())
    table = content
    for step in path[:-1]:
        table = table[step]
    table[path[-1]] = value
    put(store, "manifest.json", json.dumps(content).encode())
    with pytest.raises(RunError, match=re.escape(f"manifest.json is damaged: {message}")):
        store.manifest()


@pytest.mark.parametrize(
    ("version", "age"),
    [(999, "a newer"), (FORM_VERSION + 1, "a newer"), (FORM_VERSION - 1, "an older")],
)
def test_a_manifest_of_another_version_is_refused(store, version, age):
    put(store, "manifest.json", json.dumps({"schema_version": version}).encode())
    message = (
        f"{store.location}/manifest.json was written by {age} Winnow, in format {version}; "
        f"this one reads {FORM_VERSION}"
    )
    with pytest.raises(RunError, match=re.escape(message)) as raised:
        store.manifest()
    assert "use the Winnow that wrote it, or else score into a new out" in raised.value.hint


@pytest.mark.parametrize("use", ["manifest", "require_manifest", "check_free", "success"])
def test_a_file_in_place_of_the_folder_is_a_mistake_of_the_request(tmp_path, use):
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(UsageError, match=re.escape(str(tmp_path / "run"))):
        getattr(RunStore(str(tmp_path / "run")), use)()


# Whether a folder is free


@pytest.mark.parametrize("location", ["", "mock:///"], ids=["local", "object store"])
def test_a_folder_that_is_missing_is_free(tmp_path, location):
    RunStore(f"{location or tmp_path}/run").check_free()


def test_a_folder_that_is_empty_is_free(tmp_path):
    RunStore(str(tmp_path)).check_free()


@pytest.mark.parametrize("name", [".DS_Store", ".cache/x", "_LOCK"])
def test_hidden_files_and_the_lock_do_not_matter(store, name):
    put(store, name)
    store.check_free()


@pytest.mark.parametrize("name", ["notes.txt", "data.parquet", "manifest.json.bak"])
def test_a_folder_with_other_files_is_not_free(store, name):
    put(store, name)
    message = f"{store.location} is not empty and is not a run directory ({name} is in it)"
    with pytest.raises(RunError, match=re.escape(message)) as raised:
        store.check_free()
    assert "choose a new or empty folder for out" in raised.value.hint


@pytest.mark.parametrize(
    "name",
    ["scores/part-00000.parquet", "failed/00000.json", "_SUCCESS", "data/train/a.parquet"],
)
def test_what_is_left_of_another_run_is_not_free(store, name):
    # Its parts would be counted as done, its _SUCCESS as the end of a run that never began.
    put(store, name)
    with pytest.raises(RunError, match="is not empty and is not a run directory"):
        store.check_free()


# Failures


def test_failures_are_written_listed_in_order_and_cleared(any_store):
    assert any_store.failures() == []
    any_store.write_failure("00007", {"shard": 7, "reason": "é\ntwo lines"})
    any_store.write_failure("00002", {"shard": 2, "reason": "died", "attempts": 3})
    any_store.write_failure("file-00000", {"file": "torn.parquet", "reason": "no Parquet"})
    assert any_store.failures() == [
        {"shard": 2, "reason": "died", "attempts": 3},
        {"shard": 7, "reason": "é\ntwo lines"},
        {"file": "torn.parquet", "reason": "no Parquet"},
    ]
    any_store.clear_failure("00002")
    any_store.clear_failure("00002")  # a shard that never failed is cleared too
    assert [record.get("shard") for record in any_store.failures()] == [7, None]


def test_clearing_asks_the_file_system_only_of_failures_that_there_are(any_store, monkeypatch):
    earlier = RunStore(any_store.location) if any_store.root.is_local else any_store
    earlier.write_failure("00001", {"shard": 1, "reason": "died"})
    removed = []
    remove = type(any_store.root).remove
    monkeypatch.setattr(
        type(any_store.root),
        "remove",
        lambda root, name: (removed.append(name), remove(root, name)),
    )
    any_store.clear_failure("00000")
    any_store.clear_failure("00001")
    any_store.write_failure("00002", {"shard": 2, "reason": "died"})
    any_store.clear_failure("00002")
    any_store.clear_failure("00002")
    assert removed == ["failed/00001.json", "failed/00002.json"]
    assert any_store.failures() == []


def test_a_failure_replaces_an_earlier_one(store):
    store.write_failure("00007", {"reason": "died", "attempts": 3})
    store.write_failure("00007", {"reason": "died", "attempts": 6})
    assert store.failures() == [{"reason": "died", "attempts": 6}]


@pytest.mark.parametrize(
    "name", [f"{TEMPORARY_PREFIX}0123abcd-00007.json", "notes.txt"], ids=["temporary", "foreign"]
)
def test_failures_are_read_from_final_names_only(store, name):
    # A killed driver leaves the temporary file of the record that it was writing.
    store.write_failure("00002", {"shard": 2, "reason": "died"})
    put(store, f"failed/{name}", b'{"shard": 7')
    assert store.failures() == [{"shard": 2, "reason": "died"}]


@pytest.mark.parametrize("content", [b'{"shard": 7', b"[]", b"{}", b'{"reason": []}', b"[" * 10**6])
def test_a_damaged_failure_is_one_clear_error(store, content):
    put(store, "failed/00007.json", content)
    with pytest.raises(RunError, match=re.escape("failed/00007.json is damaged")):
        store.failures()


# _SUCCESS


def test_success_is_read_back(any_store):
    assert any_store.success() is None
    any_store.write_success(SUCCESS)
    assert any_store.success() == SUCCESS


@pytest.mark.parametrize(
    "content",
    [b"", b'{"run_id": "5f', b"[]", b"{}", b"\xff", b'{"surprise": 1}'],
    ids=["empty", "cut off", "a list", "no keys", "not UTF-8", "unknown key alone"],
)
def test_a_damaged_success_is_one_clear_error(any_store, content):
    any_store.root.write_bytes("_SUCCESS", content)
    with pytest.raises(RunError, match=re.escape("_SUCCESS is damaged")) as raised:
        any_store.success()
    assert str(raised.value).startswith(f"{any_store.location}/_SUCCESS is damaged: ")
    assert "\n" not in str(raised.value)
    assert "nothing is scored again" in raised.value.hint


def test_a_folder_beside_a_run_names_the_run(tmp_path):
    """What a person types who has seen `scores/`, or has only the folder of all runs."""
    runs = tmp_path / "runs"
    for name in ("first", "second"):
        made = RunStore(str(runs / name))
        made.write_manifest(make_manifest())
        (runs / name / "scores").mkdir()
        (runs / name / "scores/part-00000.parquet").touch()
    (tmp_path / "empty").mkdir()
    first = runs / "first"
    hints = {
        first / "scores": f"did you mean {first}?",
        first / "scores/part-00000.parquet": f"did you mean {first}?",
        first / "manifest.json": f"did you mean {first}?",
        runs: f"give the output folder of a scoring run, as {first}, {runs / 'second'}",
        tmp_path / "empty": "give the output folder of a scoring run",
    }
    for place, hint in hints.items():
        with pytest.raises(RunError) as refused:
            RunStore(str(place)).require_manifest()
        assert refused.value.hint == hint
