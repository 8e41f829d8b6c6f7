"""Cron expressions that every scheduler reads alike, and their translation for systemd.

Owns the common syntax. cron, Kubernetes and systemd differ in details: Kubernetes takes no 7 for
Sunday, some refuse a start with a step (5/15), and a day of the month together with a day of the
week means either of them to cron, or both if one begins with a star. What they read differently is
refused, so that a schedule names the same times wherever it is installed. What happens to a time
that a clock change removes or repeats is clock_changes.py's.
"""

import re
from datetime import datetime

from cronsim import CronSim, CronSimError

from pipeline.errors import counted

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
            f"{counted(len(fields), 'field')} instead of five: minute, hour, day of the month, "
            "month, day of the week"
        )
    for (name, (low, high, names)), field in zip(FIELDS.items(), fields, strict=True):
        for term in field.split(","):
            _check_term(term, name, low, high, names.split())
    if fields[2] != "*" and fields[4] != "*":
        raise ValueError(
            "a day of the month and a day of the week together mean different days to cron, "
            "Kubernetes and systemd: set one of them to *"
        )
    try:
        next(CronSim(" ".join(fields), datetime(2000, 1, 1)))
    except (CronSimError, StopIteration):
        raise ValueError("no date matches it") from None
    return " ".join(fields)


def _check_term(term: str, name: str, low: int, high: int, names: list[str]) -> None:
    match = TERM.fullmatch(term)
    if match is None:
        raise ValueError(f"{term!r} is not a valid {name}")
    ends = [end for end in (match["low"], match["high"]) if end is not None]
    numbers = []
    for end in ends:
        if end in names:
            numbers.append(low + names.index(end))
        elif end.isdecimal() and low <= int(end) <= high:
            numbers.append(int(end))
        else:
            sunday = "; Sunday is 0" if names and names[0] == "SUN" and end == "7" else ""
            raise ValueError(f"{end} is not a valid {name}: expected {low} to {high}{sunday}")
    if numbers != sorted(numbers):
        raise ValueError(f"{term!r} runs backwards")
    if match["step"] is not None:
        if int(match["step"]) == 0:
            raise ValueError(f"{term!r} has a step of 0")
        if len(numbers) == 2 and numbers[0] == numbers[1]:
            raise ValueError(f"{term!r} has a step over a range of one value: write {ends[0]}")
        if len(ends) == 1:
            raise ValueError(
                f"{term!r} has a step without a range: write {ends[0]}-{high}/{match['step']}"
            )


def with_hour(expression: str, hour: int) -> str:
    """The same schedule at another hour."""
    minute, _, *days = expression.split()
    return " ".join([minute, str(hour), *days])


def starts_per_day(expression: str) -> int:
    """How often it starts on each day on which it does."""
    parsed = CronSim(expression, datetime(2000, 1, 1))
    return len(parsed.hours) * len(parsed.minutes)


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
