"""The columns of a corpus: which are read, and the one type that each has over all files.

Owns what is decided when a run is planned, and refused there: a type is one that every reader of
scores can hold. Casting values to it is casting.py's. Nothing here opens a file.
"""

import logging
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from pipeline.corpus.files import Footer, is_text
from pipeline.corpus.patterns import partitions_of
from pipeline.corpus.promotion import holds, integer_bounds, is_far
from pipeline.errors import CorpusError, named
from pipeline.schema import OWN_COLUMNS
from pipeline.settings.names import listed, near_name

log = logging.getLogger(__name__)
DEFAULT_ID_COLUMNS = ("doc_id", "id")
OFFSET = re.compile(r"[+-]\d\d:?\d\d")
MOST_DIGITS = 38
"""Largest precision of a decimal that Polars can read."""
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
    that holds every value of both, or refused. This is the one rule for every reader of these
    columns: see `cast_column`. An empty `id_column` is none; without one it is chosen, if there is
    one whose values can be shown, and held.
    """
    names: dict[str, None] = {}
    for footer in footers:
        names |= dict.fromkeys(footer.schema.names)
    if id_column is None:
        id_column = _default_id(footers)
    id_column = id_column or None
    carry = names_in(carry, names)
    _refuse_partitions(footers, names, (id_column, *carry))
    if "*" in carry:
        carry = tuple(name for name in names if name != id_column)
    for setting, wanted in (("id_column", (id_column,) if id_column else ()), ("carry", carry)):
        for name in wanted:
            if name not in names:
                near = near_name(name, list(names))
                hint = f"did you mean '{near}'?" if near else f"it has {listed(list(names))}"
                raise CorpusError(f"no column '{name}' in the corpus ({named(setting)})", hint=hint)
    if id_column is not None and (why := _not_shown(footers, id_column)):
        raise CorpusError(
            f"column '{id_column}' cannot be the id: {why}",
            hint="name a column of text, numbers or bytes, or '' for none",
        )
    if taken := [name for name in carry if name in OWN_COLUMNS]:
        raise CorpusError(
            f"column '{taken[0]}' cannot be carried into the scores: they have a column of that "
            "name themselves",
            hint="name the columns to carry instead of '*', or rename the column in the corpus",
        )
    read = [*([id_column] if id_column else []), *carry]
    fields = {name: _unified_field(footers, name) for name in read}
    id_type = fields[id_column].type if id_column else None
    return Columns(text, id_column, carry), id_type, [fields[name] for name in carry]


def names_in(carry: Collection[str], columns: Collection[str]) -> tuple[str, ...]:
    """Each name that was given once: one with a comma that none of the columns has is several."""
    several = ([name] if name in columns else name.split(",") for name in carry)
    return tuple(dict.fromkeys(part for parts in several for part in parts))


def _default_id(footers: list[Footer]) -> str | None:
    """The id column if none is named; one that cannot be shown is left out, with a warning."""
    everywhere = set.intersection(*(set(footer.schema.names) for footer in footers))
    name = next((name for name in DEFAULT_ID_COLUMNS if name in everywhere), None)
    if name is None:
        return None
    try:
        why = _not_shown(footers, name)
        _unified_field(footers, name)
    except CorpusError as error:
        why = str(error)
    if why is not None:
        log.warning("column '%s' is not used as doc_id: %s", name, why)
        return None
    return name


def _refuse_partitions(
    footers: list[Footer], names: Collection[str], asked: Collection[str | None]
) -> None:
    """Raises CorpusError if a column is asked for that is in the names of folders alone."""
    for folder in dict.fromkeys(part for footer in footers for part in partitions_of(footer.name)):
        column = folder.partition("=")[0]
        if column not in names and ({column, "*"} & set(asked)):
            raise CorpusError(
                f"column '{column}' is in the folder names ({folder}/) but not in the files, so it "
                "cannot be carried into the scores",
                hint="name the columns to carry instead of '*'; or write "
                f"'{column}' into the files",
            )


def _unified_field(footers: list[Footer], name: str) -> pa.Field:
    having = [footer for footer in footers if name in footer.schema.names]
    for footer in having:
        if len(footer.schema.get_all_field_indices(name)) > 1:
            raise CorpusError(
                f"column '{name}' appears more than once in {footer.name}",
                hint=f"leave it out of {named('carry')}, or rewrite that file",
            )
    kinds: dict[pa.DataType, Footer] = {}
    for footer in having:
        kinds.setdefault(_carried_type(name, footer), footer)
    schemas = [pa.schema([pa.field(name, kind)]) for kind in kinds]
    try:
        merged = pa.unify_schemas(schemas, promote_options="permissive").field(0)
        if len(kinds) > 1:
            merged = merged.with_type(_roomy(merged.type, list(kinds)))
        unheld = [f for f in having if not _is_held(merged.type, f, name)]
        seen = dict.fromkeys(_carried_type(name, footer) for footer in unheld)
    except pa.ArrowException:
        if all(is_text(kind) or pa.types.is_null(kind) for kind in kinds):
            return pa.field(name, pa.large_string())  # the same text, encoded in several ways
        merged, seen = None, dict.fromkeys(kinds)
    if merged is None or seen:
        where = [f"{kind} in {footer.name}" for kind, footer in kinds.items()]
        lost = f"; {merged.type} cannot hold every {next(iter(seen))}" if merged else ""
        raise CorpusError(
            f"column '{name}' has incompatible types: {', '.join(where[:3])}{lost}",
            hint=f"leave the column out of {named('carry')}, choose another {named('id_column')}, "
            "or rewrite those files",
        )
    _refuse_far(having, name)
    return merged


def _roomy(merged: pa.DataType, kinds: list[pa.DataType]) -> pa.DataType:
    """A type that Arrow promotes to, or the next larger one where that is too small."""
    if pa.types.is_floating(merged) and not all(holds(merged, kind) for kind in kinds):
        return pa.float64()
    if pa.types.is_decimal(merged):
        scale = max(kind.scale for kind in kinds if pa.types.is_decimal(kind))
        wholes = [
            kind.precision - kind.scale
            if pa.types.is_decimal(kind)
            else len(str(max(map(abs, integer_bounds(kind)))))
            for kind in kinds
            if not pa.types.is_null(kind)
        ]
        if max(wholes) + scale <= MOST_DIGITS:
            return pa.decimal128(max(wholes) + scale, scale)
        raise pa.ArrowTypeError
    return merged


def _is_held(merged: pa.DataType, footer: Footer, name: str) -> bool:
    kind = _carried_type(name, footer)
    if pa.types.is_integer(merged):
        return holds(merged, kind)
    has_rows = any(rows for rows, _ in footer.row_groups)
    return holds(merged, kind, footer.bounds.get(name) if has_rows else (0, 0))


def _refuse_far(footers: list[Footer], name: str) -> None:
    for footer in footers:
        kind, bounds = footer.schema.field(name).type, footer.bounds.get(name)
        if bounds is not None and is_far(kind, bounds):
            raise CorpusError(
                f"column '{name}' of {footer.name} cannot be carried into the scores: it has a "
                f"{kind} before year 1 or after year 9999",
                hint=f"leave the column out of {named('carry')}, or rewrite that file",
            )


def _not_shown(footers: list[Footer], name: str) -> str | None:
    """Why the values of a column cannot be shown as an id; None if they can."""
    for footer in footers:
        if name not in footer.schema.names:
            continue
        kind = _carried_type(name, footer)
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_nested(kind) or pa.types.is_duration(kind):
            return f"its values in {footer.name} are of type {kind}"
    return None


def _carried_type(name: str, footer: Footer) -> pa.DataType:
    """The type in which scores have a file's column. Raises CorpusError if they cannot."""

    def refuse(what: str) -> CorpusError:
        return CorpusError(
            f"column '{name}' of {footer.name} cannot be carried into the scores: it has {what}",
            hint="name the columns to carry instead of '*', or rewrite that file",
        )

    def change(kind: pa.DataType) -> pa.DataType:
        if isinstance(kind, pa.BaseExtensionType):  # a UUID is its bytes, JSON its text
            return change_type(plain_type(kind.storage_type), change)
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            if OFFSET.fullmatch(kind.tz):
                return pa.timestamp(kind.unit, "UTC")  # the same instants; Polars has no offsets
            if not _is_zone(kind.tz):
                raise refuse(f"the unknown time zone '{kind.tz}'")
        if pa.types.is_decimal256(kind):
            if kind.precision > MOST_DIGITS:
                raise refuse(
                    f"decimals of {kind.precision} digits, and at most {MOST_DIGITS} are possible"
                )
            return pa.decimal128(kind.precision, kind.scale)
        return kind

    return change_type(plain_type(footer.schema.field(name).type), change)


def _is_zone(name: str) -> bool:
    """Whether Polars knows a time zone; one that it does not know aborts the process."""
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
        if is_list_view(one):
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


def is_list(kind: pa.DataType) -> bool:
    return any(is_it(kind) for is_it, _ in LISTS)


def is_list_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))
