"""Which type holds the values of another: by trying the values at the ends."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.corpus.promotion import holds, integer_bounds, is_far

INTEGERS = [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32()]
INTEGERS += [pa.int64(), pa.uint64()]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]


@pytest.mark.parametrize("kind", INTEGERS, ids=str)
@pytest.mark.parametrize("to", FLOATS, ids=str)
def test_integers_in_floats_by_trying_the_largest_odd_one(kind, to):
    """If the largest odd number and its neighbours come back, so does every smaller one."""
    high = integer_bounds(kind)[1]
    with np.errstate(over="ignore"):
        tried = {value: to.to_pandas_dtype()(value) for value in (high, high - 2)}
    is_same = all(np.isfinite(found) and int(found) == value for value, found in tried.items())
    assert holds(to, kind) is is_same


@pytest.mark.parametrize("kind", INTEGERS, ids=str)
@pytest.mark.parametrize("to", INTEGERS, ids=str)
def test_integers_in_integers_as_arrow_casts_them(kind, to):
    ends = pa.array(integer_bounds(kind), kind)
    try:
        ends.cast(to)
    except pa.ArrowInvalid:
        assert not holds(to, kind)
    else:
        assert holds(to, kind)


@pytest.mark.parametrize(
    ("kind", "to", "bounds", "held"),
    [
        (pa.int64(), pa.float64(), (0, 2**53), True),
        (pa.int64(), pa.float64(), (-(2**53) - 1, 0), False),
        (pa.uint64(), pa.float64(), (0, 2**63), False),
        (pa.int64(), pa.decimal128(21, 2), None, True),
        (pa.int64(), pa.decimal128(20, 2), None, False),
        (pa.int64(), pa.decimal128(20, 2), (0, 10**18 - 1), True),
        (pa.decimal128(5, 2), pa.decimal128(6, 3), None, True),
        (pa.decimal128(5, 2), pa.decimal128(5, 3), None, False),
        (pa.decimal128(5, 2), pa.float64(), None, False),
        (pa.float16(), pa.decimal128(38, 10), None, False),
        (pa.timestamp("us"), pa.timestamp("ns"), None, False),
        (pa.timestamp("us"), pa.timestamp("ns"), (0, 2**63 // 1000), True),
        (pa.timestamp("us"), pa.timestamp("ns"), (0, 253_402_300_799_999_999), False),
        (pa.timestamp("ns"), pa.timestamp("us"), (0, 0), False),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), (0, 0), False),
        (pa.duration("s"), pa.duration("ns"), None, False),
        (pa.time32("ms"), pa.time64("ns"), None, True),
        (pa.string(), pa.binary(), None, True),
        (pa.binary(), pa.string(), None, False),
        (pa.binary(16), pa.large_binary(), None, True),
        (pa.bool_(), pa.int64(), None, False),
        (pa.list_(pa.int64()), pa.list_(pa.float64()), None, False),
        (pa.list_(pa.int32()), pa.large_list(pa.float64()), None, True),
        (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int16()), ("b", pa.int8())]), None, 1),
        (pa.map_(pa.string(), pa.int64()), pa.map_(pa.string(), pa.float64()), None, False),
    ],
    ids=str,
)
def test_by_hand(kind, to, bounds, held):
    assert holds(to, kind, bounds) == bool(held)


@pytest.mark.parametrize(
    ("kind", "value", "far"),
    [
        (pa.date32(), 2_932_896, False),  # the last day of 9999
        (pa.date32(), 10**8, True),
        (pa.date32(), -(10**8), True),
        (pa.timestamp("us"), 2**62, False),  # the year 148108
        (pa.timestamp("us"), -(2**63), True),
        (pa.timestamp("ns"), 2**63 - 1, False),
        (pa.timestamp("ms"), 2**62, True),
        (pa.int64(), 2**62, False),
    ],
    ids=str,
)
def test_dates_that_have_no_text(kind, value, far):
    assert is_far(kind, (min(value, 0), max(value, 0))) is far
