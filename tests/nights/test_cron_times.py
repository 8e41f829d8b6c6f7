"""Cron expressions: what all schedulers agree on, and the same moments in systemd's words."""

import itertools
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jobs.nights.clock_changes import next_runs
from jobs.nights.cron_times import FIELDS, check_cron, on_calendar, starts_per_day

UTC_ZONE = ZoneInfo("UTC")
NAMES = {
    name: index for index, name in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"])
}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("0 3 * * *", "0 3 * * *"),
        ("  30   3 * * mon-fri ", "30 3 * * MON-FRI"),
        ("*/15 0-6/2 1,15 jan *", "*/15 0-6/2 1,15 JAN *"),
        ("0 0 29 2 *", "0 0 29 2 *"),
    ],
)
def test_what_all_agree_on_is_taken(given, kept):
    assert check_cron(given) == kept


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "0 fields instead of five"),
        ("0 0 3 * * *", "6 fields instead of five"),
        ("@daily", "1 field instead"),
        ("60 3 * * *", "60 is not a valid minute: expected 0 to 59"),
        ("0 24 * * *", "24 is not a valid hour: expected 0 to 23"),
        ("0 3 0 * *", "0 is not a valid day of the month: expected 1 to 31"),
        ("0 3 * 13 *", "13 is not a valid month: expected 1 to 12"),
        ("0 3 * * 7", "7 is not a valid day of the week: expected 0 to 6; Sunday is 0"),
        ("0 3 * * fry", "FRY is not a valid day of the week"),
        ("0 3 * * fri-mon", "'FRI-MON' runs backwards"),
        ("0 3 L * *", "'L' is not a valid day of the month"),
        ("0 3 * * 5#2", "'5#2' is not a valid day of the week"),
        ("*/0 3 * * *", "has a step of 0"),
        ("5/15 3 * * *", "a step without a range: write 5-59/15"),
        ("0, 3 * * *", "'' is not a valid minute"),
        ("-1 3 * * *", "'-1' is not a valid minute"),
        ("0 3 1 * 1", "a day of the month and a day of the week together"),
        ("0 3 */2 * 1", "a day of the month and a day of the week together"),
        ("0 3 30 2 *", "no date matches it"),
        ("0 3 * * *\n* * * * * rm", "11 fields"),
        ("٣ 3 * * *", "is not a valid minute"),
    ],
)
def test_the_rest_is_refused_by_name(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_cron(given)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    def field(low: int, high: int) -> str:
        def term() -> str:
            kind = draw(st.sampled_from(["*", "*/", "n", "n-m", "n-m/"]))
            start, end = sorted(draw(st.tuples(*[st.integers(low, high)] * 2)))
            step = draw(st.integers(1, 20))
            texts = {"*": "*", "*/": f"*/{step}", "n": f"{start}", "n-m": f"{start}-{end}"}
            return texts.get(kind, f"{start}-{end}/{step}")

        return ",".join(term() for _ in range(draw(st.integers(1, 3))))

    bounds = [(low, high) for low, high, _ in FIELDS.values()]
    fields = [field(low, high) for low, high in bounds]
    # Short months make expressions that never fire; those are refused, and tested above.
    fields[2] = draw(st.sampled_from(["*", field(1, 28)]))
    if fields[2] != "*":
        fields[4] = "*"
    return " ".join(fields)


def matches(expression: str, moment: datetime) -> bool:
    """By the definition in crontab(5), one field at a time."""
    values = [moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7]
    return all(
        any(in_term(term, value, low, high) for term in field.split(","))
        for field, value, (low, high, _) in zip(
            expression.split(), values, FIELDS.values(), strict=True
        )
    )


def in_term(term: str, value: int, low: int, high: int) -> bool:
    where, _, step = term.partition("/")
    if where != "*":
        start, _, end = where.partition("-")
        low, high = int(start), int(end or start)
    return value in range(low, high + 1, int(step or 1))


def calendar_matches(calendar: str, moment: datetime) -> bool:
    """By the definition in systemd.time(7), for the form that on_calendar writes."""
    parts = calendar.split()
    days = parts.pop(0).split(",") if parts[0][0].isalpha() else None
    date, clock, zone = parts
    assert zone == "UTC"
    year, month, day = date.split("-")
    hour, minute, second = clock.split(":")
    assert (year, second) == ("*", "00")
    fields = {month: moment.month, day: moment.day, hour: moment.hour, minute: moment.minute}
    pairs = [(month, moment.month), (day, moment.day), (hour, moment.hour), (minute, moment.minute)]
    assert len(fields) <= len(pairs)
    if days is not None and NAMES[f"{moment:%a}".upper()] not in {NAMES[d.upper()] for d in days}:
        return False
    return all(text == "*" or value in map(int, text.split(",")) for text, value in pairs)


@given(expression=expressions(), moments=st.lists(st.datetimes(), min_size=20, max_size=60))
def test_systemd_fires_when_cron_does(expression, moments):
    assume(not re.search(r"\b(\w+)-\1/", expression))  # a range of one is refused
    checked = check_cron(expression)
    calendar = on_calendar(checked, "UTC")
    fired = next_runs(checked, UTC_ZONE, datetime(2026, 1, 1, tzinfo=UTC), 20, "systemd")
    assert all(matches(checked, run) and calendar_matches(calendar, run) for run in fired)
    for moment in moments:
        assert calendar_matches(calendar, moment) == matches(checked, moment)


def test_the_next_runs_are_in_the_named_zone():
    zone = ZoneInfo("Europe/Berlin")
    # The clocks go forward on 29 March 2026.
    runs = next_runs("30 4 * * *", zone, datetime(2026, 3, 27, 12, tzinfo=UTC), 3, "cron")
    assert [run.isoformat() for run in runs] == [
        "2026-03-28T04:30:00+01:00",
        "2026-03-29T04:30:00+02:00",
        "2026-03-30T04:30:00+02:00",
    ]


def test_a_schedule_of_every_minute_is_every_minute():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    runs = next_runs("* * * * *", UTC_ZONE, start, 5, "cron")
    assert all(b - a == timedelta(minutes=1) for a, b in itertools.pairwise(runs))
    assert on_calendar("* * * * *", "UTC") == "*-*-* *:*:00 UTC"


@pytest.mark.parametrize(
    ("expression", "starts"),
    [("0 3 * * *", 1), ("0 * * * 1", 24), ("*/15 0-6/2 1 * *", 16), ("* * * * *", 1440)],
)
def test_how_often_a_day(expression, starts):
    assert starts_per_day(expression) == starts
