"""Every type that Parquet can hold, beside the text and carried: right, or refused at planning.

A corpus of one or two files goes the whole way: scores, a report by the column, a filter, a
comparison of the run with itself. The oracle is the table that was written, by pyarrow.
"""

import math
import os
import shutil
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline.comparisons.compare import compare_runs
from pipeline.corpus.casting import without_times
from pipeline.corpus.columns import choose_columns
from pipeline.corpus.files import Footer, find_files, read_footers
from pipeline.errors import CorpusError, RunError
from pipeline.filters.config import load_filter_config
from pipeline.filters.filtering import decide
from pipeline.filters.output import FilterWriter
from pipeline.reports.groups import check_group
from pipeline.reports.report import build_report
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from tests.support.runs import score_corpus

NUM_EXAMPLES = int(os.environ.get("WINNOW_TEST_EXAMPLES", "15"))
MANY = 100
NUM_ROWS = 4
UNITS = ("s", "ms", "us", "ns")
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
    decimals = st.integers(-number, number).map(lambda one: Decimal(one).scaleb(-scale))
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


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    """A column of any type, nested once or not, with nulls."""
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
    drawn = draw(st.lists(st.none() | values, min_size=NUM_ROWS, max_size=NUM_ROWS))
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(drawn, kind.storage_type))
    return pa.array(drawn, kind)


def is_writable(table: pa.Table, path: Path) -> bool:
    """Whether Arrow can write the column at all, and read back what it wrote."""
    try:
        pq.write_table(table, path)
        pq.read_table(path).validate(full=True)
    except (pa.ArrowException, OverflowError, ValueError):
        path.unlink(missing_ok=True)
        return False
    return True


@settings(
    max_examples=NUM_EXAMPLES,
    phases=[Phase.generate] if NUM_EXAMPLES > MANY else tuple(Phase),
    suppress_health_check=list(HealthCheck),
)
@given(drawn=st.lists(columns(), min_size=1, max_size=20))
def test_right_or_refused_before_anything_is_written(tiny_model, drawn):
    with TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "corpus").mkdir()
        texts = pa.array([f"text {row} of it" * (row + 1) for row in range(NUM_ROWS)])
        columns = {f"c{i}": column for i, column in enumerate(drawn)}
        file = folder / "corpus/a.parquet"
        columns = {n: c for n, c in columns.items() if is_writable(pa.table({"c": c}), file)}
        pq.write_table(pa.table({"text": texts, **columns}), file)
        footers, _ = read_footers(*find_files(str(folder / "corpus")), "text")
        carry = tuple(name for name in columns if is_planned(footers, name))
        store = score_corpus(folder / "corpus", folder / "run", tiny_model, carry=carry)
        check_scored(store, folder, carry)


def is_planned(footers: list[Footer], name: str) -> bool:
    """Whether a column may be carried; one that may not is named."""
    try:
        choose_columns(footers, text="text", id_column=None, carry=(name,))
    except CorpusError as error:
        if f"column '{name}'" not in str(error):
            raise
        return False
    return True


def check_scored(store: RunStore, folder: Path, carry: tuple[str, ...]) -> None:
    manifest = store.require_manifest()
    scores = scan_scores(store, manifest).collect()
    assert scores["row"].to_list() == list(range(NUM_ROWS))
    written = pq.read_table(folder / "corpus/a.parquet")
    stored = pq.read_table(sorted((folder / "run/scores").iterdir()))
    for name in carry:
        assert shown(stored[name]) == shown(written[name]), written[name].type
    by = tuple(name for name in carry if is_group(store, name))
    report = build_report(store, by=by)
    assert report.overall.num_documents == NUM_ROWS
    for name in by:
        counts = [group.figures.num_documents for group in report.groups[name]]
        assert sum(counts) == NUM_ROWS, written[name].type
    shutil.copytree(folder / "run", folder / "again")
    again = RunStore(str(folder / "again"))
    assert compare_runs([store, again], by=by, resamples=10)
    options = {"run": str(folder / "run"), "out": str(folder / "out"), "min": ["num_tokens=30"]}
    FilterWriter(decide(load_filter_config(None, options)), str(folder / "out")).write()
    kept = pq.read_table(folder / "out/a.parquet")
    rows = [row for row in range(NUM_ROWS) if scores["num_tokens"][row] >= 30]
    assert kept.schema.types == written.schema.types
    for name in written.column_names:
        every = shown(written[name])
        assert shown(kept[name]) == [every[row] for row in rows], written[name].type


def is_group(store: RunStore, name: str) -> bool:
    try:
        check_group(name, store.require_manifest())
    except RunError:
        return False
    return True


def shown(column: pa.ChunkedArray) -> list[str]:
    """The values as text, dates and times as the numbers they are: no calendar limits those."""
    column = column.combine_chunks()
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    elif pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return [repr(value) for value in without_times(column).to_pylist()]
