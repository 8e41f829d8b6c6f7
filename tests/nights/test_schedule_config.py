"""The [schedule] table: every mistake is named with its key, its table and its file."""

import re
from pathlib import Path

import pytest

from jobs.nights.schedule_config import load_schedule, require_cluster
from pipeline.errors import ConfigError

NIGHT = '[score]\ncorpus = "c"\nmodel = "m"\n[audit]\nruns = "runs"\n'
GOOD = 'cron = "0 3 * * *"\ntime_zone = "Europe/Berlin"\n'
CLAIM = 'volume_claim = "data"\n'


@pytest.fixture
def load(tmp_path: Path):
    def write_and_load(schedule: str, *, audit: str = NIGHT):
        file = tmp_path / "nightly.toml"
        file.write_text(f"{audit}[schedule]\n{schedule}")
        return load_schedule(file)

    return write_and_load


def test_what_is_not_set(load):
    config = load(GOOD)
    assert (config.name, config.deadline_seconds) == ("winnow-nightly", 12 * 3600)
    assert config.zone.key == "Europe/Berlin"
    with pytest.raises(ConfigError, match=r"has no \[schedule.cluster\] table"):
        require_cluster(config, Path("nightly.toml"))


def test_what_is_set(load, tmp_path):
    config = load(
        GOOD + 'deadline_hours = 0.5\n[schedule.cluster]\nimage = "winnow:1"\nworkers = 3',
        audit=NIGHT.replace('"c"', '"s3://c"').replace('"runs"', '"s3://runs"'),
    )
    assert config.deadline_seconds == 1800
    assert require_cluster(config, tmp_path / "nightly.toml").workers == 3


MISTAKES = {
    "cron": ('cron = "0 3 * *"\ntime_zone = "UTC"', "cron in [schedule] of {file} = '0 3 * *': 4 "),
    "no cron": ('time_zone = "UTC"', "cron is not set in [schedule] of {file} (at line "),
    "no zone": ('cron = "0 3 * * *"', "time_zone is not set in [schedule] of {file}"),
    "zone": (
        'cron = "0 3 * * *"\ntime_zone = "Europe/Berln"',
        "= 'Europe/Berln': no such time zone; did you mean Europe/Berlin?",
    ),
    "not a zone": (
        'cron = "0 3 * * *"\ntime_zone = "../../etc/passwd"',
        "= '../../etc/passwd': no such time zone",
    ),
    "key": (GOOD + "deadline = 3", "unknown key 'deadline' in [schedule] of {file}"),
    "text for a number": (
        GOOD + 'deadline_hours = "8"',
        "deadline_hours in [schedule] of {file} = '8': must be a valid number",
    ),
    "no time at all": (GOOD + "deadline_hours = 0", "must be greater than 0"),
    "not finite": (GOOD + "deadline_hours = nan", "deadline_hours in [schedule]"),
    "name": (GOOD + 'name = "Nightly_1"', "= 'Nightly_1': must be lower-case letters"),
    "long name": (GOOD + f'name = "{"n" * 31}"', "at most 30 characters"),
    "name with a line": (GOOD + 'name = "a\\nb"', "must be lower-case letters"),
    "cluster key": (
        GOOD + '[schedule.cluster]\nimage = "x"\nworker = 3',
        "unknown key 'worker' in [schedule.cluster] of {file}",
    ),
    "no image": (
        GOOD + "[schedule.cluster]",
        "image is not set in [schedule.cluster] of {file}",
    ),
    "no workers": (
        GOOD + '[schedule.cluster]\nimage = "x"\nworkers = 0',
        "workers in [schedule.cluster] of {file} = 0: must be greater",
    ),
    "memory": (GOOD + '[schedule.cluster]\nimage = "x"\nmemory_per_worker = "32 GB"', "'32 GB'"),
    "not a table": (GOOD + "cluster = 3", "cluster in [schedule] of {file} is not a table"),
}


@pytest.mark.parametrize(("schedule", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_place(load, tmp_path, schedule, message):
    message = message.format(file=tmp_path / "nightly.toml")
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        load(schedule)
    assert "\n" not in str(raised.value)


def test_a_near_key_is_offered(load):
    with pytest.raises(ConfigError) as raised:
        load(GOOD + 'timezone = "UTC"')
    assert raised.value.hint == "did you mean 'time_zone'?"


def test_a_night_without_an_audit_is_refused(load):
    with pytest.raises(ConfigError, match=r"has no \[audit\] table"):
        load(GOOD, audit="")


def test_a_mistake_in_what_a_night_does_is_found_before_it_is_scheduled(load):
    with pytest.raises(ConfigError, match=r"unknown key 'sample_row' in \[audit\] of .*toml") as e:
        load(GOOD, audit=NIGHT + "sample_row = 5\n")
    assert e.value.hint == "did you mean 'sample_rows'?"
    with pytest.raises(ConfigError, match=r"out in \[score\] of .* is set by the audit itself"):
        load(GOOD, audit=NIGHT.replace("[audit]", 'out = "x"\n[audit]'))


def test_a_file_that_is_missing_and_one_that_is_near(tmp_path):
    (tmp_path / "nightly.toml").touch()
    with pytest.raises(ConfigError, match="No such file") as raised:
        load_schedule(tmp_path / "nigtly.toml")
    assert raised.value.hint == f"did you mean {tmp_path}/nightly.toml?"


@pytest.mark.parametrize(
    ("trace", "volume", "problem", "hint"),
    [
        ("t.json", "", "is on the disk of a pod, which is gone after the night", "remove it; or"),
        ("/t.json", CLAIM, "is on the disk of a pod", "name a path below /data, where"),
        ("/data/t.json", "", "is not on a mounted volume", "remove it; or add volume_claim"),
        ("s3://b/t.json", CLAIM, "is in a store, and this is written to a disk", "name a path"),
        ("/data/t.json", CLAIM, None, None),
    ],
)
def test_a_trace_outlives_its_pod(load, tmp_path, trace, volume, problem, hint):
    stores = NIGHT.replace('"c"', '"s3://c"').replace('"runs"', '"s3://runs"')
    score = stores.replace("[audit]", f'trace = "{trace}"\n[audit]')
    config = load(f'{GOOD}[schedule.cluster]\nimage = "winnow:1"\n{volume}', audit=score)
    file = tmp_path / "nightly.toml"
    if problem is None:
        require_cluster(config, file)
        return
    with pytest.raises(ConfigError) as raised:
        require_cluster(config, file)
    assert str(raised.value).startswith(f"trace in [score] of {file} = '{trace}': {problem}")
    assert raised.value.hint.startswith(hint)
