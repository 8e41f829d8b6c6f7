"""Timestamps of 12 bytes (INT96), which Hive, Impala and old Spark write, read without loss.

Owns which unit holds them. Arrow's nanoseconds end in 2262, and what is beyond comes out as another
date, silently; its microseconds hold every date, and cut what is finer. Nothing but reading the
values can tell.
"""

from collections.abc import Container, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UnreadableFileError

MOST_MICROSECONDS = (2**63 - 1) // 1000
"""Distance from 1970 beyond which a timestamp does not fit into nanoseconds."""


def has_int96(metadata: pq.FileMetaData) -> bool:
    """Whether any column has such values."""
    columns = (metadata.schema.column(i) for i in range(metadata.num_columns))
    return any(column.physical_type == "INT96" for column in columns)


def find_unit(
    name: str,
    coarse: pq.ParquetFile,
    fine: pq.ParquetFile,
    columns: Container[str] | None,
    groups: Sequence[int] | None,
) -> str:
    """The unit to read a file in, which is opened here for microseconds and for nanoseconds.

    Nanoseconds if they hold every value of these columns and row groups, as Arrow has them by
    default, else microseconds. Raises UnreadableFileError if neither does, and what Arrow raises.
    """
    fields = zip(coarse.schema_arrow, fine.schema_arrow, strict=True)
    old = [one.name for one, other in fields if one.type != other.type]
    far = subtle = None
    for column in (one for one in old if columns is None or one in columns):
        both = [file.iter_batches(row_groups=groups, columns=[column]) for file in (coarse, fine)]
        for one, other in zip(*both, strict=True):
            for us, ns in zip(_leaves(one[column]), _leaves(other[column]), strict=True):
                if us.type == ns.type:
                    continue
                whole, scaled = _integers(us), _integers(ns)
                if not (np.abs(whole) < MOST_MICROSECONDS).all():
                    far = column
                # Where nanoseconds overflow, the product does so in the same way.
                if not np.array_equal(whole * 1000, scaled):
                    subtle = column
        if far and subtle:
            raise UnreadableFileError(
                f"{name}: its INT96 timestamps are read in one unit, but column '{far}' (before "
                f"1677 or after 2262) needs microseconds and column '{subtle}' nanoseconds",
                hint=f"rewrite '{subtle}' as timestamp[us], which drops nanoseconds, or either of "
                "them as text",
            )
    return "us" if far else "ns"


def _integers(timestamps: pa.Array) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = (
        timestamps.cast(pa.int64()).fill_null(0).to_numpy()
    )
    return found


def _leaves(column: pa.Array) -> Iterator[pa.Array]:
    """The arrays that a column is made of in the end, with what nulls above them hide."""
    if pa.types.is_struct(column.type):
        for index in range(column.type.num_fields):
            yield from _leaves(column.field(index))
    elif pa.types.is_map(column.type):
        yield from _leaves(column.keys)
        yield from _leaves(column.items)
    elif pa.types.is_nested(column.type):
        yield from _leaves(column.values)
    else:
        yield column
