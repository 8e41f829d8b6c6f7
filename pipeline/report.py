"""Score rows to a report: figures for the whole, by group, and as histograms.

Owns what a report has, and which columns it groups by. Adding up is figures.py's, looks are
render.py's and charts.py's.
"""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
from pydantic import BaseModel

from pipeline.config import near_name
from pipeline.errors import RunError
from pipeline.figures import (
    QUANTILE_METRICS,
    Figures,
    Group,
    Histogram,
    figures_of,
    groups_of,
    histogram_of,
)
from pipeline.manifest import Manifest, ModelRecord, ScoringRules
from pipeline.scores import scan_scores
from pipeline.store import RunStore
from pipeline.verify import Verification, read_verification

REPORT_VERSION = 1
GROUPABLE = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_timestamp,
    pa.types.is_null,
)
MOST_GROUP_VALUES = 20
"""A carried column with more values than this is not a group unless it is asked for."""


class Coverage(BaseModel):
    """What became of every input row."""

    num_rows_planned: int
    num_shards: int
    num_shards_done: int
    statuses: dict[str, int]
    errors: dict[str, int]
    """Reasons of rows that were skipped or failed."""
    unreadable_files: dict[str, str]
    given_up: list[dict[str, Any]]


class Provenance(BaseModel):
    """Where the numbers come from."""

    run: str
    run_id: str
    corpus: str
    created_at: str
    finished_at: str | None
    model: ModelRecord
    rules: ScoringRules
    fingerprint: dict[str, Any]
    versions: dict[str, str]
    tokens_per_second: float | None
    verification: Verification | None
    """What the last `winnow verify` found."""


class Report(BaseModel):
    """`RUN/report.json`."""

    report_version: int = REPORT_VERSION
    generated_at: str
    complete: bool
    """False: the run is not finished, and everything here is of what is done so far."""
    overall: Figures
    groups: dict[str, list[Group]]
    """Column to groups, from the least to the most surprising."""
    histograms: list[Histogram]
    coverage: Coverage
    provenance: Provenance


def build_report(store: RunStore, *, by: tuple[str, ...] = ()) -> Report:
    """Aggregate a run. `by` are carried columns. Raises RunError."""
    manifest = store.require_manifest()
    success = store.success()
    scores = scan_scores(store, manifest)
    columns = by or _default_groups(scores, manifest)
    for column in columns:
        check_group(column, manifest)
    groups = {column: groups_of(scores, column) for column in dict.fromkeys(columns)}
    first = next(iter(groups), None)
    series = [group.value for group in groups[first]] if first else []
    statuses = _counts(scores, "status")
    errors = _counts(scores.drop_nulls("error"), "error")
    return Report(
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        complete=success is not None,
        overall=figures_of(scores),
        groups=groups,
        histograms=[
            histogram
            for metric in QUANTILE_METRICS
            if (histogram := histogram_of(scores, metric, first, series)) is not None
        ],
        coverage=Coverage(
            num_rows_planned=manifest.num_rows,
            num_shards=len(manifest.shards),
            num_shards_done=len(store.done() & {shard.id for shard in manifest.shards}),
            statuses=statuses,
            errors=errors,
            unreadable_files=manifest.unreadable,
            given_up=store.failures(),
        ),
        provenance=Provenance(
            run=store.location,
            run_id=manifest.run_id,
            corpus=manifest.corpus,
            created_at=manifest.created_at,
            finished_at=success.finished_at if success else None,
            model=manifest.model,
            rules=manifest.rules,
            fingerprint=dict(manifest.fingerprint),
            versions=manifest.versions,
            tokens_per_second=success.tokens_per_second if success else None,
            verification=read_verification(store),
        ),
    )


def _counts(scores: pl.LazyFrame, column: str) -> dict[str, int]:
    """Rows by value, the most frequent first, ties by name."""
    counted = scores.group_by(column).len().sort("len", column, descending=[True, False])
    return dict(counted.collect().iter_rows())


def _default_groups(scores: pl.LazyFrame, manifest: Manifest) -> tuple[str, ...]:
    """Carried columns with few distinct values, those that a person would group by."""
    kinds = scores.collect_schema()
    candidates = [
        name
        for name in manifest.carried
        if name != manifest.text_column
        and (kinds[name] in (pl.String, pl.Boolean, pl.Categorical) or kinds[name].is_integer())
    ]
    if not candidates:
        return ()
    counts = scores.select(pl.col(candidates).n_unique()).collect().row(0, named=True)
    return tuple(name for name in candidates if 1 < counts[name] <= MOST_GROUP_VALUES)


def check_group(column: str, manifest: Manifest) -> None:
    """Raises RunError where a run cannot be grouped by the column."""
    if column not in manifest.carried:
        near = near_name(column, list(manifest.carried))
        carried = ", ".join(manifest.carried) or "nothing"
        hint = f"did you mean '{near}'?" if near else f"this run carries {carried}"
        raise RunError(
            f"no carried column '{column}' to group by", hint=f"{hint}; see winnow score --carry"
        )
    check_groupable(column, manifest.arrow_schema().field(column).type)


def check_groupable(column: str, kind: pa.DataType) -> None:
    """Raises RunError where a column's values are no groups."""
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(test(values) for test in GROUPABLE):
        raise RunError(f"cannot group by '{column}': its values are {kind}")
