"""Columns as hypothesis draws them: of every type that Parquet can hold, and with odd names."""

import math
from decimal import Context, Decimal
from typing import NamedTuple

import pyarrow as pa
from hypothesis import strategies as st

NUM_ROWS = 4
UNITS = ("s", "ms", "us", "ns")
NAMES = (
    *(
        "a.b",
        "a,b",
        "a/b",
        "^c$",
        "c*",
        "lang=en",
        "text ",
        "Text",
        "ü",
        " ",
        "'",
        '"',
        "a\nb",
        "{}",
    ),
    *(
        "id",
        "doc_id",
        "by",
        "key",
        "tie",
        "value",
        "group",
        "keep",
        "scored",
        "weight",
        "place",
        "order",
    ),
    *("bucket", "metric:perplexity", "documents", "index", "literal", "len", "count", "excerpt"),
)
"""Such as a pattern, a path, a list or a column of our own could be taken for."""
ZONES = (None, "UTC", "Europe/Berlin", "+05:30", "-01:00")
FAR = st.integers(-(2**63), 2**63 - 1)


def whole(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high) | st.sampled_from([low, high, 0, min(high, 2**53 + 1)])


def numbers(bits: int) -> st.SearchStrategy[float]:
    return st.floats(width=bits) | st.sampled_from([math.nan, math.inf, -0.0])


@st.composite
def plain_types(draw: st.DrawFn) -> tuple[pa.DataType, st.SearchStrategy[object]]:
    """A type that is not nested, and how its values are drawn, as `pa.array` takes them."""
    bits = draw(st.sampled_from([8, 16, 32, 64]))
    unit, zone = draw(st.sampled_from(UNITS)), draw(st.sampled_from(ZONES))
    signed = draw(st.booleans())
    precision = draw(st.integers(1, 38))
    scale = draw(st.integers(0, precision))
    text = st.text(max_size=5) | st.sampled_from(["", "(null)", "^a$", "*", "NaN"])
    number = 10**precision - 1
    exact = Context(prec=precision)
    decimals = st.integers(-number, number).map(lambda one: Decimal(one).scaleb(-scale, exact))
    return draw(
        st.sampled_from(
            [
                (getattr(pa, f"{'' if signed else 'u'}int{bits}")(), whole(bits, signed=signed)),
                (getattr(pa, f"float{max(16, bits)}")(), numbers(max(16, bits))),
                (pa.bool_(), st.booleans()),
                (pa.null(), st.none()),
                (pa.string(), text),
                (pa.large_string(), text),
                (pa.string_view(), text),
                (pa.binary(), st.binary(max_size=4)),
                (pa.large_binary(), st.binary(max_size=4)),
                (pa.binary_view(), st.binary(max_size=4)),
                (pa.binary(16), st.binary(min_size=16, max_size=16)),
                (pa.uuid(), st.uuids().map(lambda one: one.bytes)),
                (pa.json_(), text.map(repr)),
                (pa.bool8(), whole(8, signed=True)),
                (pa.decimal128(precision, scale), decimals),
                (pa.decimal256(precision, scale), decimals),
                (pa.date32(), whole(32, signed=True) | st.dates()),
                (pa.date64(), whole(32, signed=True).map(lambda day: day * 86_400_000)),
                (pa.timestamp(unit, zone), FAR | st.integers(-(2**40), 2**40)),
                (pa.duration(unit), FAR),
                (pa.time32("ms"), st.integers(0, 86_400_000 - 1)),
                (pa.time64("us"), st.integers(0, 86_400 * 10**6 - 1)),
                (pa.time64("ns"), st.integers(0, 86_400 * 10**9 - 1)),
                (pa.dictionary(pa.int8(), pa.string()), text),
                (pa.dictionary(pa.int32(), pa.int64()), whole(64, signed=True)),
            ]
        )
    )


class Drawn(NamedTuple):
    """A column of two files."""

    name: str
    first: pa.Array
    second: pa.Array | None
    """None where that file has it not."""


@st.composite
def columns(draw: st.DrawFn) -> Drawn:
    """A column of any type, nested once or not, with nulls; and the same or another of its name."""
    kind, values = draw(types())
    first = array(kind, draw(st.lists(values, min_size=NUM_ROWS, max_size=NUM_ROWS)))
    name = draw(st.sampled_from(NAMES) | st.text(min_size=1, max_size=6))
    what = draw(st.sampled_from(["same", "same", "same", "other", "missing"]))
    if what == "missing":
        return Drawn(name, first, None)
    if what == "other":
        kind, values = draw(types())
    second = draw(st.lists(values, min_size=NUM_ROWS, max_size=NUM_ROWS))
    return Drawn(name, first, array(kind, second))


@st.composite
def types(draw: st.DrawFn) -> tuple[pa.DataType, st.SearchStrategy[object]]:
    """A type, nested once or not, and how its values are drawn, nulls among them."""
    kind, values = draw(plain_types())
    values = st.none() | values
    nest = draw(st.sampled_from(["", "", "", "list", "large list", "pair", "struct", "map"]))
    if pa.types.is_dictionary(kind) or isinstance(kind, pa.BaseExtensionType):
        nest = ""
    if nest == "struct":
        kind, values = pa.struct([("x", kind)]), values.map(lambda one: {"x": one})
    elif nest == "map":
        kind, values = pa.map_(pa.string(), kind), values.map(lambda one: [("k", one)])
    elif nest == "pair":
        kind, values = pa.list_(kind, 2), st.lists(values, min_size=2, max_size=2)
    elif nest:
        kind = (pa.list_ if nest == "list" else pa.large_list)(kind)
        values = st.lists(values, max_size=2)
    return kind, st.none() | values


def array(kind: pa.DataType, values: list[object]) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    return pa.array(values, kind)
