"""From a run and rules to a decision: check, find the cut-offs, count; nothing is written.

Owns everything that can be refused, and what is said of a selection. What a rule means is
selection.py's, writing the documents output.py's.
"""

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from pipeline.corpus.location import require_planned
from pipeline.errors import ConfigError, RunError, named
from pipeline.filters.config import FilterConfig
from pipeline.filters.counts import Counts, count
from pipeline.filters.paired_rows import ScoreRows
from pipeline.filters.record import Cutoffs, FilterRecord, check_apart
from pipeline.filters.selection import FLOATS, Selection, find_cutoffs
from pipeline.planning.identity import installed_versions
from pipeline.reports.groups import check_dates, check_groupable
from pipeline.runs.corpus import open_corpus
from pipeline.runs.manifest import Manifest
from pipeline.runs.store import RESUME, RunStore
from pipeline.schema import METRICS, OWN_COLUMNS
from pipeline.settings.names import near_or_known
from pipeline.statistics.columns import WIDEST_DECIMAL
from pipeline.statistics.order_statistics import from_sortable_bits
from pipeline.storage.filesystem import Root


@dataclass(frozen=True, slots=True)
class Filter:
    """A request that has been checked and decided; nothing is written yet."""

    config: FilterConfig
    corpus: Root
    """Where it lies now."""
    rows: ScoreRows
    other: RunStore | None
    selection: Selection
    counts: Counts
    by: str | None

    @property
    def manifest(self) -> Manifest:
        return self.rows.manifest

    def record(self) -> FilterRecord:
        """What is said of it, in `_filter.json` and to the user."""
        manifest, config = self.manifest, self.config
        return FilterRecord(
            run=self.rows.store.location,
            run_id=manifest.run_id,
            fingerprint=manifest.fingerprint,
            corpus=self.corpus.location,
            rules=config.model_dump(mode="json", exclude={"run", "corpus", "out", "rejects"}),
            metric=config.chosen_metric if config.reads_metric else None,
            partial=not self.rows.is_complete,
            cutoffs=_stated_cutoffs(self.selection),
            budget_edges=_budget_edges(self.selection),
            before=self.counts.before,
            after=self.counts.after,
            keeps_everything=self.counts.keeps_everything,
            unscored=self.counts.unscored,
            by=self.by,
            groups=self.counts.groups() if self.by else [],
            unreadable=manifest.unreadable,
            versions=installed_versions(),
        )


def decide(config: FilterConfig, *, by: str | None = None) -> Filter:
    """Check the request, find the cut-offs and count what they keep; write nothing.

    Raises ConfigError for a metric or column that is not there or rules that keep
    nothing, RunError for a run that cannot be used, CorpusError for a corpus that is not
    where it is looked for.
    """
    store = RunStore(config.run)
    manifest = store.require_manifest()
    if store.success() is None and not config.partial:
        raise RunError(
            f"{store.location} is not finished",
            hint=f"{RESUME}; or filter what there is with {named('partial')}",
        )
    _check_columns(config, manifest, by)
    corpus = open_corpus(manifest, config.corpus)
    if config.out is not None:
        check_apart(manifest, config.out, config.rejects, corpus)
    require_planned(corpus, [file.path for file in manifest.files])
    rows = ScoreRows(store, manifest, config.own_metric, partial=config.partial)
    other = None
    if location := config.minus or config.over:
        other = RunStore(location)
        rows.pair(ScoreRows(other, other.require_manifest()))
    scores = rows.everything()
    check_dates(scores, [name for name in (config.within, by) if name])
    selection = find_cutoffs(config, scores)
    decided = selection.decide(scores, by)
    counts = count(
        decided,
        manifest,
        has_groups=by is not None,
        keep_unseen=config.unscored == "keep",
    )
    _check_outcome(config, counts)
    return Filter(config, corpus, rows, other, selection, counts, by)


def _check_columns(config: FilterConfig, manifest: Manifest, by: str | None) -> None:
    schema = manifest.arrow_schema()
    metrics = [field.name for field in schema if is_metric(field)]
    if config.own_metric in schema.names:
        raise ConfigError(
            f"the run carries a column named '{config.own_metric}'",
            hint="a difference or ratio of two runs would hide it; score without carrying it",
        )
    metrics += [config.own_metric] if config.own_metric else []
    for metric in config.metrics():
        if metric not in metrics:
            hint = near_or_known(metric, metrics)
            if metric in ("difference", "ratio"):
                setting = "minus" if metric == "difference" else "over"
                hint = f"name the run to compare with: {named(setting)} RUN_B"
            there = metric in manifest.carried and pa.types.is_decimal(schema.field(metric).type)
            wide = f": {schema.field(metric).type} is more than can be read" if there else ""
            raise ConfigError(f"no metric '{metric}' in the scores{wide}", hint=hint)
    groupable = [*manifest.carried, "status"]
    for setting, name in (("within", config.within), ("by", by)):
        if name is None:
            continue
        if name not in groupable:
            raise ConfigError(
                f"no carried column '{name}' ({named(setting)})",
                hint=f"{near_or_known(name, groupable)}; to have others, carry them when scoring",
            )
        kind = schema.field(name).type
        if pa.types.is_nested(kind):
            raise ConfigError(
                f"column '{name}' holds lists or structs: no groups ({named(setting)})"
            )
        try:
            check_groupable(name, kind)
        except RunError as error:
            raise ConfigError(f"{error} ({named(setting)})") from None


def is_metric(field: pa.Field) -> bool:
    """Whether rules can look at a column: a number that Polars can read."""
    if field.name in OWN_COLUMNS:
        return field.name in METRICS
    kind = field.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    is_number |= pa.types.is_decimal(kind) and kind.precision <= WIDEST_DECIMAL
    return bool(is_number)


def _stated_cutoffs(selection: Selection) -> list[Cutoffs]:
    return [
        Cutoffs(
            group=None if row["group"] is None else str(row["group"]),
            documents=row["documents"],
            **{name: row[name] for name in FLOATS},
        )
        for row in selection.cutoffs.iter_rows(named=True)
    ]


def _budget_edges(selection: Selection) -> dict[str, float | None] | None:
    cut = selection.cut
    if cut is None or selection.config.prefer == "random":
        return None
    edges = {"after": cut.after, "before": cut.before}
    return {name: edge and _value(edge.key) for name, edge in edges.items()}


def _value(key: int) -> float:
    return float(pl.select(from_sortable_bits(pl.lit(key, pl.UInt64))).item())


def _check_outcome(config: FilterConfig, counts: Counts) -> None:
    scored, kept = counts.scored
    if not kept and not config.force:
        raise ConfigError(
            f"the rules keep none of the {scored:,} scored documents",
            hint=f"loosen them, or write the empty output with {named('force')}",
        )
