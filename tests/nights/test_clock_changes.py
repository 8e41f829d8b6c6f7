"""Each scheduler at the hours that do not exist or come twice, against simulations of each."""

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from jobs.nights.clock_changes import next_runs, odd_nights, regular_schedule
from jobs.nights.cron_times import check_cron, on_calendar
from tests.nights.test_cron_times import matches

BERLIN = ZoneInfo("Europe/Berlin")
SCHEDULERS = ("cron", "cron with CRON_TZ", "systemd", "Kubernetes")
MINUTE = timedelta(minutes=1)

ZONES = {
    "Europe/Berlin": "2026-10-23T20:00 2027-03-26T20:00",
    "Africa/Cairo": "2026-10-29T01:00 2027-04-29T01:00",  # midnight does not exist
    "Australia/Lord_Howe": "2026-10-03T01:00 2027-04-03T01:00",  # by half an hour
}
EXPRESSIONS = [
    "30 2 * * *", "0 0 * * *", "0,15,45 2 * * *", "*/15 2 * * *", "30 * * * *",
    "0 */2 * * *", "45 1,2 * * 0", "10 2-3 28-31 * *", "30 3 * * 1-5",
]  # fmt: skip


def minutes(zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    moment = after.replace(second=0)
    while True:
        moment += MINUTE
        yield moment.astimezone(zone)


def every_match(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Look at the clock every minute: robfig/cron in Kubernetes, and cronie with CRON_TZ."""
    return (moment for moment in minutes(zone, after) if matches(expression, moment))


def first_match(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    return (moment for moment in every_match(expression, zone, after) if moment.fold == 0)


def vixie(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """The main loop of Vixie's cron, which Debian and cronie share, minute by minute."""
    wild = any(field.startswith("*") for field in expression.split()[:2])
    virtual = after.astimezone(zone).replace(tzinfo=None, second=0)
    for moment in minutes(zone, after):
        clock = moment.replace(tzinfo=None, fold=0)
        ahead = (clock - virtual) // MINUTE
        if ahead <= 0:  # put back: virtual time waits, and what has run is not run again
            if wild and matches(expression, clock):
                yield moment
            continue
        if wild and matches(expression, clock):
            yield moment
        missed = [virtual + n * MINUTE for n in range(1, ahead + 1)]
        if not wild and any(matches(expression, each) for each in missed):
            yield moment
        virtual = clock


REFERENCES = dict(zip(SCHEDULERS, (vixie, every_match, first_match, every_match), strict=True))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_next_runs_are_the_true_ones(expression, zone, scheduler):
    for start in ZONES[zone].split():
        after = datetime.fromisoformat(start).replace(tzinfo=UTC)
        wanted = REFERENCES[scheduler](expression, ZoneInfo(zone), after)
        runs = next_runs(expression, ZoneInfo(zone), after, 4, scheduler)
        assert [str(run) for run in runs] == [str(next(wanted)) for _ in range(4)]


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin"])
@pytest.mark.parametrize(
    "expression",
    ["30 3 * * MON-FRI", "0 */6 1,15 * *", "5-59/20 2 * 1-3 *", "30 2 * * *", "0,30 1-3 * * SUN"],
)
@pytest.mark.parametrize("day", ["2026-02-27", "2026-03-07", "2026-03-28", "2026-10-24"])
def test_systemd_itself_agrees(expression, zone, day):
    calendar = on_calendar(check_cron(expression), zone)
    base = f"{day} 11:00:00 UTC"
    command = ["systemd-analyze", "calendar", "--iterations=8", f"--base-time={base}", calendar]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env={"TZ": "UTC", "LC_ALL": "C"}
        )
    except FileNotFoundError:
        pytest.skip("this machine has no systemd-analyze")
    assert done.returncode == 0, done.stderr
    said = re.findall(r"(?:elapse|\(in UTC\)|Iter\. #\d+): \w+ (\S+ \S+) UTC", done.stdout)
    after = datetime.fromisoformat(f"{day}T11:00+00:00")
    runs = next_runs(expression, ZoneInfo(zone), after, 8, "systemd")
    assert said == [f"{run.astimezone(UTC):%Y-%m-%d %H:%M:%S}" for run in runs]


ODD = {
    "cron": [("2027-03-28", False, ["03:00 CEST"])],
    "systemd": [("2027-03-28", False, [])],
    "Kubernetes": [("2026-10-25", True, ["02:30 CEST", "02:30 CET"]), ("2027-03-28", False, [])],
    "cron with CRON_TZ": [
        ("2026-10-25", True, ["02:30 CEST", "02:30 CET"]), ("2027-03-28", False, []),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("scheduler", "wanted"), ODD.items())
def test_the_nights_on_which_the_clocks_change(scheduler, wanted):
    after = datetime(2026, 8, 1, tzinfo=UTC)
    found = odd_nights("30 2 * * *", BERLIN, after, scheduler)
    assert [
        (f"{odd.planned:%Y-%m-%d}", odd.exists, [f"{start:%H:%M %Z}" for start in odd.starts])
        for odd in found
    ] == wanted
    assert regular_schedule("30 2 * * *", BERLIN, after) == "30 3 * * *"
    assert odd_nights("30 3 * * *", BERLIN, after, scheduler) == []


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        ("0 1,2 * * *", "Europe/Berlin"),  # the night starts at 01:00
        ("*/10 * * * *", "Europe/Berlin"),
        ("30 2 * * MON", "Europe/Berlin"),  # the clocks change on Sundays
        ("30 2 1 7 *", "Europe/Berlin"),
        ("30 2 * * *", "Asia/Tokyo"),
        ("30 2 * * *", "UTC"),
    ],
)
def test_a_night_that_starts_anyway_is_not_odd(expression, zone, scheduler):
    assert odd_nights(expression, ZoneInfo(zone), datetime(2026, 8, 1, tzinfo=UTC), scheduler) == []


@pytest.mark.parametrize(
    ("expression", "zone", "moved"),
    [
        ("0 1 * * *", "America/New_York", "0 0 * * *"),  # 01:00 comes twice, 02:00 may not exist
        ("30 0 * * FRI", "Africa/Cairo", "30 1 * * FRI"),
        ("0,30 2 1 * *", "Europe/Berlin", "0,30 3 1 * *"),
    ],
)
def test_the_hour_that_is_proposed(expression, zone, moved):
    after = datetime(2026, 8, 1, tzinfo=UTC)
    assert regular_schedule(expression, ZoneInfo(zone), after) == moved
    for scheduler in SCHEDULERS:
        assert odd_nights(moved, ZoneInfo(zone), after, scheduler) == []
