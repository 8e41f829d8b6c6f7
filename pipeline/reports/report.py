"""Score rows to a report: figures for the whole and by group, distributions, copies, examples.

Owns what a report has, and which columns it groups by. Adding up is figures.py's and its
neighbours', looks are output.py's and charts.py's.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from pipeline.reports.distributions import (
    ALL,
    Ecdf,
    Histogram,
    LengthBand,
    ecdf_of,
    histogram_of,
)
from pipeline.reports.duplicates import Duplicates, find_duplicates
from pipeline.reports.excerpts import Example, find_examples
from pipeline.reports.figures import (
    QUANTILE_METRICS,
    Figures,
)
from pipeline.reports.groups import (
    Group,
    check_dates,
    check_group,
    default_columns,
    grouping_of,
    largest_query,
)
from pipeline.reports.measurement import measure
from pipeline.reports.requirements import (
    Finding,
    check_requirements,
    exact_quantiles,
    parse_requirement,
)
from pipeline.reports.sampled import (
    Sampled,
    corpus_figures,
    corpus_groups,
    sampled,
    weighed,
    weight_of,
)
from pipeline.reports.separation import Separation, parse_labels, separate_labels
from pipeline.reports.thresholds import Threshold, threshold_curve
from pipeline.runs.corpus import open_corpus
from pipeline.runs.manifest import Manifest, ModelRecord, ScoringRules, Success
from pipeline.runs.sample import read_draw
from pipeline.runs.scores import find_parts
from pipeline.runs.store import RunStore
from pipeline.verification.verify import Verification, read_verification

REPORT_VERSION = 2


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
    estimated_tokens: int | None
    """What a sample of the corpus promised when the run was planned."""
    scored_tokens: int | None
    """What it came to, once the run is finished."""
    wall_seconds: float | None
    """Time the last driver took, start-up included."""
    tokens_per_second: float | None
    """By the time of the workers, start-up excluded; so too the documents."""
    documents_per_second: float | None
    engine_idle_share: float | None
    """Of the engines' time between their first and last step, what they spent waiting."""
    num_rows_copied: int | None
    """Rows that took the score of an equal text of their shard; they were not scored again."""
    verification: Verification | None
    """What the last verification found."""


class Report(BaseModel):
    """`RUN/report.json`."""

    report_version: int = REPORT_VERSION
    generated_at: str
    complete: bool
    """False: the run is not finished or lost a part, and everything here is of what there is."""
    sample: Sampled | None
    """What the run is a sample of: then `overall`, `groups` and `requirements` are estimates of the
    whole corpus from weighted rows, and everything else is of the sampled rows."""
    overall: Figures
    groups: dict[str, list[Group]]
    """Column to groups, from the least to the most surprising."""
    histograms: list[Histogram]
    ecdfs: list[Ecdf]
    lengths: list[LengthBand]
    """Perplexity by number of tokens, from the shortest documents to the longest."""
    thresholds: list[Threshold]
    """What keeping documents at or below a perplexity would keep, by ascending perplexity."""
    duplicates: Duplicates
    examples: list[Example]
    """Documents at the low end, at the quantiles and at the high end of perplexity."""
    separation: Separation | None
    requirements: list[Finding]
    coverage: Coverage
    provenance: Provenance


