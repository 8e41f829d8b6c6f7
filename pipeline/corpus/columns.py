"""The columns of a corpus: which are read, and the one type that each has over all files.

Owns the rule by which values are cast, decided when a run is planned and refused there: a type is
one that every reader of scores can hold. Nothing here opens a file.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.corpus.files import Footer, is_text
from pipeline.errors import CorpusError
from pipeline.schema import OWN_COLUMNS
from pipeline.settings.config import near_name

DEFAULT_ID_COLUMNS = ("doc_id", "id")
OFFSET = re.compile(r"[+-]\d\d:?\d\d")
MOST_DIGITS = 38
"""Of a decimal that Polars can read."""
PLAIN = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
LISTS: tuple[tuple[Callable[[pa.DataType], bool], Callable[..., pa.DataType]], ...] = (
    (pa.types.is_list, pa.list_),
    (pa.types.is_large_list, pa.large_list),
    (pa.types.is_list_view, pa.list_view),
    (pa.types.is_large_list_view, pa.large_list_view),
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Which input columns a run reads."""

    text: str
    doc_id: str | None
    carried: tuple[str, ...]


def choose_columns(
    footers: list[Footer], *, text: str, id_column: str | None, carry: tuple[str, ...]
) -> tuple[Columns, pa.DataType | None, list[pa.Field]]:
    """The columns to read, the type of the id and the fields carried. Raises CorpusError.

    A carried column that some files lack is null there; types that differ are promoted to one
    that holds both. This is the one rule for every reader of these columns: see `cast_column`.
    """
    names: dict[str, None] = {}
    for footer in footers:
        names |= dict.fromkeys(footer.schema.names)
    if id_column is None:
        everywhere = set.intersection(*(set(footer.schema.names) for footer in footers))
        id_column = next((name for name in DEFAULT_ID_COLUMNS if name in everywhere), None)
    if "*" in carry:
        carry = tuple(name for name in names if name != id_column)
    carry = tuple(dict.fromkeys(carry))
    for option, wanted in (("--id-column", (id_column,) if id_column else ()), ("--carry", carry)):
        for name in wanted:
            if name not in names:
                near = near_name(name, list(names))
                hint = f"did you mean '{near}'?" if near else f"it has {', '.join(names)}"
                raise CorpusError(f"no column '{name}' in the corpus ({option})", hint=hint)
    if taken := [name for name in carry if name in OWN_COLUMNS]:
        raise CorpusError(
            f"column '{taken[0]}' cannot be carried: the scores have a column of that name",
            hint="name the columns to carry instead of '*', or rename it in the corpus",
        )
    read = [*([id_column] if id_column else []), *carry]
    fields = {name: _unified_field(footers, name) for name in read}
    id_type = fields[id_column].type if id_column else None
    return Columns(text, id_column, carry), id_type, [fields[name] for name in carry]


def _unified_field(footers: list[Footer], name: str) -> pa.Field:
    having = [footer for footer in footers if name in footer.schema.names]
    for footer in having:
        if len(footer.schema.get_all_field_indices(name)) > 1:
            raise CorpusError(
                f"column '{name}' is there more than once in {footer.name}",
                hint="leave it out of --carry, or rewrite that file",
            )
    schemas = {
        pa.schema([pa.field(name, _carried_type(name, footer))]): footer for footer in having
    }
    kinds = [schema.field(0).type for schema in schemas]
    try:
        merged = pa.unify_schemas(list(schemas), promote_options="permissive")
        if merged.field(0).type == pa.int64() and pa.uint64() in kinds:
            raise pa.ArrowTypeError  # which lacks half of the unsigned ones
    except pa.ArrowException:
        if all(is_text(kind) or pa.types.is_null(kind) for kind in kinds):
            return pa.field(name, pa.large_string())  # the same text, encoded in several ways
        seen = [f"{s.field(0).type} in {footer.name}" for s, footer in schemas.items()]
        raise CorpusError(
            f"column '{name}' has types that do not go together: {', '.join(seen[:3])}",
            hint="leave it out of --carry, name another --id-column, or rewrite those files",
        ) from None
    return merged.field(0)


