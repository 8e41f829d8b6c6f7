"""What is waited for, how long, and what is said; against a store that fails as it is told."""

import logging
from collections.abc import Callable
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline.errors import AccessError, StoreError, UsageError, WinnowError
from pipeline.storage import retries
from pipeline.storage.filesystem import Root, remote_root
from pipeline.storage.retries import RetryingFile, RetryingHandler, with_retries

BUSY = "When reading information for key 'k' in bucket 'b': AWS Error SLOW_DOWN during X: be slow"

TRANSIENT = [
    BUSY,
    "AWS Error NETWORK_CONNECTION during HeadBucket operation: curlCode: 7, Could not connect",
    "AWS Error UNKNOWN (HTTP status 503) during HeadObject operation: No response body.",
    "AWS Error UNKNOWN (HTTP status 429) during PutObject operation: TooManyRequests",
    "AWS Error UNKNOWN (HTTP status 408) during PutObject operation: RequestTimeout",
    "AWS Error INTERNAL_FAILURE during ListObjectsV2 operation: made to",
    "google::cloud::Status(UNAVAILABLE: Retry policy exhausted)",
    "[Errno 104] Connection reset by peer",
]
REFUSED = [
    "AWS Error ACCESS_DENIED during HeadObject operation: No response body.",
    "AWS Error INVALID_ACCESS_KEY_ID during ListObjectsV2 operation: does not exist",
    "AWS Error SIGNATURE_DOES_NOT_MATCH during PutObject operation: Check your key",
    "AWS Error REQUEST_TIME_TOO_SKEWED during PutObject operation: too large",
    "AWS Error NO_SUCH_BUCKET during PutObject operation: no such bucket",
    "AWS Error UNKNOWN (HTTP status 400) during PutObject: ExceptionName: ExpiredToken",
    "AWS Error UNKNOWN (HTTP status 301) during HeadObject operation: No response body.",
    "google::cloud::Status(PERMISSION_DENIED: Permanent error)",
    "403 Server failed to authenticate the request. AuthenticationFailed",
    "Bucket 'corpora' not found",
]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No test sleeps; how long each pause would have been."""
    slept: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr("tenacity.time", SimpleNamespace(monotonic=lambda: clock[0]))
    return slept


class Failing:
    """Fails so many times, then answers."""

    def __init__(self, times: float, error: Exception | None = None) -> None:
        self.left = times
        self.calls = 0
        self._error = error or OSError(BUSY)

    def __call__(self) -> str:
        self.calls += 1
        if self.left > 0:
            self.left -= 1
            raise self._error
        return "done"


@pytest.mark.parametrize("message", TRANSIENT)
def test_what_may_pass_is_tried_again(message):
    operation = Failing(3, OSError(message))
    assert with_retries(operation, "reading s3://b/k") == "done"
    assert operation.calls == 4


@pytest.mark.parametrize("message", REFUSED)
def test_a_refusal_is_not_tried_again(message, pauses):
    operation = Failing(1, OSError(message))
    with pytest.raises(AccessError, match="reading s3://b/k: the store refused access: ") as caught:
        with_retries(operation, "reading s3://b/k")
    assert operation.calls == 1
    assert pauses == []
    assert caught.value.exit_code == 2
    assert "credentials" in caught.value.hint


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError("k"), IsADirectoryError("k"), ValueError("k"), pa.ArrowInvalid("k")],
    ids=lambda error: type(error).__name__,
)
def test_an_answer_is_no_failure(error, pauses):
    operation = Failing(1, error)
    with pytest.raises(type(error)) as caught:
        with_retries(operation, "reading s3://b/k")
    assert caught.value is error
    assert operation.calls == 1
    assert pauses == []


def test_patience_has_an_end_and_says_where(pauses, caplog):
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(StoreError) as caught,
    ):
        with_retries(Failing(float("inf")), "reading s3://b/k", seconds=120.0)
    assert 60 < sum(pauses) <= 120
    assert max(pauses) <= retries.LONGEST_PAUSE_SECONDS
    assert len(set(pauses)) == len(pauses)  # jitter: no two clients in step
    assert str(caught.value) == (
        "reading s3://b/k: the store failed for 120 s: AWS Error SLOW_DOWN during X: be slow"
    )
    assert not isinstance(caught.value, UsageError)
    assert caught.value.exit_code == 1
    assert "again" in caught.value.hint
    # Each pause is said: what for, how long, and of how much.
    assert len(caplog.records) == len(pauses)
    assert all(
        "reading s3://b/k failed: retrying in" in record.message for record in caplog.records
    )
    assert "of 120 s" in caplog.records[-1].message


def test_without_patience_there_is_one_try(pauses):
    operation = Failing(1)
    with pytest.raises(StoreError):
        with_retries(operation, "reading s3://b/k", seconds=0.0)
    assert operation.calls == 1
    assert pauses == []


class Flaky(fs.FileSystemHandler):
    """A file system in memory, of which every operation first fails as it is told."""

    def __init__(self, fail: Callable[[str], None]) -> None:
        self._inner = fs._MockFileSystem()
        self._fail = fail

    def __getattribute__(self, name: str):
        if name.startswith("_") or name in ("get_type_name", "normalize_path"):
            return object.__getattribute__(self, name)

        def call(*arguments, **options):
            self._fail(name)
            return object.__getattribute__(self, "_" + name)(*arguments, **options)

        return call

    def get_type_name(self) -> str:
        return "flaky"

    def normalize_path(self, path: str) -> str:
        return path

    def _get_file_info(self, paths):
        return self._inner.get_file_info(paths)

    def _get_file_info_selector(self, selector):
        return self._inner.get_file_info(selector)

    def _create_dir(self, path, recursive):
        self._inner.create_dir(path, recursive=recursive)

    def _delete_file(self, path):
        self._inner.delete_file(path)

    def _copy_file(self, source, target):
        self._inner.copy_file(source, target)

    def _open_input_file(self, path):
        return self._inner.open_input_file(path)

    def _open_output_stream(self, path, metadata):
        return self._inner.open_output_stream(path, metadata=metadata)

    delete_dir = delete_dir_contents = delete_root_dir_contents = move = None
    get_file_info = get_file_info_selector = create_dir = delete_file = copy_file = None
    open_input_stream = open_input_file = open_output_stream = open_append_stream = None


class Faults:
    """Every operation fails twice before it is done."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, name: str) -> None:
        self.calls.append(name)
        if self.calls[-3:] != [name] * 3:
            raise OSError(BUSY)
        self.calls.append("done")


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def root(faults: Faults) -> Root:
    root = remote_root(fs.PyFileSystem(Flaky(faults)), "bucket", "s3://bucket")
    root.filesystem.create_dir("bucket/scores")
    return root