def build_report(
    run: RunStore | str | Path,
    *,
    by: str | Sequence[str] = (),
    separate: str | None = None,
    fail_if: str | Sequence[str] = (),
    text: bool = True,
    corpus: str | None = None,
    partial: bool = False,
) -> Report:
    """The figures of a run, as a report page has them; nothing is written.

    `run` is a run directory, local or a URI. `by` are carried columns to group by, or none for
    those with few values; `separate` is COLUMN=VALUE[,VALUE...], documents that the scores should
    tell from the rest; `fail_if` are expressions that must not be true of the run; `text` shows the
    beginnings of documents, read where they were scored or, if the corpus was moved, in `corpus`;
    `partial` takes what there is of a run whose parts are not all there. Figures of many documents
    are made from sums: perplexity is exp(sum of nll / sum of tokens), nll in nats. Raises RunError
    where there is no run or it is not whole, ConfigError for what cannot be asked of it,
    CorpusError where `corpus` is no place for its corpus.

    >>> from pipeline import build_report
    >>> report = build_report("runs/first", by="source", fail_if="p95(perplexity) > 1e6")
    >>> [group.value for group in report.groups["source"]]
    ['prose', 'noise']
    >>> report.requirements[0].failed
    False
    """
    store = run if isinstance(run, RunStore) else RunStore(str(run))
    by = (by,) if isinstance(by, str) else tuple(by)
    fail_if = (fail_if,) if isinstance(fail_if, str) else tuple(fail_if)
    manifest = store.require_manifest()
    root = open_corpus(manifest, corpus) if text else None
    success = store.success()
    parts = find_parts(store, manifest, partial=partial)
    draw = read_draw(store)
    scores = weighed(parts.scan(), None)
    weighed_scores = weighed(parts.scan(), draw)
    labels = parse_labels(separate) if separate else None
    labelled = (labels.column,) if labels else ()
    for column in (*by, *labelled):
        check_group(column, manifest)
    check_dates(scores, (*by, *labelled))
    schema = scores.collect_schema()
    requirements = [parse_requirement(source, schema, weight_of(draw)) for source in fail_if]

    by = tuple(dict.fromkeys(by)) or default_columns(scores, manifest)
    counted = tuple(dict.fromkeys([*by, *labelled]))
    statuses, errors, *sizes = pl.collect_all(
        [
            _count(scores, "status"),
            _count(scores.drop_nulls("error"), "error"),
            *(largest_query(scores, column) for column in counted),
        ],
        engine="streaming",
    )
    groupings = dict(zip(counted, map(grouping_of, counted, sizes), strict=True))
    # Side by side: each leaves a core idle for half of its time.
    with ThreadPoolExecutor(1) as beside:
        judged = beside.submit(check_requirements, weighed_scores, requirements)
        counted_copies = beside.submit(find_duplicates, scores)
        measured = measure(scores, {column: groupings[column] for column in by})
        findings = judged.result()
        overall = measured.overall if draw is None else corpus_figures(weighed_scores, draw)
        overall = overall.with_quantiles(exact_quantiles(requirements, findings))
        examples = find_examples(
            scores,
            manifest,
            measured.sketches["perplexity"],
            overall.quantiles["perplexity"],
            corpus=root,
        )
        duplicates = counted_copies.result()
    first = next(iter(by), None)
    series = {
        metric: measured.groups[first].sketches[metric] if first else {ALL: sketch}
        for metric, sketch in measured.sketches.items()
    }
    return Report(
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        complete=parts.is_complete,
        sample=None if draw is None else sampled(weighed_scores, draw),
        overall=overall,
        groups={
            column: tables.groups
            if draw is None
            else corpus_groups(weighed_scores, column, draw, list(groupings[column].groups))
            for column, tables in measured.groups.items()
        },
        histograms=[
            histogram
            for metric in QUANTILE_METRICS
            if (histogram := histogram_of(metric, first, series[metric]))
        ],
        ecdfs=[
            ecdf for metric in QUANTILE_METRICS if (ecdf := ecdf_of(metric, first, series[metric]))
        ],
        lengths=measured.lengths,
        thresholds=threshold_curve(measured.sketches["perplexity"]),
        duplicates=duplicates,
        examples=examples,
        separation=separate_labels(scores, labels, groupings[labels.column], store.location)
        if labels
        else None,
        requirements=findings,
        coverage=Coverage(
            num_rows_planned=manifest.num_rows,
            num_shards=len(manifest.shards),
            num_shards_done=len(parts.found),
            statuses=dict(statuses.iter_rows()),
            errors=dict(errors.iter_rows()),
            unreadable_files=manifest.unreadable,
            given_up=store.failures(),
        ),
        provenance=_provenance(store, manifest, success),
    )


def _provenance(store: RunStore, manifest: Manifest, success: Success | None) -> Provenance:
    tokens_per_second = success.tokens_per_second if success else None
    documents_per_second = None
    if success and tokens_per_second and success.totals.num_tokens_computed:
        documents_per_second = (
            tokens_per_second * success.totals.num_rows / success.totals.num_tokens_computed
        )
    return Provenance(
        run=store.location,
        run_id=manifest.run_id,
        corpus=manifest.corpus,
        created_at=manifest.created_at,
        finished_at=success.finished_at if success else None,
        model=manifest.model,
        rules=manifest.rules,
        fingerprint=dict(manifest.fingerprint),
        versions=manifest.versions,
        estimated_tokens=manifest.estimated_tokens,
        scored_tokens=success.totals.num_tokens if success else None,
        wall_seconds=success.wall_seconds if success else None,
        tokens_per_second=tokens_per_second,
        documents_per_second=documents_per_second,
        engine_idle_share=success.engine_idle_share if success else None,
        num_rows_copied=success.totals.num_rows_copied if success else None,
        verification=read_verification(store),
    )


def _count(scores: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """Rows by value, the most frequent first, ties by name."""
    return scores.group_by(column).len().sort("len", column, descending=[True, False])
