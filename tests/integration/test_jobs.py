"""winnow submit and winnow jobs on a real Ray head, without and with token authentication.

The head is started as people start one (`ray start --head`), and the first command is sent to it
before it is ready.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.servers import free_ports

pytestmark = pytest.mark.soak


ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef0123456789abcdef"
PATIENCE_SECONDS = 180
Winnow = Callable[..., "subprocess.CompletedProcess[str]"]


class Head:
    """A Ray head of our own: temp folder, ports, HOME; ended by its own process ids."""

    def __init__(self, mode: str, home: Path) -> None:
        self.mode = mode
        # Sockets lie below it, and their paths have a short limit.
        self.folder = tempfile.mkdtemp(prefix="wj-", dir="/tmp")
        gcs, dashboard, agent, client = free_ports(4)
        self.gcs = f"127.0.0.1:{gcs}"
        self.address = f"http://127.0.0.1:{dashboard}"
        self.home = home
        self.started_in = home / "started in"
        self.started_in.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("WINNOW_", "RAY_"))}
        self.environment = kept | {
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            # A job's entrypoint calls `python`.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        token = {"RAY_AUTH_TOKEN": TOKEN} if mode == "token" else {}
        options = {
            "node-ip-address": "127.0.0.1",
            "port": gcs,
            "dashboard-host": "127.0.0.1",
            "dashboard-port": dashboard,
            "dashboard-agent-listen-port": agent,
            "ray-client-server-port": client,
            "num-cpus": 2,
            "num-gpus": 0,
            "object-store-memory": 100 << 20,
            "temp-dir": self.folder,
        }
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
                *(f"--{name}={value}" for name, value in options.items()),
                "--disable-usage-stats",
            ],
            env=self.environment | token | {"RAY_AUTH_MODE": mode},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=self.started_in,
        )

    @contextmanager
    def join(self, ip: str, environment: dict[str, str]) -> Iterator[None]:
        """Another node of the cluster, until the block ends."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        command += [f"--address={self.gcs}", f"--node-ip-address={ip}", "--num-cpus=1"]
        process = subprocess.Popen(
            [*command, "--num-gpus=0", "--disable-usage-stats"],
            env=self.environment | {"RAY_AUTH_MODE": self.mode} | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        count = "import ray, sys; ray.init(sys.argv[1]); print('nodes', len(ray.nodes()))"
        try:
            while b"nodes 2" not in subprocess.run(
                [sys.executable, "-c", count, self.gcs],
                env=self.environment, capture_output=True, timeout=PATIENCE_SECONDS,
            ).stdout:  # fmt: skip
                assert process.poll() is None
            yield
        finally:
            process.terminate()
            process.wait(60)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for left in psutil.process_iter():
            try:
                if left.environ().get("HOME") == str(self.home):
                    left.kill()
            except psutil.Error:
                continue
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "jobs.cli", *arguments]

    def submit_line(self, job_id: str, line: str) -> None:
        """Any shell command as a job, by Ray's own client."""
        code = (
            "import sys; from ray.job_submission import JobSubmissionClient\n"
            "job_id, line = sys.argv[1:]\n"
            "JobSubmissionClient().submit_job(submission_id=job_id, entrypoint=line)"
        )
        environment = self.client | {"RAY_AUTH_MODE": self.mode}
        subprocess.run([sys.executable, "-c", code, job_id, line], env=environment, check=True)

    @property
    def client(self) -> dict[str, str]:
        """The environment of someone who may talk to this head."""
        token = {"RAY_AUTH_TOKEN_PATH": str(self.home / "token")} if self.mode == "token" else {}
        return self.environment | token | {"RAY_API_SERVER_ADDRESS": self.address}


@pytest.fixture(scope="module", params=["disabled", "token"])
def head(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Head]:
    home = tmp_path_factory.mktemp(f"home-{request.param}")
    (home / "token").write_text(TOKEN)
    (home / "token").chmod(0o600)
    head = Head(request.param, home)
    yield head
    head.stop()


