"""Which type holds the values of another, every one of them and unchanged.

Owns the rule that a column which is of several types is one type in the scores without a value
that changes. Where the types alone do not tell, the smallest and the largest value do.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

Bounds = tuple[int, int]
"""The smallest and the largest value of a column, as whole numbers of its unit."""

INT64 = (-(2**63), 2**63 - 1)
SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DAY = 86_400
EXACT_INTEGERS: dict[pa.DataType, int] = {
    pa.float16(): 2**11,
    pa.float32(): 2**24,
    pa.float64(): 2**53,
}
"""Every integer up to this size, of either sign, is a number of this type."""
LATEST = 262_000 * 366 * DAY
"""Seconds from 1970, either way, beyond which Polars aborts the process when it writes a date."""


def holds(to: pa.DataType, kind: pa.DataType, bounds: Bounds | None = None) -> bool:
    """Whether every value of `kind`, or those within `bounds`, is a value of `to`."""
    if kind == to or pa.types.is_null(kind):
        return True
    is_ = pa.types
    if is_.is_dictionary(kind) or is_.is_dictionary(to):
        inner, outer = (k.value_type if is_.is_dictionary(k) else k for k in (kind, to))
        return holds(outer, inner)
    if is_.is_integer(kind):
        return _holds_integers(to, bounds or integer_bounds(kind))
    if is_.is_floating(kind):
        return bool(is_.is_floating(to) and to.bit_width >= kind.bit_width)
    if is_.is_decimal(kind):
        more = to.scale - kind.scale if is_.is_decimal(to) else -1
        return more >= 0 and to.precision - kind.precision >= more
    if is_.is_nested(kind):
        return _holds_nested(to, kind)
    return _holds_times(to, kind, bounds or INT64) or _holds_bytes(to, kind)


def is_far(kind: pa.DataType, bounds: Bounds) -> bool:
    """Whether a date or a timestamp is so far off that it has no text."""
    if pa.types.is_timestamp(kind):
        latest = LATEST * SECOND[kind.unit]
    elif pa.types.is_date(kind):
        latest = LATEST // DAY if pa.types.is_date32(kind) else LATEST * 1000
    else:
        return False
    return min(bounds) < -latest or max(bounds) > latest


def integer_bounds(kind: pa.DataType) -> Bounds:
    """The smallest and the largest value of an integer type."""
    info = np.iinfo(kind.to_pandas_dtype())
    return int(info.min), int(info.max)


def _holds_integers(to: pa.DataType, bounds: Bounds) -> bool:
    if pa.types.is_integer(to):
        low, high = integer_bounds(to)
        return low <= bounds[0] and bounds[1] <= high
    largest = max(-bounds[0], bounds[1])
    if pa.types.is_decimal(to):
        return bool(largest < 10 ** (to.precision - to.scale))
    return largest <= EXACT_INTEGERS.get(to, -1)


def _holds_times(to: pa.DataType, kind: pa.DataType, bounds: Bounds) -> bool:
    is_ = pa.types
    if is_.is_date(kind) and is_.is_date(to):  # of 64 bits are whole days, too
        return not is_.is_date32(to) or bounds != INT64
    same: tuple[Callable[[pa.DataType], bool], ...] = (
        is_.is_timestamp,
        is_.is_duration,
        is_.is_time,
    )
    if not any(test(kind) and test(to) for test in same):
        return False
    factor = SECOND[to.unit] / SECOND[kind.unit]
    if factor < 1:
        return False
    if is_.is_time(kind):
        return True
    if is_.is_timestamp(kind) and kind.tz != to.tz:
        return False
    limit = INT64[1] // int(factor)
    return factor == 1 or (bounds[0] >= -limit and bounds[1] <= limit)


def _holds_bytes(to: pa.DataType, kind: pa.DataType) -> bool:
    if _is_text(to):
        return _is_text(kind)
    return _is_binary(to) and (_is_binary(kind) or _is_text(kind))


def _is_text(kind: pa.DataType) -> bool:
    is_ = pa.types
    return bool(is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    is_ = pa.types
    return bool(is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_binary_view(kind)) or (
        is_.is_fixed_size_binary(kind)
    )


def _holds_nested(to: pa.DataType, kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return pa.types.is_struct(to) and all(
            to.get_field_index(field.name) >= 0 and holds(to.field(field.name).type, field.type)
            for field in kind.fields
        )
    if pa.types.is_map(kind) or pa.types.is_map(to):
        return (
            pa.types.is_map(kind)
            and pa.types.is_map(to)
            and holds(to.key_type, kind.key_type)
            and holds(to.item_type, kind.item_type)
        )
    is_list = not pa.types.is_struct(to) and pa.types.is_nested(to)
    return is_list and holds(to.value_type, kind.value_type)
