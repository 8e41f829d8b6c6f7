"""jobs/console/ending.py and parsing.py: how a process ends, as a shell sees it."""

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.console.ending import EXIT_CODES, run_command
from jobs.console.signals import Terminated, on_signal
from pipeline.errors import WinnowError
from tests.support.runs import make_run

WINNOW = [sys.executable, "-m", "jobs.cli"]
ROOT = Path(__file__).parents[2]
TEXTS = ["one", "two two", None, "three " * 40]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> str:
    return make_run(tmp_path_factory.mktemp("run"), tiny_model, TEXTS).location


def start(*arguments: str | Path, env: dict[str, str] | None = None, **streams):
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | streams
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("WINNOW_", "RAY_"))}
    clean |= {"PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.Popen([*WINNOW, *map(str, arguments)], env=clean, **settings)


def ended(*arguments: str | Path, **settings) -> tuple[int, str, str]:
    process = start(*arguments, **settings)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


# --- signals


WAITING = """
import sys, time
import jobs.cli.runs
def wait(*arguments, **options):
    print("begun", flush=True)
    time.sleep(60)
jobs.cli.runs.print_status = wait
sys.argv = ["winnow", "status", "runs/x"]
from jobs.cli.main import main
main()
"""
"""A command that takes long, through the parser, which has an opinion of its own about Ctrl-C."""


@pytest.mark.parametrize(
    ("signalled", "code", "said"),
    [(signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Stopped by SIGTERM.")],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_ends_it_in_one_line(signalled, code, said):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", WAITING], cwd=ROOT, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signalled)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == f"{said} Run the same command again.\n"


SILENT = """
import signal, socket, sys
from jobs.console.ending import begin_process, run_command
begin_process()
end_wait, num_lost = signal.pthread_kill, int(sys.argv[1])
def lose_some(*arguments):
    global num_lost
    num_lost -= 1
    if num_lost < 0:
        end_wait(*arguments)
signal.pthread_kill = lose_some
import polars  # makes waits go on after SIGINT
def command():
    ours, theirs = socket.socketpair()
    print("begun", flush=True)
    ours.recv(1)
run_command(command)
"""


@pytest.mark.parametrize("num_lost", [0, 2])
@pytest.mark.parametrize(("signalled", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_wait_for_a_server_that_is_silent(signalled, code, num_lost):
    """Also where what ends the wait comes too early: it is lost, as on a busy machine."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", SILENT, str(num_lost)]
    process = subprocess.Popen(command, cwd=ROOT, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.5)  # it waits by then; if not, this test holds nothing, and passes
    process.send_signal(signalled)
    try:
        assert process.wait(timeout=20) == code
    finally:
        process.kill()
        process.communicate()


def test_a_signal_within_what_polars_calls_is_raised_once_that_is_over():
    """Raised there, it is a panic of Polars, and eight lines on the terminal."""
    called = "/site-packages/polars/datatypes/classes.py"
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM); is_over = True"
    source, found = compile(code, called, "exec"), {}

    def wait() -> None:
        exec(source, found)
        time.sleep(60)

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        with pytest.raises(Terminated):
            wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert found["is_over"]


def test_nobody_is_told_of_its_use():
    """Asked of the libraries themselves, in a process that began as `winnow` does."""
    code = (
        "from jobs.console.ending import begin_process; begin_process()\n"
        "import huggingface_hub.constants as hub\n"
        "from ray._common.usage.usage_lib import usage_stats_enabled\n"
        "assert hub.HF_HUB_DISABLE_TELEMETRY\n"
        "assert not usage_stats_enabled()\n"
    )
    clean = {k: v for k, v in os.environ.items() if "STATS" not in k and "TRACK" not in k}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=clean, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


# --- streams


@pytest.mark.parametrize("form", ["", "--json", "--md"], ids=["table", "json", "markdown"])
def test_a_reader_that_went_away_is_no_finding(run, form):
    """The reader is gone before the first byte: what it is given to is closed at once."""
    read, write = os.pipe()
    os.close(read)
    try:
        code, _, err = ended("report", run, *form.split(), stdout=write)
    finally:
        os.close(write)
    assert code == 141
    assert "Error" not in err
    assert "Traceback" not in err
    assert (Path(run) / "report.html").exists()


def test_a_reader_of_messages_that_went_away(run):
    read, write = os.pipe()
    os.close(read)
    try:
        code, _, _ = ended("report", run, stderr=write)
    finally:
        os.close(write)
    assert code == 141


def test_stdout_on_a_full_disk_is_told(run):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        code, _, err = ended("report", run, "--json", stdout=full)
    assert code == 1
    assert "Error: stdout: No space left on device" in err
    assert "Traceback" not in err
    assert "bug in Winnow" not in err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_takes_nothing_with_it(run, closed):
    """A file that was opened next would take its number, and be printed into."""
    page = Path(run) / "report.json"
    page.unlink(missing_ok=True)
    line = shlex.join([*WINNOW, "report", run, "--json"])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", f"{line} {closed}"], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(page.read_text())["overall"]["num_documents"] == len(TEXTS)


NOISE = """
import ctypes, os, subprocess, sys
import jobs.cli.runs
def noisy(*arguments, **options):
    os.write(1, b"from a descriptor\\n")
    ctypes.CDLL(None).puts(b"from C")
    ctypes.CDLL(None).fflush(None)
    subprocess.run(["echo", "from a child"])
    from jobs.run import cluster
    with cluster.connected(None):
        print("(raylet) A worker died")
    print('{"ours": 1}')
jobs.cli.runs.print_status = noisy
from contextlib import nullcontext
from jobs.run import cluster
cluster._connected = nullcontext
sys.argv = ["winnow", "status", "runs/x"]
from jobs.cli.main import main
main()
"""


def test_stdout_is_ours_alone():
    """Whatever else prints in this process or one that it starts: Ray, vLLM, Triton, NUMA."""
    done = subprocess.run([sys.executable, "-c", NOISE], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, '{"ours": 1}\n'), done.stderr
    said = ["a descriptor", "C", "a child"]
    assert all(f"from {who}\n" in done.stderr for who in said)
    assert "(raylet) A worker died\n" in done.stderr


QUIET = """
import logging, os, subprocess, sys, warnings
import jobs.cli.runs
from jobs.console import screen
from jobs.console.quiet import quiet
def noisy(*arguments, **options):
    with quiet():
        for number in (1, 2):
            os.write(number, b"noise")
        subprocess.run("echo noise; echo noise >&2", shell=True)
        print("noise")
        logging.getLogger("vllm.utils").warning("noise")
        warnings.warn("noise", FutureWarning)
        logging.getLogger("pipeline.planning").warning("a log of ours")
        screen.say("a message of ours")
        if "fails" in arguments[0]:
            raise OSError(28, "No space left on device", "noise-free")
    print("ours")
jobs.cli.runs.print_status = noisy
sys.argv = ["winnow", "status", sys.argv[1]]
from jobs.cli.main import main
main()
"""


def test_an_engine_of_this_process_is_as_quiet_as_a_worker():
    def run(name: str, **env: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-c", QUIET, name],
            cwd=ROOT,
            env=os.environ | env,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    said = "WARNING pipeline.planning: a log of ours\na message of ours\n"
    assert run("works") == (0, "ours\n", said)
    code, out, err = run("fails")
    assert (code, out) == (1, "")
    assert err.startswith(f"{said}Error: noise-free: No space left on device\n")
    assert run("works", WINNOW_DEBUG="1")[2].count("noise") == 7


# --- the machine


def test_a_user_without_a_home(run, tmp_path):
    """As in a container that runs as whoever the cluster says."""
    code = (
        "import os, pwd, sys\n"
        "def nobody(*_): raise KeyError('nobody')\n"
        "pwd.getpwuid = nobody\n"
        "del os.environ['HOME']\n"
        f"sys.argv = ['winnow', 'report', {run!r}]\n"
        "from jobs.cli.main import main; main()\n"
    )
    environment = os.environ | {"HOME": "/", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Corpus perplexity" in done.stdout
    assert "Warning: HOME is not set" in done.stderr
    assert not list(tmp_path.glob("winnow-home-*")), "nothing is left behind"


# --- errors


def raised(error: Exception, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as exit_:
        run_command(fail)
    return int(exit_.value.code or 0), capsys.readouterr().err


USAGE_ERRNOS = [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG]


@pytest.mark.parametrize("number", USAGE_ERRNOS, ids=[errno.errorcode[one] for one in USAGE_ERRNOS])
def test_what_cannot_be_written_at_all_is_a_mistake_of_the_request(number, capsys):
    code, err = raised(OSError(number, os.strerror(number), "/runs/x"), capsys)
    assert code == 2
    assert err.startswith(f"Error: /runs/x: {os.strerror(number)}\nHint: ")


def test_a_hostile_name_in_an_error_does_nothing(capsys):
    _, err = raised(
        WinnowError("no column '\x1b]0;owned\x07[red]x'", hint="\u202ereversed"), capsys
    )
    assert "\x1b" not in err
    assert "\x07" not in err
    assert "\u202e" not in err
    assert "[red]x" in err


def test_the_trace_is_shown_on_request(monkeypatch, capsys):
    monkeypatch.setenv("WINNOW_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)


# --- the parser


MISTAKES = {
    "a command": (["repot"], "No such command 'repot'", "did you mean 'report'?"),
    "an option": (["score", "--modle", "x"], "No such option: --modle", "did you mean --model?"),
    "a number": (
        ["score", "--limit", "many"],
        "--limit: must be a valid integer",
        "winnow score --help",
    ),
    "an argument": (["report"], "Missing argument 'run'", "winnow report --help"),
    "one too many": (["report", "a", "b"], "unexpected extra argument", "winnow report --help"),
    "a colour": (["report", "a", "--color", "red"], "'--color'", "winnow report --help"),
    "no value": (["report", "a", "--by"], "'--by' requires an argument", "winnow report --help"),
    "nothing near": (
        ["verify", "a", "--rescore", "0"],
        "No such option: --rescore",
        "winnow verify --help",
    ),
}


@pytest.mark.parametrize(("given", "what", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_a_typing_error_is_a_line_and_a_hint(winnow, given, what, hint):
    code, out, err = winnow(*given)
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith("Error: ")
    assert what in first
    assert second == f"Hint: {hint}"


@pytest.mark.parametrize("group", [[], ["jobs"], ["config"]], ids=["winnow", "jobs", "config"])
def test_no_command_shows_the_help(winnow, group):
    code, out, err = winnow(*group)
    assert (code, out) == (2, "")
    assert "Usage: winnow" in err
    assert "Error" not in err


def test_exit_codes_are_documented(winnow):
    code, out, _ = winnow("--help")
    assert code == 0
    assert EXIT_CODES in " ".join(out.split())
    page = (ROOT / "docs/reference/exit-codes.md").read_text()
    assert re.findall(r"^\| (\d+) \| [^`]", page, re.MULTILINE) == sorted(
        re.findall(r"\b\d+\b", EXIT_CODES), key=int
    )


def test_completion_is_shown_and_installs_nothing(winnow, tmp_path):
    code, out, _ = winnow("--install-completion")
    assert (code, out) == (2, "")
    environment = {
        "_WINNOW_COMPLETE": "complete_bash",
        "COMP_WORDS": "winnow rep",
        "COMP_CWORD": "1",
    }
    assert ended(env=environment) == (0, "report\n", "")
    environment |= {"COMP_WORDS": "winnow report --fail"}
    environment |= {"COMP_CWORD": "2"}
    assert ended(env=environment) == (0, "--fail-if\n", "")
    home = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    code, out, _ = ended("--show-completion", "bash", env=home)
    assert code == 0
    assert "complete -o default -F _winnow_completion winnow" in out
    assert list(tmp_path.iterdir()) == []


PANIC = """
import polars as pl
from jobs.console.ending import begin_process, run_command
begin_process()
run_command(lambda: pl.select(pl.lit(2**31 - 1, pl.Int32).cast(pl.Date).cast(pl.String)))
"""


def test_a_panic_of_a_dependency_is_a_line():
    """It is no Exception. Rust itself prints where it was, which nobody can keep it from."""
    env = {k: v for k, v in os.environ.items() if k != "WINNOW_DEBUG"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PANIC]
    found = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    assert "Error: a dependency failed on: out-of-range date\nHint: " in found.stderr
    assert "please report it" in found.stderr
    assert "Traceback" not in found.stderr
    assert "stack backtrace" not in found.stderr
    env["WINNOW_DEBUG"] = "1"
    found = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    assert "Traceback" in found.stderr


DROPPING = """
import os, sys, time
from jobs.console.ending import begin_process, run_command

class Dropping:
    def __del__(self):  # Python drops what is raised here
        os.kill(os.getpid(), int(sys.argv[1]))
        time.sleep(1)

def command():
    Dropping()
    time.sleep(20)

begin_process()
run_command(command)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_is_dropped_is_raised_again(number, code):
    done = subprocess.run(
        [sys.executable, "-c", DROPPING, str(int(number))], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("Run the same command again.\n")


LOADING = """
import sys, threading, types
from concurrent.futures import ThreadPoolExecutor
sys.modules["vllm"] = types.ModuleType("vllm")
ThreadPoolExecutor(1).submit(threading.Event().wait, 60)
from jobs.cli.main import main
main()
"""


def test_a_model_that_is_still_loaded_is_not_waited_for():
    """As by `verify --noise-floor`, whose engine is in its own process, after Ctrl-C."""
    command = [sys.executable, "-c", LOADING, "status", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert done.returncode == 2, done.stderr


BROKEN_AT_THE_END = """
import atexit, ctypes, sys
libc = ctypes.CDLL(None)
libc.__cxa_atexit(ctypes.cast(libc._exit, ctypes.c_void_p), ctypes.c_void_p(99), None)
atexit.register(print, "put away", file=sys.stderr)
if sys.argv.pop(1) == "ray":
    import ray
from jobs.cli.main import main
main()
"""
"""A destructor of compiled code, which runs after everything of Python, ends the process."""


@pytest.mark.parametrize(
    ("used", "arguments", "code"),
    [
        ("ray", ["--version"], 0),
        ("ray", ["status", "nowhere"], 2),
        ("no ray", ["--version"], 99),
    ],
)
def test_the_exit_code_stands_whatever_compiled_code_does_at_the_end(used, arguments, code):
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_AT_THE_END, used, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.endswith("put away\n")
    assert bool(done.stdout) == (arguments == ["--version"])