def _carried_type(name: str, footer: Footer) -> pa.DataType:
    """The type in which scores have a file's column. Raises CorpusError if they cannot."""

    def refuse(what: str) -> CorpusError:
        return CorpusError(
            f"column '{name}' of {footer.name} cannot be carried: it has {what}",
            hint="name the columns to carry instead of '*', or rewrite that file",
        )

    def change(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            if OFFSET.fullmatch(kind.tz):
                return pa.timestamp(kind.unit, "UTC")  # the same instants; Polars has no offsets
            if not _is_zone(kind.tz):
                raise refuse(f"the unknown time zone '{kind.tz}'")
        if pa.types.is_decimal256(kind):
            if kind.precision > MOST_DIGITS:
                raise refuse(f"{kind.precision} digits, where {MOST_DIGITS} can be read back")
            return pa.decimal128(kind.precision, kind.scale)
        return kind

    return change_type(plain_type(footer.schema.field(name).type), change)


def _is_zone(name: str) -> bool:
    """Whether Polars knows a time zone: of one that it does not, it ends the process."""
    try:
        pl.Series([], dtype=pl.Datetime("us", name))
    except pl.exceptions.ComputeError:
        return False
    return True


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The types that rows are read in."""
    fields = [field.with_type(plain_type(field.type)) for field in schema]
    return pa.schema(fields, schema.metadata)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The same without views, which Arrow has too little for: of strings it can neither filter nor
    take nor write a part, and of lists its casts are wrong."""

    def change(one: pa.DataType) -> pa.DataType:
        if _is_list_view(one):
            is_large = pa.types.is_large_list_view(one)
            return (pa.large_list if is_large else pa.list_)(one.value_field)
        return PLAIN.get(one, one)

    return change_type(kind, change)


def change_type(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """A type with `change` made to it and to all that it is made of, the innermost first."""

    def inner(field: pa.Field) -> pa.Field:
        return field.with_type(change_type(field.type, change))

    if pa.types.is_struct(kind):
        kind = pa.struct([inner(field) for field in kind.fields])
    elif pa.types.is_map(kind):
        kind = pa.map_(inner(kind.key_field), inner(kind.item_field), kind.keys_sorted)
    elif pa.types.is_fixed_size_list(kind):
        kind = pa.list_(inner(kind.value_field), kind.list_size)
    elif make := next((make for is_it, make in LISTS if is_it(kind)), None):
        kind = make(inner(kind.value_field))
    elif pa.types.is_dictionary(kind):
        values = change_type(kind.value_type, change)
        kind = pa.dictionary(kind.index_type, values, kind.ordered)
    return change(kind)


def cast_column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of any file in the type that all of them have. Raises ArrowException.

    A large integer among floats is rounded, as its readers would; nothing else may change.
    """
    return convert(readable(column), kind, safe=not pa.types.is_floating(kind))


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
    if not (_is_list(column.type) and _is_list(kind)):
        return column.cast(kind, safe=safe)
    values = convert(column.flatten(), kind.value_type, safe=safe)
    sizes = np.asarray(column.value_lengths().fill_null(0))
    ends = np.concatenate([[0], np.cumsum(sizes)])
    whole = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    return whole.from_arrays(ends, values, type=kind, mask=nulls)


def _is_list(kind: pa.DataType) -> bool:
    return any(is_it(kind) for is_it, _ in LISTS)


def _is_list_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _has_list_view(kind: pa.DataType) -> bool:
    seen = list[pa.DataType]()

    def look(one: pa.DataType) -> pa.DataType:
        seen.append(one)
        return one

    change_type(kind, look)
    return any(_is_list_view(one) for one in seen)


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
