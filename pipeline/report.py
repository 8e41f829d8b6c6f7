"""Score rows to a report: figures for the whole, by group, and as histograms.

Owns the aggregation, lazily and in one pass a question, from stored sums only. How it looks is
render.py's and charts.py's.
"""

import math
from datetime import UTC, datetime
from typing import Any

import polars as pl
from pydantic import BaseModel

from pipeline.config import near_name
from pipeline.errors import RunError
from pipeline.manifest import Manifest, ModelRecord, ScoringRules
from pipeline.scores import scan_scores
from pipeline.store import RunStore
from pipeline.verify import Verification, read_verification

REPORT_VERSION = 1
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
QUANTILE_METRICS = ("perplexity", "bits_per_byte")
HISTOGRAM_BINS = 60
MOST_GROUP_VALUES = 20
"""A carried column with more values than this is not a group unless it is asked for."""
MOST_GROUPS_SHOWN = 50
OTHERS = "(all others)"


class Figures(BaseModel):
    """What is said of any set of documents. Null where nothing in it was scored."""

    num_documents: int
    """Rows, scored or not."""
    num_scored: int
    num_tokens: int
    """Scored tokens."""
    num_bytes: int
    """UTF-8 bytes of all rows."""
    nll: float
    """Nats."""
    corpus_perplexity: float | None
    """exp(sum nll / sum tokens): every token weighs the same."""
    document_perplexity: float | None
    """exp(mean of nll / tokens): every document weighs the same."""
    bits_per_token: float | None
    bits_per_byte: float | None
    """sum nll / ln 2 / sum of scored bytes."""
    quantiles: dict[str, dict[str, float]]
    """Metric to {p1, ..., p99}, over documents."""


class Group(BaseModel):
    """The documents that share a value of a column."""

    value: str
    figures: Figures


