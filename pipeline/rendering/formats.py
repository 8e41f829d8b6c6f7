"""Number formats for people: figures, shares, changes, intervals and p-values."""

import math
from collections.abc import Callable

from pipeline.schema import LARGEST
from pipeline.statistics.bootstrap import Interval

SMALLEST_P = 1e-6
LARGEST_PLAIN = 1e7
MOST_DECIMALS = 6


def number(value: float | None) -> str:
    """Three significant digits, with separators; a dash for nothing, > for what overflows."""
    if value is None:
        return "-"
    if value >= LARGEST:  # a metric that a float64 cannot hold
        return f"> {LARGEST:.1e}"
    if abs(value) >= 1e7:
        return f"{value:.2e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percent_of(part: int, whole: int) -> str:
    """A share of a whole; a dash of nothing."""
    return f"{100 * part / whole:.1f}%" if whole else "-"


def signed(value: float | None) -> str:
    """Three significant digits and a sign; a dash for nothing."""
    if value is None:
        return "-"
    return _with_sign(value, number(abs(value)))


def percent(value: float | None) -> str:
    """A share of the baseline, with a sign."""
    return "-" if value is None else _with_sign(value, f"{100 * abs(value):.1f}") + "%"


def chance(p: float | None) -> str:
    """A p-value; tiny ones are all "<"."""
    if p is None:
        return "-"
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
    return "-" if interval is None else f"{show(interval.low)} to {show(interval.high)}"


def _with_sign(value: float, digits: str) -> str:
    if not digits.strip("0.,"):
        return digits
    return ("+" if value > 0 else "-") + digits
