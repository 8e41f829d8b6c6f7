"""What filtering writes is what the corpus has, value for value, whatever Arrow types it is of."""

import datetime as dt
import io
import uuid
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import CorpusChangedError, CorpusError, WinnowError
from pipeline.filters.config import load_filter_config
from pipeline.filters.filtering import decide
from pipeline.filters.output import FilterWriter
from pipeline.runs.scores import scan_scores
from tests.support.runs import score_corpus

FIRST, LAST = dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)
DATES = [FIRST, LAST, dt.datetime(2024, 5, 6, 7, 8, 9, 10), None]
US, NS = pa.timestamp("us"), pa.timestamp("ns")
TEXTS = ["one", "two two", "three three three", "four four", "five", None]


def filtered(
    folder: Path, model: Path, table: pa.Table, **write: object
) -> tuple[pa.Table, pa.Array]:
    """The table as it comes out of scoring and a filter that drops one scored document."""
    corpus, out = folder / "corpus", folder / "out"
    corpus.mkdir()
    pq.write_table(table, corpus / "a.parquet", **write)  # Arrow cannot write slices of all types
    store = score_corpus(corpus, folder / "run", model)
    scores = scan_scores(store, store.require_manifest()).collect()
    highest = scores.sort("perplexity", nulls_last=True).drop_nulls("perplexity")["row"][-1]
    second = scores.drop_nulls("perplexity")["perplexity"].sort()[-2]
    options = {"run": str(folder / "run"), "out": str(out), "max": [f"perplexity={second}"]}
    FilterWriter(decide(load_filter_config(None, options | {"unscored": "keep"})), str(out)).write()
    kept = pa.array([row != highest for row in range(len(table))])
    return pq.read_table(out / "a.parquet"), kept


def rows_of(table: pa.Table, kept: pa.Array) -> list[dict]:
    return [row for row, keep in zip(table.to_pylist(), kept.to_pylist(), strict=True) if keep]


def spread(values: list, kind: pa.DataType) -> pa.Array:
    return pa.array([values[i % len(values)] for i in range(len(TEXTS))], kind)


NESTS = {
    "plain": lambda kind: (kind, lambda value: value),
    "list": lambda kind: (pa.list_(kind), lambda value: [value, None]),
    "large list": lambda kind: (pa.large_list(kind), lambda value: [value]),
    "pair": lambda kind: (pa.list_(kind, 2), lambda value: [value, None]),
    "struct": lambda kind: (pa.struct([("x", kind)]), lambda value: {"x": value}),
    "map": lambda kind: (pa.map_(pa.string(), kind), lambda value: [("k", value)]),
    "list view": lambda kind: (pa.list_view(kind), lambda value: [value, None, value]),
    "large list view": lambda kind: (pa.large_list_view(kind), lambda value: [value]),
    "lists in structs in lists": lambda kind: (
        pa.list_(pa.struct([("x", pa.list_(kind)), ("n", pa.float64())])),
        lambda value: [{"x": [value], "n": 0.5}, None],
    ),
    "views in views": lambda kind: (
        pa.list_view(pa.struct([("x", pa.list_view(kind))])),
        lambda value: [{"x": [value, value]}, {"x": None}],
    ),
}


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()], ids=str)
def test_views_of_strings_and_bytes(tmp_path, tiny_model, kind, nest):
    whole, wrap = NESTS[nest](kind)
    values = [None, *(wrap(v) for v in ("é", "a long text that is not inlined", "", None))]
    if kind == pa.binary_view():
        values = [None, *(wrap(v) for v in (b"\xff\x00", b"more than twelve bytes", b"", None))]
    table = pa.table({"text": pa.array(TEXTS, pa.string_view()), "c": made(values, whole)})
    found, kept = filtered(tmp_path, tiny_model, table)
    assert found.schema.equals(pq.read_schema(tmp_path / "corpus" / "a.parquet"))
    assert found.schema.field("c").type.equals(pq.read_schema(tmp_path / "out/a.parquet").types[1])
    assert found.to_pylist() == rows_of(table, kept)


def made(values: list, kind: pa.DataType) -> pa.Array:
    return pa.array([values[i % len(values)] for i in range(len(TEXTS))], kind)


@pytest.mark.parametrize("nest", [name for name in NESTS if "view" not in name])
def test_old_timestamps_of_every_year(tmp_path, tiny_model, nest):
    whole, wrap = NESTS[nest](US)
    table = pa.table({"text": TEXTS, "c": made([wrap(value) for value in DATES], whole)})
    old = {"use_deprecated_int96_timestamps": True}
    found, kept = filtered(tmp_path, tiny_model, table, **old)
    assert found.to_pylist() == rows_of(table, kept)
    assert "us" in str(found.schema.field("c").type)


