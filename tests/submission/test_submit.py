"""jobs/submission/submit.py: a bad request is refused here, before any cluster hears of it."""

import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from jobs.cli.main import app
from jobs.console.ending import run_command
from jobs.submission.job_client import Job
from jobs.submission.submit import Submission, check_id, new_id, parse_metadata
from pipeline.errors import ConfigError, UsageError

NOWHERE = ["--address", "http://127.0.0.1:9", "--wait-for-cluster", "0"]
"""The discard port: reaching the network is an error of its own."""
REACHED = "no Ray dashboard is ready at http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def submit(capsys):
    """Arguments -> (exit code, stdout, stderr)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            run_command(lambda: app(["submit", *map(str, arguments)]))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


SCORE = ["score", "s3://corpora/web", "--out", "s3://runs/web", "--model", "org/model"]
MISTAKES = {
    "no command": (["--"], "Missing argument"),
    "unknown": (["--", "scoer", "x"], "'scoer' is not a command that can be submitted"),
    "itself": (["--", "submit", "--", "plan", "x"], "'submit' is not a command that can be"),
    "option": (["--", *SCORE, "--modle", "x"], "No such option: --modle"),
    "ours after theirs": (["--", *SCORE, "--no-wait"], "No such option: --no-wait"),
    "value": (["--", *SCORE, "--prefix", "box"], "--prefix = 'box': must be"),
    "number": (["--", *SCORE, "--limit", "many"], "--limit"),
    "no model": (["--", *SCORE[:4]], "model is not set"),
    "id": (["--id", "../etc", "--", "plan", "x"], "'../etc' cannot be a job's id"),
    "metadata": (["--metadata", "night", "--", "plan", "x"], "'night' is not KEY=VALUE"),
    "secret metadata": (["--metadata", "api_key=1", "--", "plan", "x"], "looks like a secret"),
    "secret argument": (["--", "plan", "s3://key:hunter2@b/x"], "argument 1 of plan looks like"),
    "address": (["--address", "head:8265", "--", "plan", "x"], "'head:8265' is not the address"),
    "no folder": (["--working-dir", "/nowhere", "--", "plan", "x"], "/nowhere is not a folder"),
    "memory": (["--entrypoint-memory", "-1", "--", "plan", "x"], "--entrypoint-memory"),
    "config stays": (["--", "score", "--config", "a.toml"], "the job would not find a.toml"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_reaches_no_cluster(submit, arguments, message):
    given = [] if "--address" in arguments else NOWHERE
    code, out, err = submit(*given, *arguments)
    assert code == 2
    assert message in err
    assert REACHED not in err
    assert "hunter2" not in err
    assert out == ""


@pytest.mark.parametrize("dashes", [["--"], []], ids=["dashes", "no dashes"])
def test_a_good_request_reaches_out(submit, dashes):
    code, _, err = submit(*NOWHERE, *dashes, *SCORE, "--carry", "source", "--strict")
    assert code == 2
    assert REACHED in err


def test_settings_of_this_machine_do_not_count(submit, monkeypatch):
    """The job would not have them."""
    monkeypatch.setenv("WINNOW_SCORE_MODEL", "org/model")
    code, _, err = submit(*NOWHERE, "--", *SCORE[:4])
    assert code == 2
    assert "model is not set" in err
    code, _, err = submit(*NOWHERE, "--", *SCORE)
    assert "not sent to the cluster: WINNOW_SCORE_MODEL" in err
    assert REACHED in err


def test_a_configuration_is_read_where_the_job_will_find_it(submit, tmp_path, monkeypatch):
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "n.toml").write_text(
        '[score]\ncorpus = "s3://c/x"\nout = "s3://r/x"\nmodel = "o/m"\n'
    )
    (tmp_path / "n.toml").write_text("[scored]\n")
    monkeypatch.chdir(tmp_path)
    arguments = ["--working-dir", folder, "--", "score", "--config", "n.toml"]
    assert REACHED in submit(*NOWHERE, *arguments)[2]
    (folder / "n.toml").write_text('[score]\nmodle = "o/m"\n')
    assert "unknown key 'modle' in [score] of n.toml" in submit(*NOWHERE, *arguments)[2]
    assert Path.cwd() == tmp_path
    arguments[-1] = "m.toml"
    assert "cannot read the configuration m.toml" in submit(*NOWHERE, *arguments)[2]


def test_a_path_of_this_machine_is_said(submit, tmp_path, monkeypatch):
    """The cluster may have it too, on a shared disk: no reason to refuse it."""
    monkeypatch.chdir(tmp_path)
    for name in ("web", "m", "run"):
        (tmp_path / name).mkdir()
    lies_here = "the cluster may not have these paths of this machine: "
    for corpus, model, said in [
        ("web", "org/model", "corpus = 'web';"),
        (tmp_path / "web", tmp_path / "m", f"corpus = '{tmp_path}/web', model = '{tmp_path}/m';"),
        ("/nowhere/web", "./m", "model = './m';"),
    ]:
        words = ["score", corpus, "--out", "s3://runs/web", "--model", model]
        code, _, err = submit(*NOWHERE, "--", *words)
        assert code == 2
        assert f"Warning: {lies_here}{said} name a store" in " ".join(err.split())
        assert REACHED in err
    assert lies_here not in " ".join(submit(*NOWHERE, "--", *SCORE)[2].split())
    assert "run = 'run';" in " ".join(submit(*NOWHERE, "--", "report", "run")[2].split())
    # What is uploaded is there; an absolute path is not.
    (tmp_path / "n.toml").write_text(
        f'[score]\ncorpus = "web"\nout = "s3://r/x"\nmodel = "{tmp_path}/m"\n'
    )
    words = ["--working-dir", tmp_path, "--", "score", "--config", "n.toml"]
    said = " ".join(submit(*NOWHERE, *words)[2].split())
    assert f"{lies_here}model = '{tmp_path}/m';" in said


def test_what_a_job_would_write_to_this_machine_is_said_too(submit, tmp_path, monkeypatch):
    """In one line with what it reads. It need not be there yet; a folder that only the cluster has
    is the cluster's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.parquet").touch()
    (tmp_path / "cuts.json").touch()
    score = ["score", "s3://c", "--model", "o/m", "--out"]
    night = f'[score]\ncorpus = "web/*.parquet"\nmodel = "o/m"\n[audit]\nruns = "{tmp_path}/n"\n'
    (tmp_path / "night.toml").write_text(night)
    for words, said in [
        ([*score, "s3://r"], None),
        ([*score, "/nowhere/runs/web"], None),
        ([*score, "runs/web"], "out = 'runs/web'"),
        ([*score, tmp_path / "new"], f"out = '{tmp_path}/new'"),
        (["score", "web/*.parquet", *score[2:], "r"], "corpus = 'web/*.parquet', out = 'r'"),
        (
            ["filter", "s3://r", "--out", "kept", "--rejects", "s3://x", "--cutoffs", "cuts.json"],
            "cutoffs = 'cuts.json', out = 'kept'",
        ),
    ]:
        _, _, err = submit(*NOWHERE, "--", *words)
        expected = f"paths of this machine: {said}; name a store" if said else ""
        assert expected in " ".join(err.split())
        assert ("paths of this machine" in " ".join(err.split())) == (said is not None)
        assert REACHED in err
    # The corpus is uploaded; what a night writes would be gone with the job.
    _, _, err = submit(*NOWHERE, "--working-dir", tmp_path, "--", "audit", "night.toml")
    assert f"paths of this machine: runs = '{tmp_path}/n'; name" in " ".join(err.split())


