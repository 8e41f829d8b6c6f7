"""The documents of a run: read back as they were, compared key by key, added up exactly."""

import json
import re
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.runs.manifest import (
    FORM_VERSION,
    Manifest,
    PartFooter,
    PlannedFile,
    Reuse,
    Success,
    Totals,
    add_totals,
    differences,
    encode_schema,
)
from pipeline.schema import Shard, Span
from tests.support.plans import DIGEST, SCHEMA, make_manifest

TOTALS = Totals(
    num_rows=3,
    num_tokens=40,
    num_skipped_tokens=1,
    num_bytes=200,
    num_windows=5,
    nll=123.456,
    statuses={"empty": 1, "ok": 2},
    seconds=1.5,
)


@st.composite
def totals(draw: st.DrawFn) -> Totals:
    count = st.integers(0, 2**40)
    return Totals(
        num_rows=draw(count),
        num_tokens=draw(count),
        num_skipped_tokens=draw(count),
        num_bytes=draw(count),
        num_windows=draw(count),
        nll=draw(st.floats(0, 1e12)),
        statuses=draw(st.dictionaries(st.sampled_from(["ok", "empty", "null"]), count)),
        seconds=draw(st.floats(0, 1e6)),
    )


# Round trips


def test_a_manifest_is_read_back_as_it_was():
    manifest = make_manifest()
    again = Manifest.model_validate(json.loads(manifest.to_json()))
    assert again == manifest
    # Named tuples equal plain ones, so their kind is looked at too.
    assert isinstance(again.shards[1], Shard)
    assert [type(span) for span in again.shards[1].spans] == [Span, Span]
    assert again.shards[1].spans[1].row_groups == (0,)
    assert type(again.fingerprint["min_k_percent"]) is float
    assert type(again.fingerprint["window_tokens"]) is int


@pytest.mark.parametrize(
    "value",
    ["text", "", "12", 0, 1, 20.0, 12.5, True, False, None, [], ["a", ""]],
    ids=repr,
)
def test_a_value_keeps_its_type(value):
    manifest = make_manifest(fingerprint={"key": value}, request={"key": value})
    again = Manifest.model_validate(json.loads(manifest.to_json()))
    for found in (again.fingerprint["key"], again.request["key"]):
        assert found == value
        assert type(found) is type(value)


def test_a_manifest_has_one_line_a_key():
    lines = make_manifest().to_json().splitlines()
    assert (lines[0], lines[-1]) == ("{", "}")
    keys = [re.match(r'"(\w+)": ', line) for line in lines[1:-1]]
    assert [key[1] for key in keys if key] == list(Manifest.model_fields)


def test_a_manifest_names_its_schema_version():
    assert json.loads(make_manifest().to_json())["schema_version"] == FORM_VERSION


def test_the_arrow_schema_comes_back_with_its_types():
    assert make_manifest().arrow_schema().equals(SCHEMA)
    assert not make_manifest().arrow_schema().field("file").nullable


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.decimal128(38, 9),
        pa.timestamp("ns", tz="Europe/Madrid"),
        pa.map_(pa.string(), pa.list_(pa.int8())),
        pa.dictionary(pa.int8(), pa.large_string(), ordered=True),
        pa.binary(16),
        pa.null(),
    ],
    ids=str,
)
def test_any_carried_type_comes_back(kind):
    schema = pa.schema([pa.field("x", kind, metadata={"k": "v"})])
    again = make_manifest(part_schema=encode_schema(schema)).arrow_schema()
    assert again.equals(schema, check_metadata=True)


@pytest.mark.parametrize(
    "document",
    [
        TOTALS,
        PartFooter(
            run_id="r",
            fingerprint={"weights": DIGEST, "prefix_token_id": None},
            shard=7,
            totals=TOTALS,
        ),
        Success(
            run_id="5f" * 16,
            finished_at="2026-01-02T03:04:05+00:00",
            num_shards=3,
            num_unreadable_files=1,
            totals=TOTALS,
            wall_seconds=12.5,
            tokens_per_second=None,
        ),
    ],
    ids=lambda document: type(document).__name__,
)
def test_the_other_documents_are_read_back_as_they_were(document):
    assert type(document).model_validate_json(document.model_dump_json()) == document
    assert type(document).model_validate_json(document.to_json()) == document


@given(totals())
def test_nll_survives_json_to_the_last_bit(sums):
    assert Totals.model_validate_json(sums.model_dump_json()) == sums


# Missing keys


OPTIONAL = {"schema_version", "estimated_tokens"}


def test_a_manifest_from_before_there_were_estimates():
    content = json.loads(make_manifest().to_json())
    del content["estimated_tokens"]
    assert Manifest.model_validate(content).estimated_tokens is None