def test_old_timestamps_of_nanoseconds_stay_such(tmp_path, tiny_model):
    nanos = [1, -1, 2**62 + 7, None, 1_700_000_000_123_456_789, 0]
    table = pa.table({"text": TEXTS, "c": pa.array(nanos, NS)})
    found, kept = filtered(tmp_path, tiny_model, table, use_deprecated_int96_timestamps=True)
    assert found["c"].type == NS
    assert found["c"].cast(pa.int64()).to_pylist() == [
        nano for nano, keep in zip(nanos, kept.to_pylist(), strict=True) if keep
    ]


def test_old_timestamps_that_no_unit_holds_together(tmp_path, tiny_model):
    # Written apart, as one column of Arrow cannot have both.
    far, subtle = pa.array(DATES + DATES[:2], US), pa.array([1] * 6, NS)
    table = pa.table({"text": TEXTS, "far": far, "subtle": subtle})
    with pytest.raises(WinnowError, match=r"a\.parquet.*'far'.*'subtle'") as raised:
        filtered(tmp_path, tiny_model, table, use_deprecated_int96_timestamps=True)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out" / "a.parquet").exists()


@pytest.mark.parametrize("zone", ["+05:30", "-03:45", "+00:00", "Asia/Kolkata", "Mars/Phobos"])
def test_every_zone_is_kept_by_a_filter(tmp_path, tiny_model, zone):
    values = pa.array([0, 1, -(10**15), None, 10**15, 5], pa.int64()).cast(pa.timestamp("us", zone))
    table = pa.table({"text": TEXTS, "at": values})
    found, kept = filtered(tmp_path, tiny_model, table)
    assert found.equals(table.filter(kept))


def test_a_zone_of_half_an_hour_is_carried_as_the_same_instants(tmp_path, tiny_model):
    at = pa.array([0, 1, 2, None, 10**15, 5], pa.int64()).cast(pa.timestamp("us", "+05:30"))
    table = pa.table(
        {"text": TEXTS, "at": at, "l": pa.array([[one] for one in at], pa.list_(at.type))}
    )
    (tmp_path / "c").mkdir()
    pq.write_table(table, tmp_path / "c/a.parquet")
    store = score_corpus(tmp_path / "c", tmp_path / "run", tiny_model, carry=("at", "l"))
    scores = scan_scores(store, store.require_manifest()).collect()
    instants = at.cast(pa.int64()).to_pylist()
    assert scores["at"].dt.epoch("us").to_list() == instants
    assert scores["l"].explode().dt.epoch("us").to_list() == instants


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (pa.timestamp("us", "Mars/Phobos"), "time zone 'Mars/Phobos'"),
        (pa.list_(pa.timestamp("us", "Mars/Phobos")), "time zone 'Mars/Phobos'"),
        (pa.decimal256(76, 38), "76 digits"),
    ],
)
def test_what_no_reader_of_scores_has_is_refused_before_anything_is_written(
    tmp_path, tiny_model, kind, reason
):
    (tmp_path / "c").mkdir()
    pq.write_table(pa.table({"text": ["a"], "x": pa.nulls(1, kind)}), tmp_path / "c/a.parquet")
    with pytest.raises(CorpusError, match=rf"column 'x' of a\.parquet cannot be carried.*{reason}"):
        score_corpus(tmp_path / "c", tmp_path / "run", tiny_model, carry=("*",))
    assert not (tmp_path / "run").exists()
    score_corpus(tmp_path / "c", tmp_path / "run", tiny_model)


def test_views_are_carried_as_what_every_reader_has(tmp_path, tiny_model):
    kind = pa.list_view(pa.struct([("x", pa.list_view(pa.string_view()))]))
    values = [[{"x": ["a", None]}, {"x": None}], None, [], [{"x": []}], [{"x": ["b"]}], None]
    table = pa.table({"text": TEXTS, "c": pa.array(values, kind)})
    (tmp_path / "c").mkdir()
    pq.write_table(table, tmp_path / "c/a.parquet")
    store = score_corpus(tmp_path / "c", tmp_path / "run", tiny_model, carry=("c",))
    assert scan_scores(store, store.require_manifest()).collect()["c"].to_list() == values


def test_old_timestamps_are_carried_of_every_year(tmp_path, tiny_model):
    table = pa.table({"text": TEXTS, "at": made(DATES, US)})
    (tmp_path / "c").mkdir()
    pq.write_table(table, tmp_path / "c/a.parquet", use_deprecated_int96_timestamps=True)
    store = score_corpus(tmp_path / "c", tmp_path / "run", tiny_model, carry=("at",))
    scores = scan_scores(store, store.require_manifest()).collect()
    assert scores["at"].to_list() == table["at"].to_pylist()


# --- any table

