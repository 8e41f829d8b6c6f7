"""The types in memory and the columns on disk are one and the same list."""

import typing

import pyarrow as pa
import pytest

from pipeline.audits.require import METRICS as AUDITED
from pipeline.schema import (
    COLUMNS,
    LOCATOR_FIELDS,
    METRICS,
    OWN_COLUMNS,
    RATIOS,
    SCORE_FIELDS,
    SCORED,
    STATUSES,
    TOKEN_FIELDS,
    DocumentScore,
    Status,
    part_schema,
)

ARROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}
SCORES = {field.name: field for field in SCORE_FIELDS}


def test_document_scores_and_score_fields_have_the_same_names_in_the_same_order():
    assert list(DocumentScore._fields) == list(SCORES)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_fields_type_and_nullability_are_those_of_the_attribute(name):
    hint = typing.get_type_hints(DocumentScore)[name]
    nullable = type(None) in typing.get_args(hint)
    kinds = {str} if hint is Status else set(typing.get_args(hint) or [hint]) - {type(None)}
    (kind,) = kinds
    assert SCORES[name] == pa.field(name, ARROW_TYPES[kind], nullable=nullable)


def test_a_row_without_a_score_has_counts_of_zero_and_no_metrics():
    """Never 0, NaN or infinity for a metric: a mean over the column would be believed."""
    row = DocumentScore(status="null")._asdict()
    for name, field in SCORES.items():
        if name != "status":
            assert row[name] == (None if field.nullable else 0)


@pytest.mark.parametrize("name", RATIOS)
def test_metrics_are_nullable_columns_of_floats(name):
    assert SCORES[name] == pa.field(name, pa.float64(), nullable=True)


@pytest.mark.parametrize("name", SCORES)
def test_every_number_but_the_hash_is_a_metric(name):
    assert (name in METRICS) == (SCORES[name].type != pa.string() and name != "text_hash")


@pytest.mark.parametrize("name", RATIOS)
def test_a_ratio_is_over_a_count_that_is_there(name):
    assert SCORES[RATIOS[name].per] == pa.field(RATIOS[name].per, pa.int64(), nullable=False)


def test_every_status_is_named_where_statuses_are_listed():
    """The README's line and the metrics of an audit are made of the type."""
    assert typing.get_args(Status) == STATUSES
    assert COLUMNS["status"].meaning == "`ok`, `truncated`, `skipped`, `empty`, `null` or `error`"
    assert set(STATUSES) <= set(AUDITED)
    assert set(SCORED) < set(STATUSES)


def test_a_row_is_found_by_file_and_row():
    assert [
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
    ] == LOCATOR_FIELDS


def test_the_columns_of_a_part_in_order():
    carried = [pa.field("lang", pa.string()), pa.field("n", pa.int32())]
    schema = part_schema(pa.large_string(), carried)
    assert schema.names == ["file", "row", "doc_id", "lang", "n", *SCORES]
    assert schema.field("doc_id") == pa.field("doc_id", pa.large_string(), nullable=True)
    assert schema.field("n") == carried[1]


def test_a_corpus_without_ids_has_no_doc_id():
    assert part_schema(None, []).names == ["file", "row", *SCORES]


@pytest.mark.parametrize("asked", [(), ("token_ids",), tuple(TOKEN_FIELDS)], ids=len)
def test_token_columns_come_last_and_only_if_asked_for(asked):
    schema = part_schema(None, [], asked)
    assert schema.names == ["file", "row", *SCORES, *asked]
    for name in asked:
        assert schema.field(name) == TOKEN_FIELDS[name]


def test_every_column_of_a_part_is_reserved():
    names = part_schema(pa.string(), [], tuple(TOKEN_FIELDS)).names
    assert len(names) == len(set(names))
    assert set(names) == OWN_COLUMNS
