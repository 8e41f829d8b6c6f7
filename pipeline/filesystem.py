"""One file-system layer under corpora and runs: local paths and s3://, gs://, az://, hf:// URIs.

Owns turning a location into a pyarrow file system and a path, and the atomic write: a name either
holds the complete content or does not exist. Knows nothing of Parquet or runs.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import fs

from pipeline.errors import UsageError

TEMPORARY_PREFIX = ".tmp-"
"""Names of unfinished files begin so; no reader counts them."""


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

    def exists(self, name: str) -> bool:
        kind = self.filesystem.get_file_info(self.full(name)).type
        return bool(kind != fs.FileType.NotFound)

    def files(self, folder: str = "", *, recursive: bool = False) -> dict[str, fs.FileInfo]:
        """Every file below `folder`, by name relative to this root; nothing if it is missing."""
        where = self.full(folder) if folder else self.path
        selector = fs.FileSelector(where, recursive=recursive, allow_not_found=True)
        cut = len(self.path.rstrip("/")) + 1
        return {
            info.path[cut:]: info
            for info in self.filesystem.get_file_info(selector)
            if info.type == fs.FileType.File
        }

    def is_file(self) -> bool:
        """Whether a file stands where the folder should."""
        return bool(self.filesystem.get_file_info(self.path).type == fs.FileType.File)

    def read_bytes(self, name: str) -> bytes:
        """The whole content. Raises FileNotFoundError."""
        with self.filesystem.open_input_stream(self.full(name)) as stream:
            return bytes(stream.read())

    def open_input(self, name: str) -> Any:
        """A seekable pyarrow file."""
        return self.filesystem.open_input_file(self.full(name))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Atomically create or replace `name`."""
        with self.writing(name) as sink:
            sink.write(content)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A sink whose content becomes `name` when the block ends, or nothing if it raises.

        Local: a temporary name in the same folder, fsync, rename. Object stores: one put of the
        finished content, which the store makes visible whole; there is no rename.
        """
        target = self.full(name)
        if not self.is_local:
            buffer = pa.BufferOutputStream()
            yield buffer
            content = buffer.getvalue()
            with self.filesystem.open_output_stream(target) as stream:
                stream.write(content)
            return
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}")
        try:
            with naming(path), temporary.open("xb") as file:
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

    def remove(self, name: str) -> None:
        """Delete `name` if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.full(name))


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """A failure to write, such as a full disk, says of itself which file it was."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _azure() -> fs.FileSystem:
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise ValueError("AZURE_STORAGE_ACCOUNT_NAME is not set")
    return fs.AzureFileSystem(account)


def open_root(location: str) -> Root:
    """The folder that a local path or a URI names; it need not exist. Raises UsageError."""
    scheme, separator, rest = location.partition("://")
    if not separator:
        path = str(Path(location).expanduser().absolute())
        return Root(fs.LocalFileSystem(), path, path)
    before, at, _ = rest.partition("@")
    if at and ":" in before.partition("/")[0]:
        # A location is printed, logged and kept in the manifest.
        raise UsageError(
            f"the {scheme}:// location has a secret in it",
            hint="leave it out; credentials come from the environment or the machine's identity",
        )
    if not rest.strip("/"):
        raise UsageError(f"cannot open {location}: it names no bucket")
    try:
        if scheme == "az":
            filesystem, path = _azure(), rest
        else:
            filesystem, path = fs.FileSystem.from_uri(location)
    except (pa.ArrowException, ValueError, OSError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"cannot open {location}: {reason}",
            hint="local paths, s3://, gs://, az:// and hf:// are understood",
        ) from error
    return Root(filesystem, path, location)
