"""`winnow schedule` on this machine: crontab and user units, written by programs of ours."""

import re
from datetime import datetime
from pathlib import Path

import pytest

import jobs.cli.schedule
from jobs.cli.main import app
from jobs.console.ending import run_command
from jobs.nights import schedule_install

CRONTAB = """#!/bin/sh
case "$1" in
-l) cat "$SPOOL" 2>/dev/null || { echo "no crontab for me" >&2; exit 1; } ;;
-V) echo "${CRON_IS:-}" ;;
-) cat >"$SPOOL" ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
[ -z "$NO_BUS" ] || { echo "Failed to connect to bus: No medium found" >&2; exit 1; }
echo "$@" >>"$SPOOL"
"""
CONFIG = """[score]
corpus = "c"
model = "m"
[audit]
runs = "runs"
[schedule]
name = "nightly"
cron = "30 3 * * *"
time_zone = "Europe/Berlin"
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a crontab and a systemctl of our own; the spool that they write."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"crontab": CRONTAB, "systemctl": SYSTEMCTL}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("SPOOL", str(tmp_path / "spool"))
    zone = tmp_path / "zoneinfo" / "Europe" / "Berlin"
    zone.parent.mkdir(parents=True)
    zone.touch()
    monkeypatch.setattr(schedule_install, "ZONE_LINK", zone)
    (tmp_path / "nightly.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "spool"


@pytest.fixture
def schedule(machine, capsys):
    """Options -> (exit code, stdout, stderr)."""

    def run(*options: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            run_command(lambda: app(["schedule", "nightly.toml", *options]))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


IN_PODS = CONFIG.replace('"c"', '"s3://c/web"').replace('"runs"', '"s3://r/nights"')
IN_PODS += '[schedule.cluster]\nimage = "winnow:1"\n'
OTHERS = "MAILTO=me\n0 1 * * * backup\n"


@pytest.mark.parametrize("before", [None, "", OTHERS, OTHERS.rstrip()], ids=repr)
def test_the_crontab_keeps_what_is_others(schedule, machine, before):
    if before is not None:
        machine.write_text(before)

    assert schedule("--to", "cron", "--install")[0] == 0
    once = machine.read_text()
    assert schedule("--to", "cron", "--install")[0] == 0
    assert machine.read_text() == once
    assert once.count("jobs.cli audit") == 1
    kept = (before.rstrip("\n") + "\n") if before else ""
    assert once.startswith(kept + "# BEGIN winnow nightly\n")
    assert once.endswith("\n# END winnow nightly\n")
    # This machine goes by Berlin's clock: what Debian's cron does not know is not needed.
    assert "CRON_TZ" not in once

    assert schedule("--to", "cron", "--uninstall")[0] == 0
    assert machine.read_text() == kept
    code, _, err = schedule("--to", "cron", "--uninstall")
    assert code == 0
    assert "not in the crontab" in err


def test_two_nights_live_in_one_crontab(schedule, machine):
    schedule("--to", "cron", "--install")
    Path("nightly.toml").write_text(CONFIG.replace('"nightly"', '"nightly-2"'))
    schedule("--to", "cron", "--install")
    assert machine.read_text().count("jobs.cli audit") == 2
    schedule("--to", "cron", "--uninstall")
    assert "# BEGIN winnow nightly\n" in machine.read_text()
    assert "nightly-2" not in machine.read_text()


def test_a_block_without_an_end_is_left_alone(schedule, machine):
    torn = "# BEGIN winnow nightly\n0 1 * * * backup\n"
    machine.write_text(torn)
    code, _, err = schedule("--to", "cron", "--install")
    assert code == 2
    assert "none that ends the block" in err
    assert machine.read_text() == torn


def test_a_cron_of_another_clock_is_refused_unless_it_knows_zones(schedule, machine, monkeypatch):
    Path("nightly.toml").write_text(CONFIG.replace("Europe/Berlin", "Asia/Tokyo"))
    code, _, err = schedule("--to", "cron", "--install")
    assert code == 2
    assert "(Europe/Berlin), not in time_zone = 'Asia/Tokyo'" in err
    assert not machine.exists()

    monkeypatch.setenv("CRON_IS", "cronie 1.6.1")
    assert schedule("--to", "cron", "--install")[0] == 0
    assert "CRON_TZ=Asia/Tokyo\n30 3 * * * " in machine.read_text()


def test_systemd_units_come_and_go(schedule, machine):
    assert schedule("--to", "systemd", "--install")[0] == 0
    units = Path.home() / ".config" / "systemd" / "user"
    assert {unit.name for unit in units.iterdir()} == {"nightly.service", "nightly.timer"}
    assert "OnCalendar=*-*-* 03:30:00 Europe/Berlin" in (units / "nightly.timer").read_text()
    calls = machine.read_text().splitlines()
    assert calls[-2:] == ["--user daemon-reload", "--user enable --now nightly.timer"]

    assert schedule("--to", "systemd", "--uninstall")[0] == 0
    assert list(units.iterdir()) == []
    assert "--user disable --now nightly.timer" in machine.read_text()
    code, _, err = schedule("--to", "systemd", "--uninstall")
    assert code == 0
    assert "not among the units" in err


def test_without_a_session_bus_nothing_is_written(schedule, machine, monkeypatch):
    monkeypatch.setenv("NO_BUS", "1")
    code, _, err = schedule("--to", "systemd", "--install")
    assert code == 1
    assert "Failed to connect to bus" in err
    assert not (Path.home() / ".config").exists()


def test_a_machine_without_cron(schedule, machine, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = schedule("--to", "cron", "--install")
    assert code == 2
    assert "crontab is not installed on this machine" in err


@pytest.mark.parametrize("target", ["kubernetes", "kuberay"])
def test_a_cluster_is_not_touched(schedule, machine, target):
    code, _, err = schedule("--to", target, "--install")
    assert code == 2
    assert "kubectl apply -f -" in err


@pytest.mark.parametrize("target", ["cron", "systemd", "kubernetes", "kuberay"])
def test_printing_changes_nothing(schedule, machine, target):
    Path("nightly.toml").write_text(IN_PODS)
    code, out, err = schedule("--to", target)
    assert code == 0
    assert "audit" in out
    assert err.startswith("Next: ")
    assert "03:30 CE" in err
    assert not machine.exists()


CLOCK_CHANGES = {
    "systemd": ["does not exist in Europe/Berlin on 2027-03-28: systemd does not start that night"],
    "cron": ["does not exist in Europe/Berlin on 2027-03-28: cron starts that night at 03:00 CEST"],
    "kubernetes": [
        "comes twice in Europe/Berlin on 2026-10-25: Kubernetes starts that night at 02:30 CEST "
        "and 02:30 CET; the later start does nothing if the night is running or done",
        "does not exist in Europe/Berlin on 2027-03-28: Kubernetes does not start that night",
    ],
}


@pytest.mark.parametrize("target", CLOCK_CHANGES)
def test_a_night_on_which_the_clocks_change_is_named(schedule, monkeypatch, target):
    class Summer(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 8, 1, tzinfo=tz)

    monkeypatch.setattr(jobs.cli.schedule, "datetime", Summer)
    Path("nightly.toml").write_text(IN_PODS.replace("30 3", "30 2"))
    code, _, err = schedule("--to", target)
    assert code == 0
    said = " ".join(err.split())
    assert re.findall(r"Warning: 02:30 (.*?)(?= Warning| Hint)", said) == CLOCK_CHANGES[target]
    assert said.endswith(
        'Hint: use cron = "30 3 * * *", a time that occurs exactly once every day in Europe/Berlin'
    )


def test_cron_is_printed_for_the_clock_of_this_machine(schedule):
    assert "CRON_TZ" not in schedule("--to", "cron")[1]
    Path("nightly.toml").write_text(CONFIG.replace("Europe/Berlin", "Europe/Paris"))
    assert "CRON_TZ=Europe/Paris" in schedule("--to", "cron")[1]


def test_a_secret_is_kept_out_of_a_config_map(schedule, machine):
    webhook = "[audit]\nwebhook = {url = 'https://hooks.slack.com/services/T0/B0/x'}\n"
    Path("nightly.toml").write_text(IN_PODS.replace("[audit]\n", webhook))
    code, out, err = schedule("--to", "kubernetes")
    assert code == 2
    assert "looks like a secret" in err
    assert "T0" not in err
    assert out == ""
    # On this machine it stays in the file.
    assert schedule("--to", "systemd")[0] == 0


URL_ENV = '[audit.webhook]\nurl_env = "NIGHT_HOOK"\n'
SET_IN = {
    "cron": "put a line NIGHT_HOOK=URL above the night's in the crontab",
    "systemd": "systemctl --user edit nightly.service, and add [Service] and EnvironmentFile=FILE",
    "kubernetes": "the Secret hooks needs a key NIGHT_HOOK",
    "kuberay": "the Secret hooks needs a key NIGHT_HOOK",
}


@pytest.mark.parametrize("target", SET_IN)
def test_where_to_set_the_webhooks_variable_is_said(schedule, target, monkeypatch):
    """The shell that makes a schedule may have it; the night that cron starts has not."""
    monkeypatch.setenv("NIGHT_HOOK", "https://hooks.slack.com/services/T0/B0/x")
    Path("nightly.toml").write_text(IN_PODS + 'credentials_secret = "hooks"\n' + URL_ENV)
    code, out, err = schedule("--to", target)
    said = " ".join(err.split())
    assert code == 0
    assert (
        "Warning: the schedule does not hold the environment variable NIGHT_HOOK (url_env" in said
    )
    assert SET_IN[target] in said
    assert "hooks.slack.com" not in out + err
    if target in ("cron", "systemd"):
        assert SET_IN[target] in " ".join(schedule("--to", target, "--install")[2].split())
        return
    Path("nightly.toml").write_text(IN_PODS + URL_ENV)
    code, out, err = schedule("--to", target)
    assert (code, out) == (2, "")
    assert "variable NIGHT_HOOK, which pods do not have" in " ".join(err.split())
    assert 'Hint: add credentials_secret = "NAME" to [schedule.cluster]' in err


LOCAL = {
    "corpus": ("s3://c/web", "data/web", "corpus in [score]"),
    "absolute": ("s3://c/web", "/srv/web", "corpus in [score]"),
    "file": ("s3://c/web", "file:///srv/web", "corpus in [score]"),
    "the folder of a volume": ("s3://c/web", "/data/web", "corpus in [score]"),
    "runs": ("s3://r/nights", "runs", "runs in [audit]"),
    "model": ('"m"', '"./m"', "model in [score]"),
    "model where a volume would be": ('"m"', '"/data/m"', "model in [score]"),
}


@pytest.mark.parametrize(("store", "local", "key"), LOCAL.values(), ids=LOCAL)
@pytest.mark.parametrize("target", ["kubernetes", "kuberay"])
def test_what_pods_do_not_have_is_refused(schedule, store, local, key, target):
    Path("nightly.toml").write_text(IN_PODS.replace(store, local))
    code, out, err = schedule("--to", target)
    assert (code, out) == (2, "")
    assert f"{key} of" in err
    assert 'add volume_claim = "NAME" to [schedule.cluster]' in " ".join(err.split())
    assert schedule("--to", "systemd")[0] == 0


def test_a_volume_has_what_lies_on_it(schedule):
    on_volume = IN_PODS.replace("s3://c/web", "/data/web").replace("s3://r/nights", "/data/nights")
    Path("nightly.toml").write_text(on_volume + 'volume_claim = "corpora"\n')
    code, out, _ = schedule("--to", "kubernetes")
    assert code == 0
    assert 'persistentVolumeClaim: {claimName: "corpora"}' in out
    Path("nightly.toml").write_text(IN_PODS.replace("s3://c/web", "web") + 'volume_claim = "a"\n')
    code, out, err = schedule("--to", "kubernetes")
    assert (code, out) == (2, "")
    assert "or a path below /data, where volume_claim is mounted" in " ".join(err.split())


@pytest.mark.parametrize("target", ["kubernetes", "kuberay"])
def test_a_model_that_only_an_image_may_hold_is_said(schedule, target):
    """An image may have a model in it: refused would be too much."""
    held_by = "= '{}' is a path that pods have only if their image holds it"
    for model, volume in [("/srv/m", ""), ("/srv/m", "v"), ("/data/../m", "v")]:
        claim = f'volume_claim = "{volume}"\n' if volume else ""
        Path("nightly.toml").write_text(IN_PODS.replace('"m"', f'"{model}"') + claim)
        code, out, err = schedule("--to", target)
        assert code == 0
        assert out
        assert f"Warning: model in [score] of {Path.cwd()}/nightly.toml" in " ".join(err.split())
        assert held_by.format(model) in " ".join(err.split())
        assert "pods" not in schedule("--to", "systemd")[2]
    for model in ("/data/m", "org/model"):
        claim = 'volume_claim = "v"\n'
        Path("nightly.toml").write_text(IN_PODS.replace('"m"', f'"{model}"') + claim)
        code, _, err = schedule("--to", target)
        assert (code, "Warning" in err) == (0, False)


@pytest.mark.parametrize("target", ["cron", "systemd", "kubernetes", "kuberay"])
def test_several_starts_a_day_are_one_night(schedule, target):
    assert "times a day" not in schedule("--to", "systemd")[2]
    Path("nightly.toml").write_text(IN_PODS.replace("30 3 * * *", "30 3-8 * * *"))
    code, _, err = schedule("--to", target)
    assert code == 0
    assert (
        "Warning: cron = '30 3-8 * * *' starts 6 times a day, and a night is a date: the first "
        "start audits the corpus, the others only resume a night that was stopped"
    ) in " ".join(err.split())


def test_the_zone_of_this_machine(tmp_path, monkeypatch):
    for link, zone in {"America/Lima": "America/Lima", "Etc/UTC": "UTC"}.items():
        target = tmp_path / "share" / "zoneinfo" / link
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        own = tmp_path / f"localtime-{zone.replace('/', '-')}"
        own.symlink_to(target)
        monkeypatch.setattr(schedule_install, "ZONE_LINK", own)
        assert schedule_install.machine_zone() == zone
    monkeypatch.setattr(schedule_install, "ZONE_LINK", tmp_path)
    assert schedule_install.machine_zone() is None