SCALARS = st.sampled_from(
    [
        (pa.int8(), [1, -128, None]),
        (pa.uint64(), [2**64 - 1, 0, None]),
        (pa.float16(), [np.float16(0.5), np.float16(-2)]),
        (pa.float64(), [0.1, -0.0, float("inf"), None]),
        (pa.bool_(), [True, False, None]),
        (pa.string(), ["a", "é😀", "", None]),
        (pa.large_string(), ["a" * 50, None]),
        (pa.string_view(), ["a", "more than twelve bytes", None]),
        (pa.binary(), [b"\xff", b"", None]),
        (pa.large_binary(), [b"\xff" * 20]),
        (pa.binary_view(), [b"\xff" * 20, b"x", None]),
        (pa.binary(3), [b"abc", None]),
        (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
        (pa.time32("ms"), [dt.time(23, 59, 59), None]),
        (pa.time64("us"), [dt.time(0, 0, 0, 1)]),
        (pa.timestamp("ms"), [FIRST, dt.datetime(9999, 1, 1), None]),
        (US, DATES),
        (pa.timestamp("us", "+05:30"), [dt.datetime(1970, 1, 1, tzinfo=dt.UTC), None]),
        (pa.timestamp("us", "Europe/Berlin"), [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)]),
        (pa.duration("us"), [dt.timedelta(days=-1), None]),
        (pa.decimal32(5, 2), [Decimal("1.50"), None]),
        (pa.decimal128(38, 4), [Decimal("-1.5000"), None]),
        (pa.decimal256(76, 38), [Decimal(10**30), None]),
        (pa.null(), [None]),
        (pa.dictionary(pa.int32(), pa.string()), ["x", "y", None]),
    ]
)
TYPES = st.recursive(
    SCALARS,
    lambda inner: st.builds(
        lambda one, name: (lambda whole, wrap: (whole, [*(wrap(v) for v in one[1]), None]))(
            *NESTS[name](one[0])
        ),
        inner.filter(lambda one: not pa.types.is_null(one[0])),
        st.sampled_from([name for name in NESTS]),
    ),
    max_leaves=3,
)


def parquet_can(kind: pa.DataType, values: list) -> bool:
    """Whether Arrow writes these and reads them again, itself."""
    table, sink = pa.table({"c": made(values, kind)}), io.BytesIO()
    try:
        pq.write_table(table, sink)
        found = pq.read_table(sink)
        return bool(found.schema.equals(table.schema)) and found.to_pylist() == table.to_pylist()
    except (pa.ArrowException, NotImplementedError):
        return False


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(columns=st.lists(TYPES.filter(lambda one: parquet_can(*one)), min_size=1, max_size=4))
def test_any_table_comes_back_as_it_was(tmp_path_factory, tiny_model, columns):
    named = {f"c{i}": made(values, kind) for i, (kind, values) in enumerate(columns)}
    table = pa.table({"text": TEXTS, **named})
    found, kept = filtered(tmp_path_factory.mktemp("any"), tiny_model, table)
    assert found.schema.equals(table.schema)
    assert found.to_pylist() == rows_of(table, kept)


def test_uuids(tmp_path, tiny_model):
    raw = [uuid.UUID(int=i).bytes for i in range(6)]
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array(raw, pa.binary(16)))
    table = pa.table({"text": TEXTS, "key": ids})
    found, kept = filtered(tmp_path, tiny_model, table)
    assert found.equals(table.filter(kept))


# --- the text that was scored


def edited(folder: Path, model: Path, row: int, text: str | None) -> FilterWriter:
    corpus = folder / "corpus"
    corpus.mkdir()
    pq.write_table(pa.table({"text": TEXTS}), corpus / "a.parquet")
    score_corpus(corpus, folder / "run", model)
    request = load_filter_config(
        None, {"run": str(folder / "run"), "out": str(folder / "out"), "percentile": "0:70"}
    )
    decided = decide(request)
    texts = [*TEXTS[:row], text, *TEXTS[row + 1 :]]
    pq.write_table(pa.table({"text": texts}), corpus / "a.parquet")
    return FilterWriter(decided, str(folder / "out"))


@pytest.mark.parametrize(("row", "text"), [(0, "onf"), (3, None), (4, "fivE"), (5, "")])
def test_a_filter_writes_no_text_that_was_not_scored(tmp_path, tiny_model, row, text):
    writer = edited(tmp_path, tiny_model, row, text)
    with pytest.raises(CorpusChangedError, match=rf"^a\.parquet, row {row}: the text is not the"):
        writer.write()
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_a_filter_of_a_corpus_that_lost_its_text_column(tmp_path, tiny_model):
    writer = edited(tmp_path, tiny_model, 0, TEXTS[0])
    pq.write_table(pa.table({"body": TEXTS}), tmp_path / "corpus" / "a.parquet")
    with pytest.raises(WinnowError, match=r"a\.parquet cannot be rewritten: .*column 'text'"):
        writer.write()


def test_a_file_written_again_as_it_was_is_the_same(tmp_path, tiny_model):
    writer = edited(tmp_path, tiny_model, 0, TEXTS[0])
    writer.write()
    assert (tmp_path / "out" / "a.parquet").exists()
