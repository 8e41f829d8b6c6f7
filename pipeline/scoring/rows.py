"""Scores as rows of a part: beside their locators, in the part's schema."""

import pyarrow as pa

from pipeline.corpus.columns import Columns
from pipeline.corpus.reader import carried_column
from pipeline.schema import TOKEN_FIELDS, DocumentScore
from pipeline.scoring.preparing import PreparedBatch


def to_rows(
    prepared: PreparedBatch, scores: list[DocumentScore], columns: Columns, schema: pa.Schema
) -> pa.Table:
    """Locator, id, carried columns and scores, as the part's schema has them."""
    batch = prepared.batch
    values = score_columns(prepared, scores, schema)
    values["file"] = pa.array([batch.file] * len(scores), pa.string())
    values["row"] = pa.array([document.row for document in batch.documents], pa.int64())
    sources = {name: name for name in columns.carried}
    if columns.doc_id is not None:
        sources["doc_id"] = columns.doc_id
    for name, source in sources.items():
        kind = schema.field(name).type
        if source in batch.table.schema.names:
            values[name] = carried_column(batch, source, kind)
        else:
            values[name] = pa.nulls(len(scores), kind)
    return pa.table([values[name] for name in schema.names], schema=schema)


def score_columns(
    prepared: PreparedBatch, scores: list[DocumentScore], schema: pa.Schema
) -> dict[str, pa.Array]:
    """The score columns of a batch by name, and of the token columns those that `schema` has."""
    values = {
        name: pa.array(column, schema.field(name).type)
        for name, column in zip(DocumentScore._fields, zip(*scores, strict=True), strict=True)
    }
    for name in TOKEN_FIELDS.keys() & set(schema.names):
        lists = [
            None if score.nll is None else document.token_list(name)
            for document, score in zip(prepared.documents, scores, strict=True)
        ]
        values[name] = pa.array(lists, schema.field(name).type)
    return values