class Histogram(BaseModel):
    """Documents and tokens by a metric, in bins of equal width on a log axis."""

    metric: str
    by: str | None
    """The column that the series divide by."""
    edges: list[float]
    """Bin edges, in the metric's own unit; one more than bins."""
    documents: dict[str, list[int]]
    """Series to documents per bin."""
    tokens: dict[str, list[int]]


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
        _check_group(column, manifest)
    groups = {column: _groups(scores, column) for column in dict.fromkeys(columns)}
    first = next(iter(groups), None)
    series = [group.value for group in groups[first]] if first else []
    statuses = scores.group_by("status").len().sort("len", descending=True).collect()
    errors = (
        scores.drop_nulls("error").group_by("error").len().sort("len", descending=True).collect()
    )
    return Report(
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        complete=success is not None,
        overall=_whole(scores),
        groups=groups,
        histograms=[
            histogram
            for metric in QUANTILE_METRICS
            if (histogram := _histogram(scores, metric, first, series)) is not None
        ],
        coverage=Coverage(
            num_rows_planned=manifest.num_rows,
            num_shards=len(manifest.shards),
            num_shards_done=len(store.done()),
            statuses=dict(statuses.iter_rows()),
            errors=dict(errors.iter_rows()),
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


def whole_figures(store: RunStore, manifest: Manifest) -> Figures:
    """The figures of all of a run's rows."""
    return _whole(scan_scores(store, manifest))


def _whole(scores: pl.LazyFrame) -> Figures:
    return _figures(scores.select(_aggregates()).collect().row(0, named=True))


def _aggregates() -> list[pl.Expr]:
    scored = pl.col("nll").is_not_null()
    mean_nll = (pl.col("nll") / pl.col("num_tokens")).filter(pl.col("num_tokens") > 0)
    return [
        pl.len().alias("num_documents"),
        scored.sum().alias("num_scored"),
        pl.col("num_tokens").sum(),
        pl.col("num_bytes").sum(),
        pl.col("num_scored_bytes").filter(scored).sum(),
        pl.col("nll").sum(),
        mean_nll.mean().alias("mean_nll"),
        *(
            pl.col(metric).quantile(q, "linear").alias(f"{metric}:{_quantile_name(q)}")
            for metric in QUANTILE_METRICS
            for q in QUANTILES
        ),
    ]


def _quantile_name(q: float) -> str:
    return f"p{round(100 * q)}"


def _figures(row: dict[str, Any]) -> Figures:
    tokens, nll, scored_bytes = row["num_tokens"], row["nll"], row["num_scored_bytes"]
    quantiles = {
        metric: {
            _quantile_name(q): row[f"{metric}:{_quantile_name(q)}"]
            for q in QUANTILES
            if row[f"{metric}:{_quantile_name(q)}"] is not None
        }
        for metric in QUANTILE_METRICS
    }
    return Figures(
        num_documents=row["num_documents"],
        num_scored=row["num_scored"],
        num_tokens=tokens,
        num_bytes=row["num_bytes"],
        nll=nll,
        corpus_perplexity=math.exp(nll / tokens) if tokens else None,
        document_perplexity=None if row["mean_nll"] is None else math.exp(row["mean_nll"]),
        bits_per_token=nll / math.log(2) / tokens if tokens else None,
        bits_per_byte=nll / math.log(2) / scored_bytes if scored_bytes else None,
        quantiles=quantiles,
    )


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


def _check_group(column: str, manifest: Manifest) -> None:
    if column not in manifest.carried:
        near = near_name(column, list(manifest.carried))
        carried = ", ".join(manifest.carried) or "nothing"
        hint = f"did you mean '{near}'?" if near else f"this run carries {carried}"
        raise RunError(
            f"no carried column '{column}' to group by", hint=f"{hint}; see winnow score --carry"
        )


def _groups(scores: pl.LazyFrame, column: str) -> list[Group]:
    label = pl.col(column).cast(pl.String).fill_null("(null)")
    sizes = scores.group_by(label.alias("group")).agg(pl.col("num_bytes").sum()).collect()
    largest = sizes.sort("num_bytes", "group", descending=[True, False])["group"].to_list()
    kept = largest[:MOST_GROUPS_SHOWN]
    rows = (
        scores.group_by(pl.when(label.is_in(kept)).then(label).otherwise(pl.lit(OTHERS)).alias("g"))
        .agg(_aggregates())
        .collect()
    )
    groups = [Group(value=row["g"], figures=_figures(row)) for row in rows.iter_rows(named=True)]
    return sorted(groups, key=lambda g: (g.figures.document_perplexity or 0.0, g.value))


def _histogram(
    scores: pl.LazyFrame, metric: str, by: str | None, series: list[str]
) -> Histogram | None:
    """Counts over log10 of the metric. None where nothing was scored."""
    logs = pl.col(metric).log10()
    usable = scores.filter(pl.col(metric) > 0)
    low, high = usable.select(logs.min().alias("low"), logs.max().alias("high")).collect().row(0)
    if low is None:
        return None
    width = max(high - low, 1e-6) / HISTOGRAM_BINS
    bins = ((logs - low) / width).floor().clip(0, HISTOGRAM_BINS - 1).cast(pl.Int32)
    label = pl.col(by).cast(pl.String).fill_null("(null)") if by else pl.lit("all")
    if OTHERS in series:
        label = pl.when(label.is_in(series)).then(label).otherwise(pl.lit(OTHERS))
    counted = (
        usable.group_by(label.alias("series"), bins.alias("bin"))
        .agg(pl.len().alias("documents"), pl.col("num_tokens").sum().alias("tokens"))
        .collect()
    )
    names = series or ["all"]
    documents = {name: [0] * HISTOGRAM_BINS for name in names}
    tokens = {name: [0] * HISTOGRAM_BINS for name in names}
    for row in counted.iter_rows(named=True):
        documents[row["series"]][row["bin"]] = row["documents"]
        tokens[row["series"]][row["bin"]] = row["tokens"]
    return Histogram(
        metric=metric,
        by=by,
        edges=[10 ** (low + width * i) for i in range(HISTOGRAM_BINS + 1)],
        documents=documents,
        tokens=tokens,
    )
