"""One document of a run: its score row, its place among the others, its text and its tokens.

Owns finding it, by file and row or by id, and counting those below it. Its text and tokens are
document_text.py's.
"""

from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from pipeline.errors import RunError, named
from pipeline.reports.document_text import ScoreText, read_text, read_tokens
from pipeline.reports.figures import QUANTILE_METRICS
from pipeline.reports.groups import check_dates, check_group, label_of
from pipeline.runs.corpus import open_corpus
from pipeline.runs.ids import shown_id
from pipeline.runs.manifest import Manifest
from pipeline.runs.scores import Parts, find_parts
from pipeline.runs.store import RunStore
from pipeline.schema import METRICS, TOKEN_FIELDS
from pipeline.scoring.token_spans import TokenSpan
from pipeline.settings.fields import option_of
from pipeline.settings.names import near_name
from pipeline.statistics.columns import as_text, column_named
from pipeline.statistics.quantile import rank_of

MOST_LISTED = 10


class Place(BaseModel):
    """Where a document stands among those with a score."""

    metric: str
    by: str | None
    """The carried column of the group; null if the rank is among all documents of the run."""
    group: str | None
    """The document's value of `by`."""
    num_documents: int
    num_below: int
    num_equal: int
    """Number of documents with the same value, this one included."""
    rank: float | None
    """Rank of the value: 0 is the lowest, 1 the highest. Null if all values are equal."""


class ShownDocument(BaseModel):
    """A document and its scores."""

    run: str
    file: str
    row: int
    doc_id: str | None
    status: str
    error: str | None
    metrics: dict[str, int | float | None]
    carried: dict[str, str | None]
    places: list[Place]
    """Ranks of the document by each metric; empty if it has no score."""
    text: str | None
    text_missing: str | None
    """Why the text cannot be shown; null if it is shown."""
    tokens: list[TokenSpan] | None
    """Spans that make up the text, each with the log-probabilities of its tokens."""
    tokens_missing: str | None
    """Why there are no spans; null if there are."""


def show_document(
    run: RunStore | str | Path,
    file: str | None = None,
    row: int | None = None,
    *,
    doc_id: str | None = None,
    by: tuple[str, ...] = (),
    corpus: str | None = None,
    partial: bool = False,
    score_text: ScoreText | None = None,
) -> ShownDocument:
    """A document, named by its file and row or by its id.

    `by` are carried columns in whose groups it has a place, too; `corpus` is where the corpus lies
    now; `partial` takes what there is of a run whose parts are not all there; `score_text` scores
    its tokens where the run did not store that. Raises RunError where there is no such document or
    no such run.
    """
    store = run if isinstance(run, RunStore) else RunStore(str(run))
    manifest = store.require_manifest()
    for column in by:
        check_group(column, manifest)
    root = open_corpus(manifest, corpus)
    if file is not None:
        _check_file(manifest, file)
    parts = find_parts(store, manifest, partial=partial)
    scores = parts.scan()
    check_dates(scores, by)
    if file is None or row is None:
        assert doc_id is not None
        file, row = _find_id(scores, manifest, doc_id)
    found = _find_row(parts, file, row)
    text, text_missing = read_text(root, manifest, file, row, found["text_hash"])
    tokens, tokens_missing = read_tokens(manifest, text, found, score_text)
    return ShownDocument(
        run=store.location,
        file=file,
        row=row,
        doc_id=found["doc_id"],
        status=found["status"],
        error=found["error"],
        metrics={name: found[name] for name in METRICS},
        carried={name: found[f"carried {name}"] for name in manifest.carried},
        places=_places(scores, found, by),
        text=text,
        text_missing=text_missing,
        tokens=tokens,
        tokens_missing=tokens_missing,
    )


def _check_file(manifest: Manifest, file: str) -> None:
    """Raises RunError for a file that the run has no rows of."""
    if reason := manifest.unreadable.get(file):
        raise RunError(f"{file} could not be read when the corpus was scored: {reason}")
    names = [one.path for one in manifest.files]
    if file in names:
        return
    # Who has a shell complete it types where the corpus lies, too.
    near = next((one for one in names if file.endswith(f"/{one}")), near_name(file, names))
    shown = ", ".join(names[:MOST_LISTED]) + (", ..." if len(names) > MOST_LISTED else "")
    hint = f"did you mean '{near}'?" if near else f"its files: {shown}"
    raise RunError(f"this run has no file '{file}'", hint=hint)


