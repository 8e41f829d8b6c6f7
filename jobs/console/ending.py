"""How a command ends: its exit code, and one line for the user.

Owns the exit codes, turning every error into a line and a hint, and the streams of the process.
A trace is shown only with WINNOW_DEBUG set.
"""

import atexit
import contextlib
import errno
import io
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from typer.exceptions import TyperException

from jobs.console import screen
from jobs.console.signals import Terminated, as_signalled, raise_signals
from pipeline.errors import UsageError, WinnowError, first_line, missing_extra

INTERRUPTED = 130
TERMINATED = 143
OUTPUT_CLOSED = 141
"""The exit code of a program that SIGPIPE ended: the reader closed the output pipe."""
EXIT_CODES = (
    "Exit codes: 0: done. 1: done with findings, or with something given up and recorded. 2: the "
    "request cannot be carried out. 130 (interrupted), 143 (terminated) and 141 (output pipe "
    "closed): run the command again."
)
NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
OUT_OF_BOUNDS = re.compile(r"^Invalid value for '([^']+)': Input should")
"""What typer says of a number that is none, or too small or large."""
# The request is wrong; trying again would not help.
USAGE_ERRNOS = frozenset(
    [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG]
)


def begin_process() -> None:
    """What holds for a whole process: a signal ends it in order, no usage is reported, it has
    a home, its three streams are open, and stdout is ours alone.

    With one of them closed, the next file that is opened would take its number, and be printed to.
    """
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    if not os.environ.get("WINNOW_DEBUG"):
        os.environ["RUST_BACKTRACE"] = "0"
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            _open_nowhere(number)
            setattr(sys, name, open(number, "r+", closefd=False))  # noqa: SIM115
    raise_signals()
    _keep_streams()
    _have_a_home()


def _keep_streams() -> None:
    """Print to descriptors of our own: whatever else of this process or of one that it starts
    prints to stdout comes out on stderr. Engines, drivers of GPUs and Ray print as they like.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        given = getattr(sys, name)
        given.flush()
        by_line = getattr(given, "line_buffering", False) or getattr(given, "write_through", False)
        # stderr is unbuffered: nothing is left to be flushed at the end.
        raw = os.fdopen(os.dup(number), "wb", buffering=0 if name == "stderr" else -1)
        own = io.TextIOWrapper(
            raw,
            encoding=given.encoding,
            errors=given.errors,
            line_buffering=by_line,
            write_through=name == "stderr",
        )
        setattr(sys, name, own)
    os.dup2(2, 1)


def _have_a_home() -> None:
    # A container that runs as any user has none, and libraries look for it when they are imported.
    try:
        Path.home()
    except RuntimeError:
        home = tempfile.mkdtemp(prefix="winnow-home-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        os.environ["HOME"] = home
        screen.say("Warning: HOME is not set: caches are lost when this command ends", "yellow")


def run_command(command: Callable[[], Any]) -> NoReturn:
    """Run something and end the process with its exit code, errors as one line and a hint."""
    log = logging.StreamHandler()
    log.setFormatter(screen.PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[log])
    try:
        code = _unwrapped(command)
        sys.stdout.flush()  # while an error can still be told
    except Exception as error:
        if os.environ.get("WINNOW_DEBUG") and not isinstance(error, BrokenPipeError):
            raise
        code = _report_error(error)
    except Terminated as stop:
        screen.say(f"Stopped by SIGTERM. {_what_next(stop)}")
        code = code_of(stop)
    except KeyboardInterrupt as stop:
        screen.say(f"Interrupted. {_what_next(stop)}")
        code = code_of(stop)
    except BaseException as error:
        if not _is_panic(error) or os.environ.get("WINNOW_DEBUG"):
            raise
        screen.say(f"Error: a dependency failed on: {first_line(error)}", style="bold red")
        screen.say("Hint: this is a bug in Winnow, please report it; WINNOW_DEBUG=1 shows where")
        code = 1
    sys.exit(code)


def run_process(command: Callable[[], Any]) -> NoReturn:
    """`run_command`, where nothing else is left to do in this process."""
    try:
        run_command(command)
    except SystemExit as ended:
        if {"ray", "vllm"} & sys.modules.keys():
            end_process(int(ended.code or 0))
        raise


def end_process(code: int) -> NoReturn:
    """End this process with an exit code, whatever compiled code would make of the end.

    Ray's and gRPC's threads outlive `ray.shutdown`. Python's way out takes their data away under
    them, which has ended a process with a segmentation fault after all its work was done. It would
    wait, too, for a model that vLLM still loads where Ctrl-C came meanwhile.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def code_of(stop: BaseException) -> int:
    """The exit code after a signal, by the exception that it raised."""
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


