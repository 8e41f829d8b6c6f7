"""Values of a column in the type that it has over all files of a corpus.

Owns the cast: lossless, or refused. Which type that is, is columns.py's.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.columns import change_type, is_list, is_list_view
from pipeline.corpus.promotion import is_far


def cast_column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of any file in the type that all of them have. Raises ArrowException.

    Nothing may change; a date too far off to be shown is refused, which Polars would end the
    process over.
    """
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        numbers = column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64())
        ends = pc.min_max(numbers).as_py()
        if ends["min"] is not None and is_far(column.type, (ends["min"], ends["max"])):
            raise pa.ArrowInvalid("a value is outside the calendar")
    return convert(readable(column), kind)


def without_times(column: pa.Array) -> pa.Array:
    """The column with whole numbers for dates and times, which Python has no values for if they
    are after the year 9999, or finer than a microsecond."""

    def change(kind: pa.DataType) -> pa.DataType:
        if not pa.types.is_temporal(kind):
            return kind
        return pa.int32() if kind.bit_width == 32 else pa.int64()

    return convert(column, change_type(column.type, change))


def convert(column: pa.Array, kind: pa.DataType, *, safe: bool = True) -> pa.Array:
    """What `cast` does, also from list views, of which that makes wrong lists."""
    if column.type == kind:
        return column
    if not _has_list_view(column.type):
        return column.cast(kind, safe=safe)
    nulls = column.is_null()
    if pa.types.is_struct(kind) and pa.types.is_struct(column.type):
        pairs = zip(column.flatten(), kind.fields, strict=True)
        children = [convert(child, field.type, safe=safe) for child, field in pairs]
        return pa.StructArray.from_arrays(children, fields=kind.fields, mask=nulls)
    if pa.types.is_map(kind) and pa.types.is_map(column.type):
        keys = convert(column.keys, kind.key_type, safe=safe)
        items = convert(column.items, kind.item_type, safe=safe)
        offsets = np.asarray(column.offsets)
        return pa.MapArray.from_arrays(offsets, keys, items, type=kind, mask=nulls)
    if pa.types.is_fixed_size_list(kind) and pa.types.is_fixed_size_list(column.type):
        size = kind.list_size
        own = column.values.slice(column.offset * size, len(column) * size)
        values = convert(own, kind.value_type, safe=safe)
        return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=nulls)
    if not (is_list(column.type) and is_list(kind)):
        return column.cast(kind, safe=safe)
    values = convert(column.flatten(), kind.value_type, safe=safe)
    sizes = np.asarray(column.value_lengths().fill_null(0))
    ends = np.concatenate([[0], np.cumsum(sizes)])
    whole = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    return whole.from_arrays(ends, values, type=kind, mask=nulls)


def _has_list_view(kind: pa.DataType) -> bool:
    seen = list[pa.DataType]()

    def look(one: pa.DataType) -> pa.DataType:
        seen.append(one)
        return one

    change_type(kind, look)
    return any(is_list_view(one) for one in seen)


def _is_valid(column: pa.Array, index: int) -> bool:
    try:
        column.take(pa.array([index])).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def readable(column: pa.Array) -> pa.Array:
    """The column, with bytes that are not UTF-8 replaced where it claims to be text.

    Inside of lists and structs there is no such repair: the value is null. A part that holds such
    bytes could be written and never be read again.
    """
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        if pa.types.is_nested(column.type):
            kept = [i if _is_valid(column, i) else None for i in range(len(column))]
            return column.take(pa.array(kept, pa.int64()))
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        raw = column.cast(pa.large_string()).view(pa.large_binary()).to_pylist()
        texts = [None if value is None else value.decode(errors="replace") for value in raw]
        return pa.array(texts, pa.large_string())
    return column
