"""Cron expressions: those that every scheduler reads alike, and what they are in systemd's words.

Owns the common language. cron, Kubernetes and systemd part ways at the edges: Kubernetes knows no
7 for Sunday, a start with a step (5/15) is refused by some, and a day of the month together with a
day of the week means either of them to cron, or both if one begins with a star. What they do not
agree on is refused, so that a schedule fires at the same moments wherever it is put.
"""

import re
from datetime import datetime, tzinfo
from itertools import islice

from cronsim import CronSim, CronSimError

FIELDS = {
    "minute": (0, 59, ""),
    "hour": (0, 23, ""),
    "day of the month": (1, 31, ""),
    "month": (1, 12, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"),
    "day of the week": (0, 6, "SUN MON TUE WED THU FRI SAT"),
}
TERM = re.compile(
    r"(?:\*|(?P<low>\d{1,2}|[A-Z]{3})(?:-(?P<high>\d{1,2}|[A-Z]{3}))?)(?:/(?P<step>\d{1,2}))?",
    re.ASCII,
)
SYSTEMD_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def check_cron(expression: str) -> str:
    """The expression with single spaces. Raises ValueError that names the field."""
    fields = expression.upper().split()
    if len(fields) != len(FIELDS):
        raise ValueError(
            f"{len(fields)} fields where there are five: minute, hour, day of the month, month, "
            "day of the week"
        )
    for (name, (low, high, names)), field in zip(FIELDS.items(), fields, strict=True):
        for term in field.split(","):
            _check_term(term, name, low, high, names.split())
    if fields[2] != "*" and fields[4] != "*":
        raise ValueError(
            "a day of the month and a day of the week together mean different days to cron, "
            "Kubernetes and systemd; give one and * for the other"
        )
    try:
        next(CronSim(" ".join(fields), datetime(2000, 1, 1)))
    except (CronSimError, StopIteration):
        raise ValueError("no day is ever like that") from None
    return " ".join(fields)


def _check_term(term: str, name: str, low: int, high: int, names: list[str]) -> None:
    match = TERM.fullmatch(term)
    if match is None:
        raise ValueError(f"{term!r} is no {name}")
    ends = [end for end in (match["low"], match["high"]) if end is not None]
    numbers = []
    for end in ends:
        if end in names:
            numbers.append(low + names.index(end))
        elif end.isdecimal() and low <= int(end) <= high:
            numbers.append(int(end))
        else:
            sunday = "; Sunday is 0" if names and names[0] == "SUN" and end == "7" else ""
            raise ValueError(f"{end} is no {name}: {low} to {high}{sunday}")
    if numbers != sorted(numbers):
        raise ValueError(f"{term!r} runs backwards")
    if match["step"] is not None:
        if int(match["step"]) == 0:
            raise ValueError(f"{term!r} has a step of 0")
        if len(numbers) == 2 and numbers[0] == numbers[1]:
            raise ValueError(f"{term!r} steps over a range of one; {ends[0]} is the same")
        if len(ends) == 1:
            raise ValueError(f"{term!r} has a step without a range: {ends[0]}-{high} is one")


def next_runs(expression: str, zone: tzinfo, after: datetime, count: int) -> list[datetime]:
    """The moments that come next, in the schedule's time zone."""
    return list(islice(CronSim(expression, after.astimezone(zone)), count))


def on_calendar(expression: str, time_zone: str) -> str:
    """The same schedule as systemd's OnCalendar= (systemd.time(7)).

    `expression` is one that check_cron has passed.
    """
    parsed = CronSim(expression, datetime(2000, 1, 1))
    hour, minute = _listed(parsed.hours, 24), _listed(parsed.minutes, 60)
    month, day = _listed(parsed.months, 12), _listed(parsed.days, 31)
    weekdays = {int(weekday) % 7 for weekday in parsed.weekdays if isinstance(weekday, int)}
    named = ",".join(SYSTEMD_DAYS[weekday] for weekday in sorted(weekdays))
    prefix = "" if len(weekdays) == len(SYSTEMD_DAYS) else f"{named} "
    return f"{prefix}*-{month}-{day} {hour}:{minute}:00 {time_zone}"


def _listed(numbers: set[int], num_all: int) -> str:
    if len(numbers) == num_all:
        return "*"
    return ",".join(f"{number:02}" for number in sorted(numbers))
