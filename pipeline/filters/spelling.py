"""How the settings of a filter are written: `perplexity=100`, `10:90`, `2B`, `head,tail`.

Owns reading them, as options, files and Python write them.
"""

import re
from typing import Literal

Bucket = Literal["head", "middle", "tail"]
BUCKETS: tuple[Bucket, ...] = ("head", "middle", "tail")
PROPORTIONAL = "proportional"
SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
COUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmb]?)", re.IGNORECASE)


def parse_count(value: object) -> object:
    """`2B`, `1.5M`, `300k`, or 2e9 as Python and TOML write it, as a whole number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    match = COUNT.fullmatch(value.strip())
    if match is None:
        raise ValueError(
            "should be a number, with k, M or B for thousands, millions or billions: 300k, 1.5M, 2B"
        )
    return round(float(match[1]) * SUFFIXES[match[2].casefold()])


def parse_bounds(value: object) -> object:
    """[`METRIC=VALUE`, ...] as {metric: value}; a metric given twice would lose the first."""
    if value is None or isinstance(value, dict):
        return value
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError("should be METRIC=VALUE, as in perplexity=100")
    bounds: dict[str, float] = {}
    for item in value:
        name, equals, number = str(item).partition("=")
        name = name.strip()
        try:
            bound = float(number)
        except ValueError:
            what = "METRIC=VALUE, as in perplexity=100"
            if equals and name:
                what = "METRIC=VALUE with a plain number, as in perplexity=1000"
            raise ValueError(f"{item!r} should be {what}") from None
        if not equals:
            raise ValueError(f"{item!r} should be METRIC=VALUE, as in perplexity=100")
        if name in bounds:
            raise ValueError(f"{name} is given twice")
        bounds[name] = bound
    return bounds


def parse_shares(value: object) -> object:
    """[`GROUP=SHARE`, ...] as {group: share}, or the one word `proportional`."""
    if not isinstance(value, list | tuple):
        return value
    if list(value) == [PROPORTIONAL]:
        return PROPORTIONAL
    shares: dict[str, float] = {}
    for item in value:
        group, _, number = str(item).rpartition("=")
        try:
            share = float(number)
        except ValueError:
            raise ValueError(f"{item!r} should be GROUP=SHARE, as in en=2") from None
        if group in shares:
            raise ValueError(f"{group} is given twice")
        shares[group] = share
    return shares


def parse_numbers(value: object, example: str = "10:90") -> object:
    """`10:90` or `10,90`, or a list of numbers, as floats."""
    if isinstance(value, str):
        try:
            low, high = (float(part) for part in re.split("[:,]", value))
        except ValueError:
            raise ValueError(f"should be two numbers, as in {example}") from None
        return low, high
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"should be two numbers, as in {example}")
    return tuple(value)


def parse_names(value: object) -> object:
    """`head,tail`, or a list of names, in the order of BUCKETS."""
    if value is None:
        return None
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        raise ValueError(f"should be names, as in {','.join(BUCKETS)}")
    known = [name for name in BUCKETS if name in names]
    return tuple(known + [name for name in names if name not in BUCKETS])


def are_shares(low: float, high: float) -> bool:
    """Whether both may have been meant as shares: nothing else tells 0.1:0.9 from 10:90."""
    return low <= high <= 1
