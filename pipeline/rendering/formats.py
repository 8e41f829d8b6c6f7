"""Numbers as people read them: one format for each kind of number, at every size.

Owns counts, figures (perplexities and all that is measured), shares, changes, intervals, chances,
bytes, durations and money. None is a dash everywhere: there is no such number.
"""

import math
from collections.abc import Callable
from itertools import pairwise

from pipeline.schema import LARGEST
from pipeline.statistics.bootstrap import Interval

SMALLEST_P = 1e-6
LARGEST_PLAIN = 1e7
MOST_DECIMALS = 6
NONE = "-"
UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
SPANS = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)]
SHORTEST = 0.001
"""Shortest duration in seconds that is shown as a number."""


def count(value: int | None) -> str:
    """Of documents, tokens, shards: every digit."""
    return NONE if value is None else f"{value:,}"


def number(value: float | None) -> str:
    """Three significant digits, with separators; a dash for nothing, > for what overflows."""
    if value is None:
        return NONE
    if math.isnan(value):
        return "NaN"
    if value >= LARGEST:  # a metric that a float64 cannot hold
        return f"> {LARGEST:.1e}"
    if abs(value) >= LARGEST_PLAIN:
        return f"{value:.2e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def share(value: float | None) -> str:
    """A part of 1: 0.0% is none and 100.0% all, what is nearly so says that."""
    if value is None:
        return NONE
    if math.isnan(value):
        return "NaN"
    if 0 < value < 0.0005:
        return "<0.1%"
    if 0.9995 <= value < 1:
        return ">99.9%"
    return f"{100 * value:,.1f}%"


def percent_of(part: int, whole: int) -> str:
    """A share of a whole; a dash of nothing."""
    return share(part / whole) if whole else NONE


def size(num_bytes: int | None) -> str:
    """Bytes: to three digits, in units of 1,024."""
    if num_bytes is None:
        return NONE
    shown, unit = float(num_bytes), "B"
    for larger in UNITS:
        if shown < 1024:
            break
        shown, unit = shown / 1024, larger
    return f"{number(shown)} {unit}"


def duration(seconds: float | None) -> str:
    """A span of time in its two largest units, or to two digits: 3 h 20 min, 0.035 s."""
    if seconds is None or math.isnan(seconds):
        return NONE
    if math.isinf(seconds):
        return "for ever"
    if seconds < SHORTEST:
        return "0 s" if seconds <= 0 else f"<{SHORTEST} s"
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    for (big, length), (small, part) in pairwise(SPANS):
        if whole >= length:
            return f"{whole // length:,} {big} {whole % length // part} {small}"
    return f"{whole} s"


def money(value: float | None, currency: str = "") -> str:
    """To the hundredth; thousands to the unit."""
    if value is None:
        return NONE
    shown = f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"
    if 0 < value < 0.005:
        shown = "<0.01"
    return f"{shown} {currency}".rstrip()


def signed(value: float | None) -> str:
    """Three significant digits and a sign; a dash for nothing."""
    if value is None:
        return NONE
    return _with_sign(value, number(abs(value)))


def percent(value: float | None) -> str:
    """A share of the baseline, with a sign."""
    if value is None:
        return NONE
    shown = 100 * abs(value)
    return _with_sign(value, f"{shown:,.1f}" if shown < 1e5 else number(shown)) + "%"


def chance(p: float | None) -> str:
    """A p-value; tiny ones are all "<"."""
    if p is None:
        return NONE
    return f"<{SMALLEST_P:.0e}" if p < SMALLEST_P else f"{p:.2g}"


def estimate(value: float | None, interval: Interval | None) -> tuple[str, str]:
    """A figure and its interval, to two digits of the interval's width."""
    places = _decimals(interval)
    if value is None or interval is None or places is None:
        return number(value), _between(number, interval)

    def show(x: float) -> str:
        return f"{x:,.{places}f}"

    return show(value), _between(show, interval)


def estimate_in_words(value: float | None, interval: Interval | None) -> tuple[str, str]:
    """A figure that a sample gives, and how sure it is: 55.1 and `estimated, 95% interval ...`."""
    shown, around = estimate(value, interval)
    if value is None:
        return shown, "nothing to estimate it from"
    return (
        shown,
        f"estimated, {f'95% interval {around}' if interval else 'too few rows to be sure'}",
    )


def estimated_change(value: float | None, interval: Interval | None) -> tuple[str, str]:
    """A change and its interval, with signs."""
    places = _decimals(interval)
    if value is None or interval is None or places is None:
        return signed(value), _between(signed, interval)

    def show(x: float) -> str:
        return _with_sign(x, f"{abs(x):,.{places}f}")

    return show(value), _between(show, interval)


def _decimals(interval: Interval | None) -> int | None:
    """None where three significant digits serve better: no width, or numbers too large to read."""
    if interval is None or interval.high <= interval.low:
        return None
    if max(abs(interval.low), abs(interval.high)) >= LARGEST_PLAIN:
        return None
    places = 1 - math.floor(math.log10(interval.high - interval.low))
    return None if places > MOST_DECIMALS else max(0, places)


def _between(show: Callable[[float], str], interval: Interval | None) -> str:
    return NONE if interval is None else f"{show(interval.low)} to {show(interval.high)}"


def _with_sign(value: float, digits: str) -> str:
    if not digits.strip("0.,"):
        return digits
    return ("+" if value > 0 else "-") + digits