@contextlib.contextmanager
def spelling(command: Any) -> Iterator[None]:
    """Errors call settings by the options and arguments of a command."""
    try:
        yield
    except WinnowError as error:
        error.spell({one.name: _spelt(max(one.opts, key=len)) for one in command.params})
        raise


def _spelt(parameter: str) -> str:
    """An argument has no dashes, and is written in capitals."""
    return parameter if parameter.startswith("-") else parameter.upper()


def _what_next(stop: BaseException) -> str:
    """What `stopped_at` has noted; else it was a command that keeps nothing to continue from."""
    return " ".join(getattr(stop, "__notes__", ["Run the same command again."]))


def _is_panic(error: BaseException) -> bool:
    """Whether Rust code panicked, in Polars or a tokenizer. Its class is no Exception, and each
    extension module has one of its own."""
    return type(error).__name__ == "PanicException" and "pyo3" in type(error).__module__


def _report_error(error: Exception) -> int:
    """Say what was wrong and what to do about it; the exit code."""
    if isinstance(error, BrokenPipeError):
        _leave_stdout()
        return OUTPUT_CLOSED
    if isinstance(error, TyperException):
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(f"{error}\n")
            return UsageError.exit_code
        error = _usage_error(error)
    if isinstance(error, WinnowError):
        code, what, hint = error.exit_code, str(error), error.hint
    elif isinstance(error, OSError) and error.strerror:
        code = UsageError.exit_code if error.errno in USAGE_ERRNOS else 1
        where = error.filename or ("stdout" if _stdout_fails() else None)
        what = f"{where}: {error.strerror}" if where else error.strerror
        hint = "fix the cause and run the same command again; what is finished is kept"
        if code == UsageError.exit_code:
            hint = "choose another location, or check its permissions"
    else:
        code, what = 1, f"{type(error).__name__}: {first_line(error)}"
        hint = "this is a bug in Winnow, please report it; WINNOW_DEBUG=1 shows where"
    with contextlib.suppress(BrokenPipeError):
        screen.say(f"Error: {what}", style="bold red")
        if hint:
            screen.say(f"Hint: {hint}")
    return code


def _usage_error(error: TyperException) -> UsageError:
    """What the parser of the command line says, as our own errors are."""
    message = " ".join(error.format_message().replace("Value error, ", "").split())
    if found := OUT_OF_BOUNDS.match(message):
        message = f"{_spelt(found[1])}: must{message[found.end() :]}"
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "winnow"
    if near := getattr(error, "possibilities", None):
        # Compared without dashes, in which all are alike.
        names = {one.lstrip("-"): one for one in near}
        given = getattr(error, "option_name", "").lstrip("-")
        nearest = get_close_matches(given, names, n=1)
        hint = f"did you mean {names[nearest[0]]}?" if nearest else f"{command} --help"
        return UsageError(error.message, hint=hint)
    what, is_near, near = message.partition(" Did you mean ")
    if is_near:
        return UsageError(what.rstrip("."), hint=f"did you mean {near}")
    return UsageError(message.rstrip("."), hint=f"{command} --help")


def _unwrapped(command: Callable[[], Any]) -> Any:
    """A signal is what it raised, and a package that a core install does not have is the caller's
    error, not a bug.
    """
    try:
        with as_signalled():
            return command()
    except ModuleNotFoundError as error:
        raise (missing_extra(error) or error) from None


def _stdout_fails() -> bool:
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        _leave_stdout()
        return True
    return False


def _leave_stdout() -> None:
    """Let Python's own last flush go nowhere, instead of failing with a trace."""
    with contextlib.suppress(OSError, ValueError):
        _open_nowhere(sys.stdout.fileno())


def _open_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
