"""Every configuration of infra/configs runs with every command that a page names it for."""

import re
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.nights import audit as module
from jobs.nights.schedule_config import load_schedule
from tests.support.audits import Scorer

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "infra/configs").glob("*.toml"))
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "infra").glob("*.md"),
    *(ROOT / "infra").rglob("*.yaml"),
    *(ROOT / "infra/configs").iterdir(),
    *(ROOT / "docs").glob("*.md"),
]
COMMAND = re.compile(r"winnow (\w+)[^\n`&|]*?(?:/config|/tmp|infra/configs)/([\w-]+\.toml)")
USES = {found for page in PAGES for found in COMMAND.findall(page.read_text())}
TRIED = {"score": "test_score", "audit": "test_audit", "schedule": "test_schedule"}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"text": f"text {i}", "source": "ab"[i % 2], "lang": "en"} for i in range(20)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    return folder


def test_every_command_of_the_pages_is_tried():
    assert {name for _, name in USES} >= {"score.toml", "audit.toml"}
    # What `config show` shows is typed in tests/test_pages.py.
    uses = {(command, name) for command, name in USES if command != "config"}
    assert {command for command, _ in uses} <= set(TRIED)
    for command, name in uses:
        assert (command == "score") == (name != "audit.toml"), f"winnow {command} {name}"
        assert (ROOT / "infra/configs" / name).is_file()


@pytest.mark.parametrize(
    "file", [file for file in CONFIGS if file.stem != "audit"], ids=lambda file: file.stem
)
def test_score(file, winnow, corpus, tiny_model):
    small = ["--window-tokens", "64"]
    if "context_tokens" in file.read_text():
        small += ["--context-tokens", "16"]
    code, _, err = winnow(
        *("score", corpus, "--config", file, "--model", tiny_model, "--out", "run", "--dry-run"),
        *small,
    )
    assert code == 0, err


def test_audit(winnow, corpus, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_night", partial(module.run_night, score=Scorer()))
    text = (ROOT / "infra/configs/audit.toml").read_text()
    for there, here in {
        "s3://example-corpus/web/": corpus,
        "s3://example-scores/web/nightly": tmp_path / "nights",
        "Qwen/Qwen2.5-0.5B": tiny_model,
    }.items():
        assert there in text
        text = text.replace(there, str(here))
    (tmp_path / "audit.toml").write_text(text)
    code, out, err = winnow("audit", "audit.toml")
    assert code == 0, err
    assert ": pass, compared with nothing: no earlier night passed" in out


@pytest.mark.parametrize("target", ["cron", "systemd", "kubernetes", "kuberay"])
def test_schedule(winnow, target):
    code, out, err = winnow("schedule", ROOT / "infra/configs/audit.toml", "--to", target)
    assert code == 0, err
    assert "audit" in out
    assert "Warning" not in err


def test_both_nights_on_kubernetes_start_and_end_alike():
    """The one that `winnow schedule` prints and the one of infra/kubernetes."""
    config = load_schedule(ROOT / "infra/configs/audit.toml")
    nightly = ROOT / "infra/kubernetes/base/nightly"
    spec = yaml.safe_load((nightly / "cronjob.yaml").read_text())["spec"]
    assert (config.cron, config.time_zone) == (spec["schedule"], spec["timeZone"])
    deadline = re.search(
        r"activeDeadlineSeconds, value: (\d+)", (nightly / "kustomization.yaml").read_text()
    )
    assert deadline is not None
    assert config.deadline_seconds == int(deadline[1])