@pytest.fixture(scope="module")
def winnow(head: Head) -> Winnow:
    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            head.command(*arguments),
            env=head.client | environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )

    return run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cor pus")
    pq.write_table(pa.table({"text": ["one", "two words"]}), folder / "it's 1.parquet")
    return folder


@pytest.fixture(scope="module")
def first(winnow: Winnow, corpus: Path) -> "subprocess.CompletedProcess[str]":
    """The first job, sent to a head that has only just been started."""
    file = str(corpus / "it's 1.parquet")
    arguments = ["--wait-for-cluster", "120", "--id", "first", "--metadata", "night=1"]
    return winnow("submit", *arguments, "--", "plan", file, "--json")


def test_a_job_runs_to_its_end(first, winnow):
    assert first.returncode == 0, first.stderr
    assert first.stdout == "first\n"
    assert "Waiting for" in first.stderr
    assert '"rows": 2' in first.stderr
    assert "first succeeded after" in first.stderr

    job = json.loads(winnow("jobs", "status", "first", "--json").stdout)
    assert (job["state"], job["exit_code"], job["metadata"]) == ("succeeded", 0, {"night": "1"})
    assert job["command"].startswith("winnow plan ")


def test_the_same_id_runs_once(first, winnow, corpus):
    again = winnow("submit", "--id", "first", "--", "plan", str(corpus))
    assert (again.returncode, again.stdout) == (2, "")
    assert "job first was submitted before; its state: succeeded" in again.stderr


def test_the_exit_code_is_the_jobs_own(first, winnow):
    failed = winnow("submit", "--id", "failing", "--", "plan", "/nowhere/at-all")
    assert failed.returncode == 2
    assert "no such file or folder: /nowhere/at-all" in failed.stderr
    assert winnow("jobs", "status", "failing").returncode == 1


def test_a_folder_travels_and_logs_are_kept(first, winnow, corpus):
    sent = winnow("submit", "--no-wait", "--working-dir", str(corpus), "--json", "--", "plan", ".")
    assert sent.returncode == 0, sent.stderr
    job = json.loads(sent.stdout)
    assert job["exit_code"] is None
    followed = winnow("jobs", "logs", job["id"], "--follow")
    assert followed.returncode == 0, followed.stderr
    assert "rows" in followed.stdout
    assert winnow("jobs", "logs", job["id"]).stdout == followed.stdout


SHADOWS = {
    "jobs/__init__.py": "",
    "jobs/cli.py": "print('mine')",
    "pipeline.py": "raise SystemExit('my pipeline')",
    "random.py": "raise SystemExit('my random')",
    "ray.py": "raise SystemExit('my ray')",
}


def write_shadows(folder: Path) -> None:
    for name, text in SHADOWS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_modules_of_a_folder_shadow_nothing(first, winnow, head, tiny_model, tmp_path):
    """Neither those of --working-dir nor those where Ray was started, neither in the driver nor in
    the actors that it starts; paths in the folder still hold.
    """
    folder, out = tmp_path / "work", tmp_path / "run"
    write_shadows(folder)
    write_shadows(head.started_in)
    shutil.copytree(tiny_model, folder / "model")
    (folder / "data").mkdir()
    pq.write_table(pa.table({"text": ["one", "two words"]}), folder / "data" / "a.parquet")
    (folder / "night.toml").write_text(
        f'[score]\ncorpus = "data"\nout = "{out}"\nmodel = "model"\n'
    )

    try:
        sent = winnow(
            *("submit", "--working-dir", str(folder), "--", "score", "--config", "night.toml")
        )
    finally:
        for path in head.started_in.iterdir():  # the folder itself is where Ray's processes are
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    assert sent.returncode == 0, sent.stderr
    assert "mine" not in sent.stderr
    assert json.loads((out / "_SUCCESS").read_text())
    status = winnow("jobs", "list", "--json")
    assert json.loads(status.stdout)[0]["command"] == "winnow score --config night.toml"