def test_a_trace_stays_on_the_cluster(submit, tmp_path, monkeypatch):
    """It is written to a disk, and the job runs on another machine's."""
    monkeypatch.chdir(tmp_path)
    stays = "Warning: the job writes trace = 't.json' to a disk of the node that it runs on"
    for words in ([*SCORE, "--trace", "t.json"], SCORE):
        _, _, err = submit(*NOWHERE, "--", *words)
        assert (stays in " ".join(err.split())) == ("--trace" in words)
        assert REACHED in err
    (tmp_path / "n.toml").write_text(
        '[score]\ncorpus = "s3://c"\nmodel = "o/m"\ntrace = "t.json"\n[audit]\nruns = "s3://r"\n'
    )
    words = ["--working-dir", tmp_path, "--", "audit", "n.toml"]
    assert stays in " ".join(submit(*NOWHERE, *words)[2].split())


def test_help_of_the_submitted_command_is_its_own(submit):
    code, out, _ = submit("--", "score", "--help")
    assert code == 0
    assert "--min-k-percent" in out


def test_the_shell_on_the_cluster_sees_the_same_words():
    words = ("plan", "a b", "it's", "$HOME;`id`", "*", "", "--carry", "ü\n")
    line = Submission("id", words).entrypoint
    assert shlex.split(line) == ["python", "-P", "-m", "jobs.cli", *words]


def test_every_other_command_can_be_submitted(submit):
    names = set(get_command(app).commands) - {"submit", "jobs", "schedule", "config"}
    assert {"score", "plan", "report"} <= names
    for name in names:
        assert "is not a command that can be submitted" not in submit(*NOWHERE, "--", name)[2]


def test_ids_alone(winnow, monkeypatch):
    jobs = [Job(one, "running", "x", 0.0, None, "", None, {}) for one in ("b-2", "a-1\x1b[31m")]
    monkeypatch.setattr("jobs.submission.job_client.Cluster.__init__", lambda *_, **__: None)
    monkeypatch.setattr("jobs.submission.job_client.Cluster.jobs", lambda _: jobs)
    code, out, _ = winnow("jobs", "list", "-q")
    assert (code, out) == (0, "b-2\na-1\N{REPLACEMENT CHARACTER}[31m\n")
    code, out, err = winnow("jobs", "list", "-q", "--json")
    assert (code, out) == (2, "")
    assert "contradict each other" in err


def test_new_ids_differ_and_are_ids():
    ids = {check_id(new_id("score")) for _ in range(50)}
    assert len(ids) == 50
    assert all(job_id.startswith("winnow-score-2") for job_id in ids)


@pytest.mark.parametrize("job_id", ["", "-a", ".", "..", "a/b", "a b", "a\n", "é", "a" * 101])
def test_what_cannot_be_an_id(job_id):
    with pytest.raises(UsageError, match="cannot be a job's id"):
        check_id(job_id)


def test_metadata():
    assert parse_metadata(["night=1", "url=a=b", "empty="]) == {
        "night": "1",
        "url": "a=b",
        "empty": "",
    }
    for pair in ("=x", "x", " =x"):
        with pytest.raises(ConfigError, match="is not KEY=VALUE"):
            parse_metadata([pair])
