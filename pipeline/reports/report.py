"""Score rows to a report: figures for the whole and by group, distributions, copies, examples.

Owns what a report has, and which columns it groups by. Adding up is tally.py's and its
neighbours', looks are page.py's and charts.py's.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from pipeline.rendering.notebook import Result, framed
from pipeline.reports.baseline import named_baseline
from pipeline.reports.coverage import Coverage, coverage_of
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
from pipeline.reports.figures import QUANTILE_METRICS, Figures
from pipeline.reports.gate import Gate
from pipeline.reports.groups import (
    Group,
    check_dates,
    check_group,
    default_columns,
    grouping_of,
    largest_query,
)
from pipeline.reports.judged import is_judged, separate_judged
from pipeline.reports.measurement import measure
from pipeline.reports.provenance import Provenance, provenance_of
from pipeline.reports.requirements import Finding, Requirement
from pipeline.reports.sampled import (
    Sampled,
    corpus_figures,
    corpus_groups,
    sampled,
    weighed,
)
from pipeline.reports.scripts import script_factor
from pipeline.reports.separation import Separation, parse_labels, separate_labels
from pipeline.reports.sorting import SortsBy, factors_of, rank_factors, sorting_moments
from pipeline.reports.term_values import rows_of
from pipeline.reports.thresholds import Threshold, threshold_curve
from pipeline.runs.corpus import open_corpus
from pipeline.runs.sample import read_draw
from pipeline.runs.scores import find_parts
from pipeline.runs.store import RunStore
from pipeline.settings.arguments import checked
from pipeline.settings.weights import UNWEIGHTED, Weight
from pipeline.statistics.bootstrap import Bootstrap, Intervals
from pipeline.storage.filesystem import open_root

REPORT_VERSION = 2


class Report(Result):
    """`RUN/report.json`."""

    report_version: int = REPORT_VERSION
    generated_at: str
    complete: bool
    """False if the run is not finished or lost a part: the report then covers only the parts that
    exist."""
    sample: Sampled | None
    """Set if the run scored a sample: `overall`, `groups` and `requirements` are then estimates for
    the whole corpus from weighted rows, and everything else covers the sampled rows only."""
    weight: Weight = UNWEIGHTED
    """Whether quantiles and distribution functions are over documents, tokens or bytes."""
    intervals: Intervals | None = None
    """How the intervals of `overall` and `groups` were computed; for a sample, see `sample`."""
    overall: Figures
    groups: dict[str, list[Group]]
    """Groups by column, ordered from the least to the most surprising."""
    histograms: list[Histogram]
    ecdfs: list[Ecdf]
    sorts_by: SortsBy
    """How much of the variance of document scores lies between groups of documents."""
    lengths: list[LengthBand]
    """Perplexity by number of tokens, from the shortest documents to the longest."""
    thresholds: list[Threshold]
    """What keeping only documents at or below a perplexity would keep, by ascending perplexity."""
    duplicates: Duplicates
    examples: list[Example]
    """Documents at the low end, at the quantiles and at the high end of perplexity."""
    separation: Separation | None
    requirements: list[Finding]
    coverage: Coverage
    provenance: Provenance

    # Output is made of a report, so that it is imported when there is one.

    def __repr__(self) -> str:
        return (
            f"<Report of {self.overall.num_documents:,} documents, {self.overall.num_scored:,} "
            "scored: print it for its tables, or see overall, groups, requirements>"
        )

    def __str__(self) -> str:
        from pipeline.reports.output import to_markdown

        return to_markdown(self)

    def _repr_html_(self) -> str:
        from pipeline.reports.page import to_html

        return framed(to_html(self))


@checked
def build_report(
    run: RunStore | str | Path,
    *,
    by: str | Sequence[str] | None = None,
    separate: str | None = None,
    judgements: str | Path | None = None,
    fail_if: str | Sequence[str] = (),
    baseline: RunStore | str | Path | None = None,
    text: bool = True,
    corpus: str | Path | None = None,
    partial: bool = False,
    weight: Weight = UNWEIGHTED,
    out: str | Path | None = None,
) -> Report:
    """The figures of a run, as a report page has them; a notebook shows that page.

    `run` is a run directory, local or a URI. `by` are carried columns to group by, or none for
    those with few values; `separate` is COLUMN=VALUE[,VALUE...], documents that the scores should
    tell from the rest, or `judgement`, those that a person judged bad from the good ones, in the
    run's own file or that of `judgements`; `fail_if` are expressions that must not be true of the
    run, `baseline` the run that their baseline(...), increase(...) and decrease(...) are of; `text`
    shows the beginnings of documents, read where they were scored or, if the corpus was moved, in
    `corpus`; `partial` takes what there is of a run whose parts are not all there; `weight` is what
    quantiles and distributions are of; `out` is a folder to write report.html, .json and .md into;
    without, nothing is written. Figures of many documents are made from sums: perplexity is
    exp(sum of nll / sum of tokens), nll in nats. Raises RunError where
    there is no run or it is not whole, ConfigError for what cannot be asked of it,
    CorpusError where `corpus` is no place for its corpus.

    >>> from pipeline import build_report
    >>> report = build_report("runs/first", by="source", fail_if="p95(perplexity) > 1e6")
    >>> [group.value for group in report.groups["source"]]
    ['prose', 'noise']
    >>> report.requirements[0].failed
    False
    """
    store = run if isinstance(run, RunStore) else RunStore(str(run))
    by = (by,) if isinstance(by, str) else tuple(by or ())
    fail_if = (fail_if,) if isinstance(fail_if, str) else tuple(fail_if)
    manifest = store.require_manifest()
    corpus = None if corpus is None else str(corpus)
    judgements = None if judgements is None else str(judgements)
    root = open_corpus(manifest, corpus) if text else None
    success = store.success()
    parts = find_parts(store, manifest, partial=partial)
    draw = read_draw(store)
    scores = weighed(parts.scan(), None)
    weighed_scores = weighed(parts.scan(), draw)
    of_judgements = is_judged(separate, judgements)
    labels = parse_labels(separate) if separate and not of_judgements else None
    labelled = (labels.column,) if labels else ()
    for setting, columns in (("by", by), ("separate", labelled)):
        for column in columns:
            check_group(column, manifest, setting)
    check_dates(scores, (*by, *labelled))
    requirements = [Requirement.read(source) for source in fail_if]
    gate = Gate(
        requirements,
        rows_of(parts.scan(), draw),
        named_baseline(baseline, manifest, requirements),
    )

    usual = default_columns(scores, manifest, by)
    by = tuple(dict.fromkeys(by)) or usual
    counted = tuple(dict.fromkeys([*by, *labelled]))
    sorting = tuple(dict.fromkeys([*by, *usual]))
    sizes = [largest_query(scores, column).collect(engine="streaming") for column in counted]
    moments = sorting_moments(scores, sorting)
    bootstrap = None if draw else Bootstrap()
    groupings = dict(zip(counted, map(grouping_of, counted, sizes), strict=True))
    # Side by side: each leaves a core idle for half of its time.
    with ThreadPoolExecutor(1) as beside:
        judged = beside.submit(gate.judge)
        counted_copies = beside.submit(find_duplicates, scores)
        measured = measure(scores, {column: groupings[column] for column in by}, bootstrap, weight)
        findings = gate.findings(judged.result())
        overall = (
            measured.overall
            if draw is None
            else corpus_figures(weighed_scores, draw, weight=weight)
        )
        if weight == UNWEIGHTED:
            overall = overall.with_quantiles(gate.run.exact_quantiles().get(None, {}))
        examples = find_examples(
            scores,
            manifest,
            measured.sketches["perplexity"],
            overall.quantiles["perplexity"],
            corpus=root,
        )
        scripts = None if root is None else script_factor(parts, root)
        duplicates = counted_copies.result()
    first = next(iter(by), None)
    series = {
        metric: measured.groups[first].sketches[metric] if first else {ALL: sketch}
        for metric, sketch in measured.sketches.items()
    }
    report = Report(
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        complete=parts.is_complete,
        sample=None if draw is None else sampled(weighed_scores, draw),
        weight=weight,
        intervals=bootstrap.described() if bootstrap else None,
        overall=overall,
        groups={
            column: tables.groups
            if draw is None
            else corpus_groups(
                weighed_scores, column, draw, list(groupings[column].groups), weight=weight
            )
            for column, tables in measured.groups.items()
        },
        histograms=[
            histogram
            for metric in QUANTILE_METRICS
            if (histogram := histogram_of(metric, first, series[metric]))
        ],
        ecdfs=[
            ecdf
            for metric in QUANTILE_METRICS
            if (ecdf := ecdf_of(metric, first, series[metric], weight))
        ],
        sorts_by=rank_factors([*factors_of(sorting, moments), scripts], store.location),
        lengths=measured.lengths,
        thresholds=threshold_curve(measured.sketches["perplexity"], weight),
        duplicates=duplicates,
        examples=examples,
        separation=separate_judged(scores, store, judgements)
        if of_judgements
        else separate_labels(scores, labels, groupings[labels.column], store.location)
        if labels
        else None,
        requirements=findings,
        coverage=coverage_of(scores, store, manifest, len(parts.found)),
        provenance=provenance_of(store, manifest, success),
    )
    if out is not None:
        from pipeline.reports.output import write_report

        write_report(report, open_root(str(out)))
    return report