def test_an_interrupt_leaves_the_job_and_stop_ends_it(first, winnow, head):
    # Nothing that Winnow does without a model lasts long enough.
    head.submit_line("long", "for i in $(seq 200); do echo line $i; sleep 1; done")
    with subprocess.Popen(
        head.command("jobs", "logs", "long", "--follow"),
        env=head.client,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as follower:
        assert follower.stdout is not None
        for text in follower.stdout:
            if text == "line 2\n":
                break
        follower.send_signal(signal.SIGINT)
        rest, err = follower.communicate(timeout=PATIENCE_SECONDS)
    assert follower.returncode == 130
    assert "line 1\n" not in rest
    assert "winnow jobs stop long" in err
    assert "Traceback" not in err

    assert json.loads(winnow("jobs", "status", "long", "--json").stdout)["state"] == "running"
    stopped = winnow("jobs", "stop", "long", "--json")
    assert stopped.returncode == 0, stopped.stderr
    assert json.loads(stopped.stdout)["state"] == "stopped"
    followed = winnow("jobs", "logs", "long", "--follow")
    assert followed.returncode == 143
    assert followed.stdout.splitlines().count("line 1") == 1
    listed = json.loads(winnow("jobs", "list", "--json").stdout)
    assert listed[0]["id"] == "long"


def test_a_driver_finds_its_cluster(first, winnow, head):
    """`winnow score` takes RAY_ADDRESS from the environment that Ray makes for a job."""
    line = (
        'python -c "import os; from jobs.run.cluster import connected, size_workers\n'
        "from pipeline.settings.config import ScoreConfig\n"
        "config = ScoreConfig(corpus='c', out='o', model='m')\n"
        "with connected(os.environ['RAY_ADDRESS']): print(size_workers(config))\""
    )
    head.submit_line("driver", line)
    followed = winnow("jobs", "logs", "driver", "--follow")
    assert followed.returncode == 0, followed.stdout
    assert "WorkerSize(fewest=1, most=1, num_cpus=2" in followed.stdout


@pytest.mark.parametrize("head", ["disabled"], indirect=True)
def test_doctor_asks_every_node(first, head):
    """And names the one on which jobs would fail: here Winnow cannot be imported."""

    def doctor() -> tuple[int, dict[str, dict[str, str]]]:
        done = subprocess.run(
            head.command("doctor", "--address", head.gcs, "--json"),
            env=head.environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        checks = json.loads(done.stdout)["checks"]
        return done.returncode, {check["name"]: check for check in checks}

    _, checks = doctor()
    assert checks["cluster"]["status"] == "ok"
    for role in ("driver", "workers"):
        assert checks[f"jobs' {role}"]["status"] == "ok", checks
        assert "winnow-ppl" in checks[f"jobs' {role}"]["found"]

    broken = head.home / "broken"
    (broken / "jobs").mkdir(parents=True)
    (broken / "jobs" / "__init__.py").write_text('raise ImportError("No module named jobs")')
    with head.join("127.0.0.2", {"PYTHONPATH": str(broken)}):
        code, checks = doctor()
    assert code == 1
    assert checks["jobs' driver"]["status"] == "ok"
    workers = checks["jobs' workers"]
    assert workers["status"] == "problem"
    assert re.fullmatch(r"127\.0\.0\.2: \S+: No module named jobs", workers["found"])
    assert "install winnow-ppl==" in workers["todo"]


@pytest.mark.parametrize("head", ["token"], indirect=True)
def test_without_the_token_nobody_is_let_in(first, head, winnow):
    for given, said in {"": "requires a token", "x" * 32: "rejects the token"}.items():
        refused = winnow("jobs", "list", RAY_AUTH_TOKEN=given, RAY_AUTH_TOKEN_PATH="")
        assert refused.returncode == 2
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    assert TOKEN not in first.stderr + first.stdout
