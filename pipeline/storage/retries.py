"""Retries on object stores: which errors are transient, how long to retry, what to say after.

Owns the retries of everything that is done on a store: growing pauses with full jitter
(Brooker, "Exponential Backoff And Jitter", AWS 2015), within a limit, each pause logged. pyarrow's
own retries below it are few and quick, and silent. Reads and listings go through the file system
that is made here; a write is tried again as a whole, which is filesystem.py's.
"""

import logging
import re
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_before_delay,
    wait_random_exponential,
)

from pipeline.errors import AccessError, StoreError, WinnowError, first_line

log = logging.getLogger(__name__)

RETRY_SECONDS = 120.0
"""Longer than a store's restart or a failover, shorter than people wait."""
LONGEST_PAUSE_SECONDS = 20.0

NOT_RETRIED = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
)
"""Answers, and no failures: they pass unchanged."""

# Arrow gives all errors of a store as OSError; what they are is only in the text.
REFUSED = re.compile(
    r"AWS Error \w*(?:DENIED|ACCESS_KEY|SIGNATURE|CLIENT|TOKEN|EXPIRED|SKEWED|NO_SUCH_BUCKET)"
    r"|HTTP status (?:3\d\d|4(?!08|29)\d\d)"  # a redirect: the bucket is in another region
    r"|Bucket '.*' not found"
    r"|PERMISSION_DENIED|UNAUTHENTICATED"
    r"|AuthenticationFailed|AuthorizationFailure|NoAuthenticationInformation|ContainerNotFound"
    r"|\b40[13] (?:Client Error|Forbidden|Unauthorized)"
)

T = TypeVar("T")


def with_retries(operation: Callable[[], T], what: str, *, seconds: float = RETRY_SECONDS) -> T:
    """Call `operation`, and again while the store fails; `what` says what is done, and where.

    `operation` must be safe to repeat. Raises AccessError at once if the store refuses,
    StoreError if it still fails after `seconds`, and FileNotFoundError and its kin unchanged.
    """
    retrying = Retrying(
        retry=retry_if_exception(is_transient),
        wait=wait_random_exponential(multiplier=1.0, max=LONGEST_PAUSE_SECONDS),
        stop=stop_before_delay(seconds),
        before_sleep=lambda state: _say(state, what, seconds),
        reraise=True,
    )
    try:
        return retrying(operation)
    except Exception as error:
        if not is_failure(error):
            raise
        raise explained(error, what, seconds) from error


def is_failure(error: BaseException) -> bool:
    """Whether it is the store that failed or refused."""
    if isinstance(error, NOT_RETRIED):
        return False
    # The hub's client raises errors of its HTTP library, httpx, under changing names.
    return isinstance(error, OSError) or any(
        kind.__name__ == "TransportError" for kind in type(error).__mro__
    )


def is_transient(error: BaseException) -> bool:
    """Whether asking again may help: a failure that is no refusal."""
    return is_failure(error) and REFUSED.search(str(error)) is None


def explained(error: Exception, what: str, seconds: float) -> WinnowError:
    """The error of a store as one of ours."""
    reason = reason_of(error)
    if REFUSED.search(str(error)):
        return AccessError(
            f"{what}: the store refused access: {reason}",
            hint="check that this machine's credentials are still valid and allow this access",
        )
    return StoreError(
        f"{what}: the store failed{f' for {seconds:.0f} s' if seconds else ''}: {reason}",
        hint="run the same command again when the store answers; what was committed is kept",
    )


def reason_of(error: BaseException) -> str:
    """What went wrong, without which key it was asked for (`what` says so) and request ids."""
    text = first_line(error)
    found = re.search(r"AWS Error .*", text)
    return re.sub(r" \(Request ID: [^)]*\)", "", found[0] if found else text)


def _say(state: RetryCallState, what: str, seconds: float) -> None:
    assert state.outcome is not None
    assert state.next_action is not None
    error = state.outcome.exception()
    assert error is not None
    log.warning(
        "%s failed: retrying in %.1f s (%.0f s of %.0f s spent on retries): %s",
        what,
        state.next_action.sleep,
        state.seconds_since_start or 0.0,
        seconds,
        reason_of(error),
    )


class RetryingFile:
    """A file of a store to read, for pyarrow: a read that fails is tried again."""

    def __init__(self, source: Any, what: str, seconds: float) -> None:
        self._source = source
        self._what = what
        self._seconds = seconds
        self._size: int = source.size()
        self._at = 0

    def read(self, num_bytes: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        wanted = left if num_bytes is None or num_bytes < 0 else min(num_bytes, left)
        if not wanted:
            return b""  # stores refuse to be asked for nothing
        content: bytes = with_retries(
            lambda: self._source.read_at(wanted, self._at), self._what, seconds=self._seconds
        )
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._source.close()

    @property
    def closed(self) -> bool:
        return bool(self._source.closed)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False


class RetryingHandler(fs.FileSystemHandler):
    """Another file system whose reads and listings are retried. Writes pass as they are."""

    def __init__(self, inner: fs.FileSystem, scheme: str, seconds: float) -> None:
        self.inner = inner
        self.scheme = scheme
        self.seconds = seconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RetryingHandler) and bool(self.inner == other.inner)

    __hash__ = None  # type: ignore[assignment]  # file systems have none

    def _do(self, operation: Callable[[], T], doing: str, path: str) -> T:
        return with_retries(operation, f"{doing} {self.scheme}://{path}", seconds=self.seconds)

    def get_type_name(self) -> str:
        return str(self.inner.type_name)

    def normalize_path(self, path: str) -> str:
        return str(self.inner.normalize_path(path))

    def get_file_info(self, paths: list[str]) -> Any:
        return self._do(lambda: self.inner.get_file_info(paths), "looking at", paths[0])

    def get_file_info_selector(self, selector: fs.FileSelector) -> Any:
        return self._do(lambda: self.inner.get_file_info(selector), "listing", selector.base_dir)

    def create_dir(self, path: str, recursive: bool) -> None:
        self._do(lambda: self.inner.create_dir(path, recursive=recursive), "creating", path)

    def delete_dir(self, path: str) -> None:
        self._do(lambda: self.inner.delete_dir(path), "deleting", path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self._do(
            lambda: self.inner.delete_dir_contents(path, missing_dir_ok=missing_dir_ok),
            "deleting",
            path,
        )

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError("a whole store is not emptied")

    def delete_file(self, path: str) -> None:
        self._do(lambda: self.inner.delete_file(path), "deleting", path)

    def move(self, src: str, dest: str) -> None:
        # A move whose answer was lost cannot be told from one of a file that is missing.
        self.inner.move(src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        self._do(lambda: self.inner.copy_file(src, dest), "copying to", dest)

    def open_input_stream(self, path: str) -> Any:
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> Any:
        source = self._do(lambda: self.inner.open_input_file(path), "opening", path)
        return pa.PythonFile(
            RetryingFile(source, f"reading {self.scheme}://{path}", self.seconds), mode="r"
        )

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        return self.inner.open_output_stream(path, metadata=metadata)

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError("objects are written whole")