def _find_id(scores: pl.LazyFrame, manifest: Manifest, doc_id: str) -> tuple[str, int]:
    """File and row of the only document with an id. Raises RunError."""
    if "doc_id" not in scores.collect_schema():
        raise RunError(
            "this run has no ids",
            hint="give the file and row of the document; a run has ids if it was made by "
            f"winnow score {option_of('id_column')} COLUMN",
        )
    rows = (
        scores.select("file", "row", shown_id(scores))
        .filter(pl.col("doc_id") == doc_id)
        .head(MOST_LISTED + 1)
        .collect(engine="streaming")
    )
    if not rows.height:
        hint = f"ids come from column '{manifest.id_column}' of the corpus"
        raise RunError(f"no document of this run has the id '{doc_id}'", hint=hint)
    if rows.height > 1:
        listed = [f"{file} {row}" for file, row, _ in rows.head(MOST_LISTED).iter_rows()]
        more = ", ..." if rows.height > MOST_LISTED else ""
        raise RunError(
            f"several documents have the id '{doc_id}': {', '.join(listed)}{more}",
            hint=f"give file and row of one of these instead of {named('doc_id')}",
        )
    file, row, _ = rows.row(0)
    return file, row


def _find_row(parts: Parts, file: str, row: int) -> dict[str, Any]:
    """A score row, what was carried as text. Raises RunError where there is none."""
    manifest = parts.manifest
    at = next(index for index, one in enumerate(manifest.files) if one.path == file)
    num_rows = manifest.files[at].num_rows
    if not 0 <= row < num_rows:
        raise RunError(f"{file} has no row {row}", hint=f"its {num_rows:,} rows are counted from 0")
    shard = next(
        (
            shard.id
            for shard in manifest.shards
            for span in shard.spans
            if span.file == at and 0 <= row - span.first_row < span.num_rows
        ),
        None,
    )
    if shard is None:
        raise RunError(
            f"row {row} of {file} is not among the {manifest.num_rows:,} rows of this run"
        )
    if shard not in parts.found:
        reasons = [one["reason"] for one in parts.store.failures() if one.get("shard") == shard]
        why = f"was given up: {reasons[0]}" if reasons else "is not scored"
        raise RunError(f"row {row} of {file} has no scores: shard {shard} {why}")
    scores = parts.scan([shard])
    kinds = scores.collect_schema()
    carried = [
        as_text(column_named(name), kinds[name]).alias(f"carried {name}")
        for name in manifest.carried
    ]
    tokens = [name for name in TOKEN_FIELDS if name in kinds]
    return (
        scores.filter(pl.col("file") == file, pl.col("row") == row)
        .select("status", "error", "text_hash", *METRICS, *tokens, shown_id(scores), *carried)
        .collect()
        .row(0, named=True)
    )


def _places(scores: pl.LazyFrame, found: dict[str, Any], by: tuple[str, ...]) -> list[Place]:
    """Its places, overall and then in each group, all counted in one pass."""
    kinds = scores.collect_schema()
    groups: list[tuple[str | None, pl.Expr]] = [(None, pl.lit(value=True))]
    for column in dict.fromkeys(by):
        own = pl.lit(found[f"carried {column}"], pl.String)
        groups.append((column, as_text(column_named(column), kinds[column]).eq_missing(own)))
    metrics = [metric for metric in QUANTILE_METRICS if found[metric] is not None]
    counts = [
        test.filter(inside).sum().alias(f"{number}")
        for number, (inside, test) in enumerate(
            (inside, test)
            for _, inside in groups
            for metric in metrics
            for value in (column_named(metric),)
            for test in (value.is_not_null(), value < found[metric], value == found[metric])
        )
    ]
    if not counts:
        return []
    row = iter(scores.select(counts).collect(engine="streaming").row(0))
    places = []
    for of, _ in groups:
        for metric in metrics:
            total, below, equal = (int(next(row)) for _ in range(3))
            places.append(
                Place(
                    metric=metric,
                    by=of,
                    group=None if of is None else label_of(found[f"carried {of}"]),
                    num_documents=total,
                    num_below=below,
                    num_equal=equal,
                    rank=rank_of(below, equal, total),
                )
            )
    return places