def test_everything_a_run_does_is_done_in_the_end(root, faults):
    root.write_bytes("a", b"content")
    assert root.exists("a")
    assert root.read_bytes("a") == b"content"
    root.filesystem.copy_file("bucket/a", "bucket/b")
    assert sorted(root.files()) == ["a", "b"]
    root.remove("a")
    assert not root.exists("a")
    done = faults.calls.count("done")
    assert len(faults.calls) == 4 * done  # twice failed, once done, and the mark
    assert {"open_output_stream", "open_input_file", "get_file_info_selector"} <= {*faults.calls}


def test_a_root_without_patience_shares_the_store(root, faults):
    with pytest.raises(StoreError):
        root.retrying_for(0.0).exists("a")
    assert root.retrying_for(0.0).filesystem.equals(root.filesystem)


class HalfRead:
    """A file of which every second read fails."""

    closed = False

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._calls = 0

    def size(self) -> int:
        return len(self._content)

    def read_at(self, num_bytes: int, offset: int) -> bytes:
        self._calls += 1
        if self._calls % 2:
            raise OSError(BUSY)
        return self._content[offset : offset + num_bytes]

    def close(self) -> None:
        self.closed = True


def test_a_read_that_fails_is_tried_again_where_it_was():
    content = bytes(range(200))
    source = RetryingFile(HalfRead(content), "reading s3://b/k", 10.0)
    assert source.read(10) == content[:10]
    assert source.tell() == 10
    assert source.read(5) == content[10:15]
    assert source.seek(-20, 2) == 180
    assert source.read() == content[180:]
    assert source.read(5) == b""
    assert source.seek(-5, 1) == 195
    assert source.read(100) == content[195:]


def test_parquet_is_read_through_failures():
    table = pa.table({"n": list(range(10_000)), "text": ["x" * (i % 50) for i in range(10_000)]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=1000)
    content = sink.getvalue().to_pybytes()
    file = pa.PythonFile(RetryingFile(HalfRead(content), "reading", 10.0), mode="r")
    assert pq.read_table(file) == table


def test_our_error_comes_through_arrow_as_it_is():
    # From Python through C++ and back, or a store that is away would be "not a readable file".
    class Away(HalfRead):
        def read_at(self, num_bytes: int, offset: int) -> bytes:
            raise OSError(BUSY)

    file = pa.PythonFile(RetryingFile(Away(b"x" * 1000), "reading s3://b/k", 0.0), mode="r")
    with pytest.raises(StoreError, match="reading s3://b/k") as caught:
        pq.read_metadata(file)
    assert isinstance(caught.value, WinnowError)
    assert caught.value.hint


def test_stores_are_equal_if_what_they_wrap_is():
    mock = fs._MockFileSystem()
    one, other = (fs.PyFileSystem(RetryingHandler(mock, "s3", s)) for s in (1.0, 2.0))
    local = fs.PyFileSystem(RetryingHandler(fs.LocalFileSystem(), "s3", 1.0))
    assert one.equals(other)
    assert not one.equals(local)
