"""The moments at which a schedule starts, clock changes included, for whatever starts it.

Owns what happens to a time that does not exist in spring or comes twice in autumn; the schedulers
differ:

cron                runs it as soon as the clock has gone forward; does not repeat it (cron(8)). A
                    schedule whose minute or hour begins with * goes by the new time instead.
cron with CRON_TZ   skips it; repeats it (a comment in cronie's find_jobs() says so)
Kubernetes          skips it; repeats it (robfig/cron; kubernetes/kubernetes#121594)
systemd             skips it; does not repeat it (`systemd-analyze calendar`; systemd/systemd#5595)
"""

import heapq
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise, takewhile
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim

from jobs.nights.cron_times import with_hour

Scheduler = Literal["cron", "cron with CRON_TZ", "systemd", "Kubernetes"]
DAY = timedelta(days=1)
DAYS_AHEAD = 400
"""More than a year, so that it contains every clock change."""


class OddNight(NamedTuple):
    """A night that does not start exactly once at its time, because the clocks change."""

    planned: datetime
    """The first time that the schedule names on that day, without a time zone."""
    exists: bool
    """False if the clocks skip this time, True if it occurs twice."""
    starts: tuple[datetime, ...]


def next_runs(
    expression: str, zone: ZoneInfo, after: datetime, count: int, scheduler: Scheduler
) -> list[datetime]:
    """The next start times, in the schedule's time zone."""
    return list(islice(_runs(expression, zone, after, scheduler), count))


def odd_nights(
    expression: str, zone: ZoneInfo, after: datetime, scheduler: Scheduler
) -> list[OddNight]:
    """Those of the next year, in order."""
    nights = (_odd_night(expression, zone, day, scheduler) for day in _days_of_change(zone, after))
    return [night for night in nights if night is not None]


def regular_schedule(expression: str, zone: ZoneInfo, after: datetime) -> str | None:
    """The same schedule at the nearest hour that comes exactly once on every day, if any does."""
    days = _days_of_change(zone, after)
    wanted = min(CronSim(expression, datetime(2000, 1, 1)).hours)
    for hour in sorted(range(24), key=lambda hour: (abs(hour - wanted), -hour)):
        moved = with_hour(expression, hour)
        daily = " ".join([*moved.split()[:2], "*", "*", "*"])
        if not any(_odd_night(daily, zone, day, "Kubernetes") for day in days):
            return moved
    return None


def _runs(
    expression: str, zone: ZoneInfo, after: datetime, scheduler: Scheduler
) -> Iterator[datetime]:
    if scheduler == "cron" and not any(field[0] == "*" for field in expression.split()[:2]):
        # CronSim treats a fixed time as cron does.
        yield from (run for run in CronSim(expression, after.astimezone(zone)) if run > after)
        return
    waiting: list[datetime] = []
    for wall in CronSim(expression, _wall(after, zone) - DAY):
        # No clock is put back by a whole day: anything further back is in order.
        while waiting and _wall(waiting[0], zone) < wall - DAY:
            yield heapq.heappop(waiting).astimezone(zone)
        moments = _moments(wall, zone)
        for moment in moments[:1] if scheduler == "systemd" else moments:
            if moment > after:
                heapq.heappush(waiting, moment)


def _odd_night(expression: str, zone: ZoneInfo, day: date, scheduler: Scheduler) -> OddNight | None:
    midnight = datetime.combine(day, time())
    walls = list(
        takewhile(
            lambda wall: wall.date() == day, CronSim(expression, midnight - timedelta(seconds=1))
        )
    )
    if not walls or (len(walls) > 1 and any(_moments(wall, zone) for wall in walls)):
        return None  # of several starts on a day, one is enough
    before = midnight.replace(tzinfo=zone).astimezone(UTC) - DAY
    runs = takewhile(lambda run: run.date() <= day, _runs(expression, zone, before, scheduler))
    starts = tuple(run for run in runs if run.date() == day)
    if len(starts) == 1 and starts[0].replace(tzinfo=None, fold=0) == walls[0]:
        return None
    return OddNight(walls[0], bool(_moments(walls[0], zone)), starts)


def _days_of_change(zone: ZoneInfo, after: datetime) -> list[date]:
    """The days of the next year on which the clocks change."""
    start = after.astimezone(UTC)
    hours = [(start + timedelta(hours=n)).astimezone(zone) for n in range(24 * DAYS_AHEAD)]
    days = {
        day
        for before, later in pairwise(hours)
        if before.utcoffset() != later.utcoffset()
        for day in (before.date(), later.date())
    }
    return sorted(days)


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """The local time, without a zone."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _moments(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """When that local time occurs: usually once, but never or twice at a clock change."""
    both = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(moment for moment in both if _wall(moment, zone) == wall)
