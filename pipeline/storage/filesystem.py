"""One file-system layer under corpora and runs: local paths and s3://, gs://, az://, hf:// URIs.

Owns a folder anywhere, and the atomic write: a name either holds the complete content or does not
exist. Which store a location names is locations.py's, waiting for it retries.py's. Knows nothing
of Parquet or runs.
"""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from pyarrow import fs

from pipeline.errors import AccessError, UsageError
from pipeline.storage import retries
from pipeline.storage.locations import open_uri, split_options
from pipeline.storage.retries import RetryingHandler, with_retries

TEMPORARY_PREFIX = ".tmp-"
"""Names of unfinished files begin so; no reader counts them."""
SPOOLED_BYTES = 64 << 20
"""What is on its way to an object store is held in memory up to here, beyond it on local disk."""
PUT_BYTES = 8 << 20
FOLDER = "a folder, not a file"
BUCKETED = ("s3", "gcs", "abfs")


@dataclass(frozen=True, slots=True)
class Root:
    """A folder on some file system; names below are relative, with forward slashes."""

    filesystem: fs.FileSystem
    path: str
    location: str
    """As the user wrote it, made absolute if local."""

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def full(self, name: str) -> str:
        """The path of `name` on the file system. Refuses names that lead outside."""
        if name.startswith("/") or ".." in name.split("/"):
            raise UsageError(f"the name {name!r} leads outside of {self.location}")
        return f"{self.path.rstrip('/')}/{name}"

    def show(self, name: str) -> str:
        """Where `name` is, for people: the location without its options, and the name."""
        folder, _ = split_options(self.location)
        return f"{folder.rstrip('/')}/{name}"

    def retrying_for(self, seconds: float) -> "Root":
        """The same folder; a store that does not answer is waited for this long."""
        if self.is_local:
            return self
        handler = self.filesystem.handler
        other = RetryingHandler(handler.inner, handler.scheme, seconds)
        return replace(self, filesystem=fs.PyFileSystem(other))

    def check_bucket(self) -> None:
        """Raises AccessError if there is no such bucket; some stores would make it on writing."""
        bucket = self.path.partition("/")[0]
        if self.filesystem.type_name.removeprefix("py::") not in BUCKETED:
            return
        try:
            kind = self.filesystem.get_file_info(bucket).type
        except AccessError:  # who may read and write below a prefix may not look at the bucket
            return
        if kind == fs.FileType.NotFound:
            raise AccessError(
                f"{self.location}: there is no bucket {bucket!r}",
                hint="create it, or correct the name; Winnow creates folders, not buckets",
            )

    def exists(self, name: str) -> bool:
        kind = self.filesystem.get_file_info(self.full(name)).type
        return bool(kind != fs.FileType.NotFound)

    def files(self, folder: str = "", *, recursive: bool = False) -> dict[str, fs.FileInfo]:
        """Every file below `folder`, by name relative to this root; nothing if it is missing."""
        where = self.full(folder) if folder else self.path
        if recursive and self.is_local:
            found = self.filesystem.get_file_info(list(_walk(where)))
        else:
            wanted = fs.FileSelector(where, recursive=recursive, allow_not_found=True)
            found = self.filesystem.get_file_info(wanted)
        return {self._cut(i.path): i for i in found if i.type == fs.FileType.File}

    def entries(self) -> dict[str, fs.FileInfo]:
        """As `files` at any depth, with what is there and is no file, or cannot be looked into.

        Those are not of type File; `fault` says what is wrong with one.
        """
        if not self.is_local:
            return self.files(recursive=True)
        closed = list[str]()
        found = self.filesystem.get_file_info(list(_walk(self.path, closed)))
        found += [fs.FileInfo(path) for path in closed]
        return {self._cut(info.path): info for info in found}

    def _cut(self, path: str) -> str:
        return path[len(self.path.rstrip("/")) + 1 :] or "."

    def fault(self, name: str) -> str:
        """Why a name is no file that can be read, for people."""
        if not self.is_local:
            return FOLDER
        path = os.path.normpath(self.full(name))
        try:
            mode = Path(path).stat().st_mode
            if stat.S_ISDIR(mode):
                os.scandir(path).close()
        except OSError as error:
            if Path(path).is_symlink():
                return f"a broken link to {Path(path).readlink()} ({error.strerror})"
            return f"{error.strerror}"
        return FOLDER if stat.S_ISDIR(mode) else "neither a file nor a folder"

    def is_file(self) -> bool:
        """Whether a file stands where the folder should."""
        return bool(self.filesystem.get_file_info(self.path).type == fs.FileType.File)

    def read_bytes(self, name: str) -> bytes:
        """The whole content. Raises FileNotFoundError, and as `open_input`."""
        self._check_is_file(name)
        with self.filesystem.open_input_stream(self.full(name)) as stream:
            return bytes(stream.read())

    def open_input(self, name: str) -> Any:
        """A seekable pyarrow file. Raises IsADirectoryError for a local name that is no file."""
        self._check_is_file(name)
        return self.filesystem.open_input_file(self.full(name))

    def _check_is_file(self, name: str) -> None:
        """Arrow waits for a pipe's other end for ever, and its error of a folder has no number."""
        path = Path(self.full(name))
        if self.is_local and not stat.S_ISREG(path.stat().st_mode):
            raise IsADirectoryError(errno.EISDIR, self.fault(name), str(path))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Atomically create or replace `name`."""
        with self.writing(name) as sink:
            sink.write(content)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A sink whose content becomes `name` when the block ends, or nothing if it raises.

        Local: a temporary name in the same folder, fsync, rename. Object stores: one put of the
        finished content, which the store makes visible whole; there is no rename. Nothing is sent
        before the content is finished: pyarrow completes an upload that is abandoned midway.
        """
        target = self.full(name)
        if not self.is_local:
            with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as spool:
                yield spool
                self._put(spool, target)
            return
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}")
        try:
            with naming(path):
                with temporary.open("xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        # The rename itself lives in the folder: without this a power cut may undo it.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _put(self, content: IO[bytes], target: str) -> None:
        def put() -> None:
            content.seek(0)
            with self.filesystem.open_output_stream(target) as stream:
                shutil.copyfileobj(content, stream, PUT_BYTES)

        handler = self.filesystem.handler
        with_retries(put, f"writing {handler.scheme}://{target}", seconds=handler.seconds)

    def remove(self, name: str) -> None:
        """Delete `name` if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.full(name))


def _walk(folder: str, closed: list[str] | None = None) -> Iterator[str]:
    """Every file below a local folder; links are followed, but not in a circle, as Arrow does.

    What is neither file nor folder, or cannot be looked at, is added to `closed`. Without it the
    former is passed over, and OSError raised for the latter.
    """
    waiting = [(folder.rstrip("/") or "/", frozenset([os.path.realpath(folder)]))]
    while waiting:
        path, above = waiting.pop()
        gone = contextlib.suppress(FileNotFoundError)
        with _noting(path, closed), gone, os.scandir(path) as entries:
            for entry in entries:
                with _noting(entry.path, closed):
                    if entry.is_file():
                        yield entry.path
                    elif not entry.is_dir():
                        if closed is not None:
                            closed.append(entry.path)
                    elif (real := os.path.realpath(entry.path)) not in above:
                        waiting.append((entry.path, above | {real}))


@contextlib.contextmanager
def _noting(path: str, closed: list[str] | None) -> Iterator[None]:
    try:
        yield
    except OSError:
        if closed is None:
            raise
        closed.append(path)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Names the file in a failure to write, such as a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None or TEMPORARY_PREFIX in str(error.filename):
            error.filename = str(path)
        raise


def open_root(location: str) -> Root:
    """The folder that a local path or a URI names; it need not exist.

    Raises UsageError, and StoreError as `open_uri`.
    """
    if not location:
        raise UsageError(
            "a location is empty", hint="is a shell variable unset? Use . for the current folder"
        )
    if "://" not in location:
        path = str(Path(location).expanduser().absolute())
        return Root(fs.LocalFileSystem(), path, path)
    filesystem, path = open_uri(location)
    if isinstance(filesystem, fs.LocalFileSystem):
        return Root(filesystem, path, location)
    return remote_root(filesystem, path, location)


def remote_root(filesystem: fs.FileSystem, path: str, location: str) -> Root:
    """A folder on a file system that may be slow or down for a while."""
    scheme, _, _ = location.partition("://")
    handler = RetryingHandler(filesystem, scheme, retries.RETRY_SECONDS)
    return Root(fs.PyFileSystem(handler), path, location)
