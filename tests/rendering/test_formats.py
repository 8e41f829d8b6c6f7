"""pipeline/rendering/formats.py: digits that mean something, signs that say the direction."""

import pytest

from pipeline.rendering.formats import (
    chance,
    count,
    duration,
    estimate,
    estimated_change,
    money,
    number,
    percent,
    percent_of,
    share,
    signed,
    size,
)
from pipeline.statistics.bootstrap import Interval


def around(low, high):
    return Interval(low=low, high=high)


ESTIMATES = {
    "two digits of the width": (12.3154, around(12.295, 12.3341), ("12.315", "12.295 to 12.334")),
    "large": (1234.5, around(1200.2, 1300.7), ("1,234", "1,200 to 1,301")),
    "no width": (12.3154, around(12.3, 12.3), ("12.3", "12.3 to 12.3")),
    "hardly any": (1.0, around(1.0, 1.0 + 1e-12), ("1", "1 to 1")),
    "huge": (2e9, around(1e9, 3e9), ("2.00e+09", "1.00e+09 to 3.00e+09")),
    "no interval": (0.987654, None, ("0.988", "-")),
    "nothing": (None, None, ("-", "-")),
}


@pytest.mark.parametrize(("value", "interval", "text"), ESTIMATES.values(), ids=ESTIMATES)
def test_estimates(value, interval, text):
    assert estimate(value, interval) == text


CHANGES = {
    "up": (0.1259, around(0.123, 0.1285), ("+0.1259", "+0.1230 to +0.1285")),
    "down": (-0.5, around(-0.8, 0.1), ("-0.50", "-0.80 to +0.10")),
    "none": (0.0, around(-0.1, 0.1), ("0.00", "-0.10 to +0.10")),
    "rounds to none": (0.001, around(-0.1, 0.1), ("0.00", "-0.10 to +0.10")),
    "no interval": (-0.987654, None, ("-0.988", "-")),
    "equal": (0.0, around(0.0, 0.0), ("0", "0 to 0")),
    "nothing": (None, None, ("-", "-")),
}


@pytest.mark.parametrize(("value", "interval", "text"), CHANGES.values(), ids=CHANGES)
def test_changes(value, interval, text):
    assert estimated_change(value, interval) == text


def test_signs():
    assert [signed(x) for x in (1234.0, -0.5, 0.0, None)] == ["+1,234", "-0.5", "0", "-"]
    assert [percent(x) for x in (0.0123, -0.5, 0.0, None)] == ["+1.2%", "-50.0%", "0.0%", "-"]
    assert [percent(x) for x in (11.2, -5e3, 2e27)] == ["+1,120.0%", "-500,000%", "+2.00e+29%"]


def test_chances():
    assert [chance(p) for p in (0.0321, 1.0, 1e-9, 0.0, None)] == [
        "0.032",
        "1",
        "<1e-06",
        "<1e-06",
        "-",
    ]


NOT_NUMBERS = float("nan"), float("inf"), -float("inf")


def test_counts():
    assert [count(n) for n in (0, 999, 1000, 10**15, None)] == [
        "0",
        "999",
        "1,000",
        "1,000,000,000,000,000",
        "-",
    ]


def test_figures_that_are_no_numbers():
    assert [number(x) for x in NOT_NUMBERS] == ["NaN", "> 1.8e+308", "-inf"]


SHARES = {
    0.0: "0.0%",
    1e-9: "<0.1%",
    0.0005: "0.1%",
    0.062: "6.2%",
    0.9994: "99.9%",
    0.99999999: ">99.9%",
    1.0: "100.0%",
    12.5: "1,250.0%",
    None: "-",
    NOT_NUMBERS[0]: "NaN",
}


@pytest.mark.parametrize(("value", "text"), SHARES.items(), ids=str)
def test_shares(value, text):
    assert share(value) == text


def test_none_and_all_are_said_of_nothing_else():
    assert percent_of(0, 10**9) == "0.0%"
    assert percent_of(1, 10**9) == "<0.1%"
    assert percent_of(10**9 - 1, 10**9) == ">99.9%"
    assert percent_of(10**9, 10**9) == "100.0%"
    assert percent_of(0, 0) == "-"


SIZES = {
    0: "0 B",
    1023: "1,023 B",
    1024: "1 KiB",
    5_583_457_485: "5.2 GiB",
    3 * 1024**5: "3 PiB",
    1024**7: "1,024 EiB",
    None: "-",
}


@pytest.mark.parametrize(("value", "text"), SIZES.items(), ids=str)
def test_sizes(value, text):
    assert size(value) == text


DURATIONS = {
    9.82e-06 * 3600: "0.035 s",
    0: "0 s",
    -5: "0 s",
    1e-9: "<0.001 s",
    9.94: "9.9 s",
    9.96: "10 s",
    59.6: "1 min 0 s",
    61: "1 min 1 s",
    3599.7: "1 h 0 min",
    3700: "1 h 1 min",
    12_000: "3 h 20 min",
    200_000: "2 d 7 h",
    3600 * 24 * 400: "400 d 0 h",
    1e12: "11,574,074 d 1 h",
    None: "-",
    NOT_NUMBERS[0]: "-",
    NOT_NUMBERS[1]: "for ever",
}


@pytest.mark.parametrize(("seconds", "text"), DURATIONS.items(), ids=str)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_money():
    assert [money(x, "USD") for x in (0, 1e-6, 0.005, 12.345, 999.99, 1234567.8, None)] == [
        "0.00 USD",
        "<0.01 USD",
        "0.01 USD",
        "12.35 USD",
        "999.99 USD",
        "1,234,568 USD",
        "-",
    ]
    assert money(3) == "3.00"
