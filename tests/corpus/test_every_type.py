"""Every type that Parquet can hold, beside the text and carried: right, or refused at planning.

A corpus of one or two files, whose columns have odd names and may differ in type or be missing from
one of them, goes the whole way: scores, a report by each column, a filter, a comparison of the run
with itself. The oracle is the tables that were written, by pyarrow.
"""

import math
import os
import shutil
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
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
from pipeline.reports.groups import check_dates, check_group
from pipeline.reports.report import build_report
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from tests.support.columns import NUM_ROWS, columns
from tests.support.runs import score_corpus

NUM_EXAMPLES = int(os.environ.get("WINNOW_TEST_EXAMPLES", "15"))
MANY = 100
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
DAY = 86_400 * 10**9


def is_writable(table: pa.Table, path: Path, **options: object) -> bool:
    """Whether Arrow can write the column at all, and read back what it wrote."""
    try:
        pq.write_table(table, path, **options)
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
@given(
    drawn=st.lists(columns(), min_size=1, max_size=20, unique_by=lambda one: one.name),
    is_two=st.booleans(),
    group_rows=st.integers(1, NUM_ROWS),
    keeps_arrow=st.booleans(),
)
def test_right_or_refused_before_anything_is_written(
    tiny_model, drawn, is_two, group_rows, keeps_arrow
):
    with TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "corpus").mkdir()
        texts = pa.array([f"text {row} of it" * (row + 1) for row in range(NUM_ROWS)])
        files = [{one.name: one.first for one in drawn}]
        if is_two:
            files.append({one.name: one.second for one in drawn if one.second is not None})
        options = {"row_group_size": group_rows, "store_schema": keeps_arrow}
        for number, wanted in enumerate(files):
            file = folder / f"corpus/{number}.parquet"
            whole = {"text": texts}
            for name, column in wanted.items():
                if name != "text" and is_writable(pa.table({name: column}), file, **options):
                    whole[name] = column
            pq.write_table(pa.table(whole), file, **options)
        footers, _ = read_footers(*find_files(str(folder / "corpus")), "text")
        names = dict.fromkeys(name for footer in footers for name in footer.schema.names)
        carry = tuple(name for name in names if name != "text" and is_planned(footers, name))
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
    lazy = scan_scores(store, manifest)
    scores = lazy.collect()
    files = {file.name: pq.read_table(file) for file in sorted((folder / "corpus").iterdir())}
    assert scores["row"].to_list() == list(range(NUM_ROWS)) * len(files)
    stored = pq.read_table(sorted((folder / "run/scores").iterdir()))
    for number, written in enumerate(files.values()):
        own = stored.slice(number * NUM_ROWS, NUM_ROWS)
        for name in carry:
            if name in written.column_names:
                assert same(own[name], written[name]), (written[name].type, own[name].type)
            else:
                assert own[name].null_count == NUM_ROWS
    by = tuple(name for name in carry if is_group(store, lazy, name))
    report = build_report(store, by=by)
    assert report.overall.num_documents == NUM_ROWS * len(files)
    for name in by:
        counts = [group.figures.num_documents for group in report.groups[name]]
        assert sum(counts) == NUM_ROWS * len(files), stored[name].type
    shutil.copytree(folder / "run", folder / "again")
    again = RunStore(str(folder / "again"))
    assert compare_runs([store, again], by=by, resamples=100)
    options = {"run": str(folder / "run"), "out": str(folder / "out"), "min": ["num_tokens=30"]}
    FilterWriter(decide(load_filter_config(None, options)), str(folder / "out")).write()
    rows = [row for row in range(NUM_ROWS) if scores["num_tokens"][row] >= 30]
    for file, written in files.items():
        kept = pq.read_table(folder / "out" / file)
        assert kept.schema.types == written.schema.types
        for name in written.column_names:
            every = shown(written[name])
            assert shown(kept[name]) == [every[row] for row in rows], written[name].type


def is_group(store: RunStore, scores: pl.LazyFrame, name: str) -> bool:
    """Whether a column may be grouped by; one that may not is named."""
    try:
        check_group(name, store.require_manifest())
        check_dates(scores, [name])
    except RunError as error:
        if f"'{name}'" not in str(error):
            raise
        return False
    return True


def same(stored: pa.ChunkedArray, written: pa.ChunkedArray) -> bool:
    """Whether the values are equal: to the last bit if the types are, else what they stand for."""
    if shown(stored) == shown(written):
        return True
    pairs = zip(meaning(stored), meaning(written), strict=True)
    return all(had == now or repr(had) == repr(now) for now, had in pairs)


def meaning(column: pa.ChunkedArray) -> Sequence[object]:
    """Numbers as fractions, dates and times in nanoseconds, text as bytes."""
    column = plain(column)
    kind = column.type
    unit = 1
    if pa.types.is_date(kind):
        unit = DAY if pa.types.is_date32(kind) else NANOSECONDS["ms"]
    elif pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time(kind):
        unit = NANOSECONDS[kind.unit]
    return [value_of(one, unit) for one in without_times(column).to_pylist()]


def value_of(one: object, unit: int) -> object:
    if isinstance(one, str):
        return one.encode()
    if isinstance(one, bool) or not isinstance(one, int | float | Decimal):
        return one
    return Fraction(one) * unit if math.isfinite(one) and repr(one) != "-0.0" else one


def shown(column: pa.ChunkedArray) -> list[str]:
    """The values as text, dates and times as the numbers they are: no calendar limits those."""
    return [repr(value) for value in without_times(plain(column)).to_pylist()]


def plain(column: pa.ChunkedArray) -> pa.Array:
    """In one piece, as what is stored."""
    column = column.combine_chunks()
    if isinstance(column.type, pa.BaseExtensionType):
        return column.storage
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