@pytest.mark.parametrize("key", [k for k in Manifest.model_fields if k not in OPTIONAL])
def test_a_missing_key_is_refused(key):
    content = json.loads(make_manifest().to_json())
    del content[key]
    with pytest.raises(ValidationError, match=rf"{key}\s+Field required"):
        Manifest.model_validate(content)


def test_a_document_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        make_manifest().num_rows = 12


# Differences


def test_equal_values_have_no_differences():
    values = make_manifest().fingerprint
    assert differences(values, dict(reversed(values.items()))) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"dtype": "float32"}, {"dtype": "bfloat16"}, "dtype float32 -> bfloat16"),
        ({"limit": None}, {"limit": 5}, "limit not set -> 5"),
        ({"limit": 5}, {}, "limit 5 -> not set"),
        ({}, {"limit": 5}, "limit not set -> 5"),
        ({"dedup": True}, {"dedup": False}, "dedup true -> false"),
        ({"carry": ["a", "b"]}, {"carry": []}, "carry a,b -> (none)"),
        ({"carry": ["a", "b"]}, {"carry": ["a,b"]}, 'carry a,b -> "a,b"'),
        (
            {"weights": DIGEST},
            {"weights": DIGEST[::-1]},
            "weights 0123456789ab… -> fedcba987654…",
        ),
    ],
    ids=["text", "from none", "gone", "new", "flags", "lists", "commas", "digests"],
)
def test_a_difference_reads_was_to_is(old, new, expected):
    assert differences(old, new) == [expected]


def test_differences_come_in_order_of_the_keys():
    old = {"b": 1, "same": 0, "a": 1}
    assert differences(old, {"a": 2, "same": 0, "b": 2, "c": 2}) == [
        "b 1 -> 2",
        "a 1 -> 2",
        "c not set -> 2",
    ]


def test_only_digests_are_cut_short():
    # Two folders that differ at the end, and whose paths happen to be as long as a digest.
    old, new = ("/data/" + "x" * 57 + end for end in "ab")
    assert len(old) == len(DIGEST)
    assert differences({"corpus": old}, {"corpus": new}) == [f"corpus {old} -> {new}"]


# Totals


def test_the_sum_of_nothing():
    assert add_totals([]) == Totals()


def test_a_sum_by_hand():
    found = add_totals(part for part in (TOTALS, TOTALS.model_copy(update={"statuses": {"ok": 3}})))
    assert found == Totals(
        num_rows=6,
        num_tokens=80,
        num_skipped_tokens=2,
        num_bytes=400,
        num_windows=10,
        nll=246.912,
        statuses={"empty": 1, "ok": 5},
        seconds=3.0,
    )


@given(st.lists(totals(), max_size=8).flatmap(lambda p: st.tuples(st.just(p), st.permutations(p))))
def test_the_order_of_parts_cannot_matter(orders):
    parts, shuffled = orders
    assert add_totals(shuffled).model_dump_json() == add_totals(parts).model_dump_json()


@given(st.lists(totals(), max_size=8))
def test_sums_are_exact(parts):
    found = add_totals(parts)
    assert found.nll == float(sum(Fraction(part.nll) for part in parts))
    assert found.num_bytes == sum(part.num_bytes for part in parts)


def test_small_parts_are_not_lost_beside_a_large_one():
    parts = [Totals(nll=1e16), *[Totals(nll=1.0)] * 64]
    assert add_totals(parts).nll == 1e16 + 64


# What a worker is handed


def test_a_task_names_its_own_files_only():
    manifest = make_manifest(
        files=tuple(
            PlannedFile(path=f"{name}.parquet", size_bytes=1, mtime_ns=1, num_rows=10)
            for name in "abc"
        ),
        shards=(
            Shard(0, (Span(0, (0,), 0, 10),), 10, 100),
            Shard(1, (Span(2, (0,), 0, 4), Span(1, (0, 1), 5, 5)), 9, 90),
        ),
    )
    task = manifest.task(1)
    assert task.files == ("c.parquet", "b.parquet")
    assert task.shard == Shard(1, (Span(0, (0,), 0, 4), Span(1, (0, 1), 5, 5)), 9, 90)
    assert [task.files[span.file] for span in task.shard.spans] == ["c.parquet", "b.parquet"]


def test_a_manifest_without_its_plan_is_as_small_for_any_corpus():
    small, large = (
        make_manifest(
            files=tuple(
                PlannedFile(path=f"{i}.parquet", size_bytes=1, mtime_ns=1, num_rows=10)
                for i in range(count)
            ),
            shards=tuple(Shard(i, (Span(i, (0,), 0, 10),), 10, 100) for i in range(count)),
            unreadable={f"bad-{i}": "torn" for i in range(count)},
            reuse=Reuse(run="old", run_id="0" * 32, shards={i: i for i in range(count)}),
        )
        for count in (1, 1000)
    )
    assert small.without_plan() == large.without_plan()
    assert large.without_plan().rules == large.rules
    assert len(large.shards) == 1000  # the plan itself is as it was
