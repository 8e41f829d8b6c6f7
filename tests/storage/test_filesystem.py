"""One layer under local paths and URIs: writes that are whole or absent, names that stay inside."""

import os
import re
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline.errors import UsageError
from pipeline.storage.filesystem import TEMPORARY_PREFIX, Root, open_root, remote_root

ODD_NAMES = {
    "space": "a b.parquet",
    "percent": "a%20b.parquet",
    "unicode": "naïve 😀.parquet",
    "URI characters": "a#b?c&d=e.parquet",
    "line break": "a\nb.parquet",
    "dots at the ends": "..a..",
    "dash": "-rf",
    "long": "x" * 200,
    "folders": "a/b/c",
}


class Interrupted(BaseException):
    """Like KeyboardInterrupt: not an Exception, and still nothing may be left behind."""


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path))


@pytest.fixture
def bucket(tmp_path: Path) -> Root:
    """Not a LocalFileSystem to the code under test, though a test can look at what it holds."""
    (tmp_path / "bucket").mkdir()
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    return remote_root(store, "bucket", "s3://bucket")


@pytest.fixture(params=["local", "object store"])
def any_root(request: pytest.FixtureRequest) -> Root:
    return request.getfixturevalue("root" if request.param == "local" else "bucket")


def names_on_disk(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Writing


def test_what_was_written_is_read_back(any_root):
    any_root.write_bytes("a.json", b"\x00content\n")
    assert any_root.read_bytes("a.json") == b"\x00content\n"
    with any_root.open_input("a.json") as file:
        file.seek(1)
        assert file.read(7) == b"content"


def test_a_write_replaces_what_was_there(any_root):
    any_root.write_bytes("a", b"old and longer")
    any_root.write_bytes("a", b"new")
    assert any_root.read_bytes("a") == b"new"
    assert list(any_root.files()) == ["a"]


def test_nothing_has_the_name_before_the_block_ends(any_root):
    with any_root.writing("part") as sink:
        sink.write(b"x" * (1 << 20))
        assert not any_root.exists("part")
    assert any_root.exists("part")


def test_the_old_content_stays_until_the_block_ends(any_root):
    any_root.write_bytes("part", b"old")
    with any_root.writing("part") as sink:
        sink.write(b"new")
        assert any_root.read_bytes("part") == b"old"
    assert any_root.read_bytes("part") == b"new"


@pytest.mark.parametrize("error", [ValueError, Interrupted], ids=lambda error: error.__name__)
def test_an_error_in_the_block_leaves_nothing(any_root, tmp_path, error):
    def fail_while_writing() -> None:
        with any_root.writing("part") as sink:
            sink.write(b"half")
            raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        fail_while_writing()
    assert names_on_disk(tmp_path) == []


def test_an_error_in_the_block_leaves_the_old_content(any_root, tmp_path):
    any_root.write_bytes("part", b"old")
    with pytest.raises(ZeroDivisionError), any_root.writing("part") as sink:
        sink.write(b"new %d" % (1 // 0))
    assert any_root.read_bytes("part") == b"old"
    assert len(names_on_disk(tmp_path)) == 1


def test_a_rename_that_fails_leaves_nothing(root, tmp_path):
    (tmp_path / "part").mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(IsADirectoryError) as caught:
        root.write_bytes("part", b"content")
    assert caught.value.filename == str(tmp_path / "part"), "not the temporary name"
    assert names_on_disk(tmp_path) == []


def test_the_temporary_name_is_in_the_same_folder(root, tmp_path):
    # A rename is atomic only within one file system, and a folder may be a mount of its own.
    with root.writing("scores/part-0"):
        (temporary,) = (tmp_path / "scores").iterdir()
        assert temporary.name.startswith(TEMPORARY_PREFIX)
        assert names_on_disk(tmp_path) == [f"scores/{temporary.name}"]
    assert names_on_disk(tmp_path) == ["scores/part-0"]


def test_two_writers_of_one_name_do_not_share_a_temporary_file(root, tmp_path):
    with root.writing("part") as first, root.writing("part") as second:
        first.write(b"first")
        second.write(b"second")
        assert len(names_on_disk(tmp_path)) == 2
    # The one that ended last, whole.
    assert root.read_bytes("part") == b"first"
    assert names_on_disk(tmp_path) == ["part"]


def test_content_and_name_are_both_synced_to_disk(root, tmp_path, monkeypatch):
    synced = []

    def record(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append(("folder" if is_folder else "file", (tmp_path / "part").exists()))

    monkeypatch.setattr(os, "fsync", record)
    root.write_bytes("part", b"content")
    # First the file, before it has its name; then the folder, once it has.
    assert synced == [("file", False), ("folder", True)]


def test_an_object_store_has_no_temporary_file(bucket, tmp_path):
    with bucket.writing("part") as sink:
        sink.write(b"content")
        assert names_on_disk(tmp_path) == []
    assert names_on_disk(tmp_path) == ["bucket/part"]


def test_an_object_store_of_pyarrow_in_memory():
    store = fs._MockFileSystem()
    store.create_dir("bucket/scores")
    root = remote_root(store, "bucket", "mock://bucket")
    assert not root.is_local
    root.write_bytes("scores/part", b"content")
    assert root.read_bytes("scores/part") == b"content"
    assert list(root.files()) == []
    assert list(root.files(recursive=True)) == ["scores/part"]
    root.remove("scores/part")
    assert not root.exists("scores/part")


def test_a_sink_takes_a_parquet_writer(any_root):
    table = pa.table({"n": [1, 2, 3]})
    with any_root.writing("part") as sink:
        pq.write_table(table, sink)
    with any_root.open_input("part") as source:
        assert pq.read_table(source) == table


# Names


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES.keys())
def test_odd_names_are_names(root, name):
    root.write_bytes(name, b"content")
    assert root.read_bytes(name) == b"content"
    assert root.exists(name)
    assert list(root.files(recursive=True)) == [name]
    root.remove(name)
    assert not root.exists(name)


def test_a_link_is_replaced_and_never_written_through(root, tmp_path):
    """Whoever may write into a run may put a link there."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    Path(root.path).mkdir(parents=True, exist_ok=True)
    link = Path(root.full("report.html"))
    link.symlink_to(outside)
    root.write_bytes("report.html", b"page")
    assert outside.read_bytes() == b"mine"
    assert not link.is_symlink()
    link.unlink()
    link.symlink_to(outside)
    root.remove("report.html")
    assert outside.read_bytes() == b"mine"
    assert not root.exists("report.html")


def test_an_empty_location_is_not_the_folder_here():
    with pytest.raises(UsageError, match="a location is empty"):
        open_root("")


@pytest.mark.parametrize(
    "name",
    ["..", "../a", "a/..", "a/../../b", "a/../b", "/a", "/"],
    ids=lambda name: name.replace("/", "|"),
)
def test_names_that_lead_outside_are_refused(any_root, name):
    message = re.escape(f"the name {name!r} leads outside of {any_root.location}")
    for use in (any_root.full, any_root.exists, any_root.read_bytes, any_root.remove):
        with pytest.raises(UsageError, match=message):
            use(name)
    with pytest.raises(UsageError, match=message):
        any_root.write_bytes(name, b"")
    with pytest.raises(UsageError, match="leads outside"):
        any_root.files(name)


def test_a_name_too_long_for_the_disk_leaves_nothing(root, tmp_path):
    with pytest.raises(OSError, match="too long"):
        root.write_bytes("x" * 300, b"content")
    assert names_on_disk(tmp_path) == []


# Looking


def test_files_are_relative_to_the_root(any_root, tmp_path):
    base = tmp_path / "bucket" if not any_root.is_local else tmp_path
    for name in ("b", "a", "scores/part", ".tmp-x"):
        (base / name).parent.mkdir(exist_ok=True)
        any_root.write_bytes(name, b"12345")
    assert sorted(any_root.files()) == [".tmp-x", "a", "b"]
    assert sorted(any_root.files(recursive=True)) == [".tmp-x", "a", "b", "scores/part"]
    assert list(any_root.files("scores")) == ["scores/part"]
    assert any_root.files("scores")["scores/part"].size == 5


def test_a_folder_that_is_missing_has_no_files(any_root):
    assert any_root.files("nothing", recursive=True) == {}


def test_exists_knows_files_and_folders(any_root):
    any_root.filesystem.create_dir(any_root.full("folder"))
    any_root.write_bytes("file", b"")
    assert any_root.exists("folder")
    assert any_root.exists("file")
    assert not any_root.exists("neither")


def test_a_file_that_is_missing_cannot_be_read(any_root):
    with pytest.raises(FileNotFoundError):
        any_root.read_bytes("nothing")


@pytest.mark.parametrize(
    ("make", "said"),
    [(Path.mkdir, "a folder, not a file"), (os.mkfifo, "neither a file nor a folder")],
    ids=["folder", "pipe"],
)
def test_what_is_no_file_is_not_read_and_not_waited_for(root, tmp_path, make, said):
    make(tmp_path / "part")
    for read in (root.read_bytes, root.open_input):
        with pytest.raises(IsADirectoryError) as caught:
            read("part")
        assert (caught.value.strerror, caught.value.filename) == (said, str(tmp_path / "part"))


def test_removing_what_is_missing_is_no_error(any_root):
    any_root.remove("nothing")


# Locations


@pytest.mark.parametrize(
    "tail", ["", "/", "/.", "/../corpus"], ids=["plain", "slash", "dot", "up and down"]
)
def test_names_are_cut_right_however_the_folder_is_written(tmp_path, tail):
    open_root(f"{tmp_path}/corpus").write_bytes("a/b", b"")
    for location in (f"{tmp_path}/corpus{tail}", f"file://{tmp_path}/corpus{tail}"):
        assert list(open_root(location).files(recursive=True)) == ["a/b"]


def test_a_relative_location_is_made_absolute_once(tmp_path, monkeypatch):
    # A worker process has another working directory.
    monkeypatch.chdir(tmp_path)
    root = open_root("run")
    monkeypatch.chdir("/")
    assert root.location == root.path == str(tmp_path / "run")


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_root("~/run").path == str(tmp_path / "run")


def test_opening_creates_nothing(tmp_path):
    assert not open_root(f"{tmp_path}/run").exists("a")
    assert names_on_disk(tmp_path) == []
    assert not (tmp_path / "run").exists()


def test_a_local_uri_is_local(tmp_path):
    root = open_root(f"file://{tmp_path}/a%20b")
    assert root.is_local
    assert root.path == f"{tmp_path}/a b"


def test_a_uri_keeps_its_location():
    # The region is given, or pyarrow asks the network for it.
    root = open_root("s3://bucket/folder?region=eu-west-1")
    assert not root.is_local
    assert root.path == "bucket/folder"


@pytest.mark.parametrize(
    "location",
    [
        "ftp://host/x",
        "https://host/x.parquet",
        "://x",
        "http://[::1/x",
        "file://relative/x",
        "s3:///folder",
        "s3://bucket/a b",
        "s3://bucket/x?unknown=1",
    ],
)
def test_a_uri_that_is_not_understood_is_one_clear_error(location):
    with pytest.raises(UsageError, match=re.escape(f"cannot open {location}: ")) as raised:
        open_root(location)
    assert "\n" not in str(raised.value)
    assert "s3://" in raised.value.hint


@pytest.mark.parametrize("scheme", ["s3", "gs", "az", "hf"])
def test_the_schemes_that_the_hint_names_are_understood(scheme, monkeypatch):
    # Azure's account is not part of az://CONTAINER/PATH; this is where its tools look for it.
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    query = "?region=eu-west-1" if scheme == "s3" else ""
    root = open_root(f"{scheme}://bucket/folder{query}")
    assert root.path == "bucket/folder"
    assert not root.is_local


@pytest.mark.parametrize("location", ["s3://", "gs://"])
def test_a_uri_without_a_bucket_is_refused(location):
    with pytest.raises(UsageError, match=re.escape(f"cannot open {location}: ")):
        open_root(location)


@pytest.mark.parametrize(
    "location",
    [
        "s3://key:SECRET@bucket/x?region=eu-west-1",
        "s3://key:SECRET%2F@bucket/x?region=eu-west-1",
        "s3://key:+/SECRET@bucket/x?region=eu-west-1",
        "gs://:SECRET@bucket/x",
    ],
    ids=["plain", "quoted slash", "slash", "no user"],
)
def test_a_secret_in_a_uri_does_not_reach_messages_and_manifests(location):
    # `location` is printed, logged and written to the manifest.
    try:
        shown = open_root(location).location
    except UsageError as error:
        shown = f"{error} {error.hint}"
    assert "SECRET" not in shown
