"""From a run and rules to a decision: check, find the cut-offs, count; nothing is written.

Owns everything that can be refused, and what is said of a selection. What a rule means is its
own, in rules/; writing the documents is output.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from pipeline.corpus.location import require_planned
from pipeline.errors import ConfigError, RunError, named
from pipeline.filters.config import FilterConfig
from pipeline.filters.counts import Counts, Mix, add_up, by_reason, count, mix_of
from pipeline.filters.cutoff_file import scored_otherwise
from pipeline.filters.paired_rows import ScoreRows
from pipeline.filters.record import ENDS, BudgetPart, Cutoffs, FilterRecord, check_apart
from pipeline.filters.rule import Rule, group_names
from pipeline.filters.rules.budget import Budget
from pipeline.filters.selection import Selection, prepare
from pipeline.planning.identity import installed_versions
from pipeline.reports.groups import check_dates, check_groupable
from pipeline.runs.corpus import open_corpus
from pipeline.runs.manifest import Manifest
from pipeline.runs.store import FINISH, RunStore
from pipeline.schema import METRICS, OWN_COLUMNS
from pipeline.settings.names import near_name, near_or_known
from pipeline.statistics.columns import WIDEST_DECIMAL
from pipeline.storage.filesystem import Root


class PreparedRun:
    """A run that rules are asked of, as often as one likes: opened and checked once.

    The corpus is not looked at, and nothing is written.

    >>> from pipeline.filters.filtering import PreparedRun
    >>> from pipeline.filters.rules.bounds import Bounds
    >>> from pipeline.filters.selection import Selection
    >>> run = PreparedRun("runs/first")
    >>> selection = run.find(Selection((Bounds("perplexity", 2.0, 1e6),)))
    >>> mix = run.mix(selection, by="source")
    >>> mix.after.documents <= mix.before.documents == 19
    True
    """

    def __init__(
        self,
        run: str | Path,
        *,
        minus: str | Path | None = None,
        over: str | Path | None = None,
        partial: bool = False,
    ) -> None:
        """`minus` or `over` is a second run, for the metric difference or ratio; for both, one run.

        Raises RunError for a run that cannot be used, or not with the other.
        """
        store = RunStore(str(run))
        self.manifest = store.require_manifest()
        if store.success() is None and not partial:
            raise RunError(
                f"{store.location} is not finished",
                hint=f"{FINISH}; or filter the parts that exist with {named('partial')}",
            )
        asked = {"difference": minus, "ratio": over}
        self.own_metrics = tuple(name for name, other in asked.items() if other)
        """The metrics that the second run makes."""
        self.rows = ScoreRows(store, self.manifest, self.own_metrics, partial=partial)
        self.other: RunStore | None = None
        if location := minus or over:
            self.other = RunStore(str(location), "minus" if minus else "over")
            self.rows.pair(ScoreRows(self.other, self.other.require_manifest()))
        self._scores = self.rows.everything()
        self._before: dict[str | None, pl.DataFrame] = {}
        self._unscored: dict[frozenset[str], dict[str, int]] = {}

    def check(self, rules: Sequence[Rule]) -> None:
        """Raises ConfigError for what the scores lack."""
        _check_columns(self.manifest, self.own_metrics, rules)
        kinds = self._scores.collect_schema()
        for rule in rules:
            rule.check(kinds)

    def find(self, selection: Selection) -> Selection:
        """The same rules with their cut-offs. Raises ConfigError for what the scores lack."""
        self.check(selection.rules)
        check_dates(self._scores, [rule.within for rule in selection.rules if rule.within])
        return selection.find(self._scores)

    def mix(self, selection: Selection, *, by: str | None = None) -> Mix:
        """How many documents, tokens and bytes are kept, of all and of each group of a column: one
        pass over what the rules read; the first time one for what there is, and of other metrics
        one for what has none."""
        if by not in self._before:
            self._check_by(by)
            rows = prepare((), self._scores, by)
            self._before[by] = add_up(rows, has_groups=by is not None)
        before = self._before[by]
        metrics = frozenset(metric for rule in selection.rules for metric in rule.metrics)
        if metrics not in self._unscored:
            rows = prepare(selection.rules, self._scores)
            self._unscored[metrics] = by_reason(rows, pl.len().cast(pl.Int64))
        kept = selection.decide(self._scores, by).filter("keep")
        return mix_of(
            before,
            add_up(kept, has_groups=by is not None),
            self._unscored[metrics],
            sum(file.num_rows for file in self.manifest.files) - int(before["documents"].sum()),
            keep_unseen=selection.unscored == "keep",
        )

    def count(self, selection: Selection, *, by: str | None = None) -> Counts:
        """The same for each file, status and bucket, in one pass over these, too."""
        self._check_by(by)
        return count(
            selection.decide(self._scores, by),
            self.manifest,
            has_groups=by is not None,
            keep_unseen=selection.unscored == "keep",
        )

    def _check_by(self, by: str | None) -> None:
        if by is not None:
            _check_group(self.manifest, "by", by)
            check_dates(self._scores, [by])


@dataclass(frozen=True, slots=True)
class Filter:
    """A request that has been checked and decided; nothing is written yet."""

    config: FilterConfig
    corpus: Root
    """Current location of the corpus."""
    run: PreparedRun
    selection: Selection
    counts: Counts
    by: str | None

    @property
    def manifest(self) -> Manifest:
        return self.run.manifest

    def record(self) -> FilterRecord:
        """What is said of it, in `_filter.json` and to the user."""
        manifest, config, rows = self.manifest, self.config, self.run.rows
        return FilterRecord(
            run=rows.store.location,
            run_id=manifest.run_id,
            fingerprint=manifest.fingerprint,
            corpus=self.corpus.location,
            rules=config.model_dump(mode="json", exclude={"run", "corpus", "out", "rejects"}),
            metric=config.chosen_metric if config.reads_metric else None,
            partial=not rows.is_complete,
            cutoffs=_stated_cutoffs(self.selection),
            budget_edges=_budget_edges(self.selection),
            budgets=tuple(_budgets(self.selection, divided=True)),
            budget_middle=_budget_middle(self.selection),
            words=(
                *self.selection.words(),
                *scored_otherwise(config, manifest.fingerprint),
                *self.counts.bucket_words(),
            ),
            before=self.counts.before,
            after=self.counts.after,
            keeps_everything=self.counts.keeps_everything,
            unscored=self.counts.unscored,
            kept_unscored=self.counts.kept_unscored,
            by=self.by,
            groups=self.counts.groups() if self.by else [],
            unreadable=manifest.unreadable,
            versions=installed_versions(),
        )


def decide(config: FilterConfig, *, by: str | None = None, may_be_empty: bool = False) -> Filter:
    """Check the request, find the cut-offs and count what they keep, if not `by` another column in
    the groups of the rules, where these are few; write nothing.

    Raises ConfigError for a metric or column that is not there or, unless it `may_be_empty`, rules
    that keep nothing, RunError for an unusable run, CorpusError for a corpus that is not there.
    """
    run = PreparedRun(config.run, minus=config.minus, over=config.over, partial=config.partial)
    manifest, asked = run.manifest, Selection.of(config)
    run.check(asked.rules)
    if by is not None:
        _check_group(manifest, "by", by)
    corpus = open_corpus(manifest, config.corpus)
    if config.out is not None:
        check_apart(manifest, config.out, config.rejects, corpus)
    require_planned(corpus, [file.path for file in manifest.files])
    selection = run.find(asked)
    by = selection.few_groups if by is None else by
    counts = run.count(selection, by=by)
    if not may_be_empty:
        check_outcome(config, counts)
    return Filter(config, corpus, run, selection, counts, by)


def _check_columns(manifest: Manifest, own_metrics: Sequence[str], rules: Sequence[Rule]) -> None:
    schema = manifest.arrow_schema()
    metrics = [field.name for field in schema if is_metric(field)]
    if taken := [name for name in own_metrics if name in schema.names]:
        raise ConfigError(
            f"the second run adds a metric '{taken[0]}', but this run carries a column of that "
            "name",
            hint=f"score again without carrying '{taken[0]}', or rename the column in the corpus",
        )
    metrics += own_metrics
    for metric in (metric for rule in rules for metric in rule.metrics):
        if metric not in metrics:
            hint = near_or_known(metric, metrics)
            if metric in ("difference", "ratio"):
                setting = "minus" if metric == "difference" else "over"
                hint = f"give a second run of the same corpus: {named(setting)} RUN_B"
            there = metric in manifest.carried and pa.types.is_decimal(schema.field(metric).type)
            wide = f": {schema.field(metric).type} has too many digits" if there else ""
            raise ConfigError(f"no metric '{metric}' in the scores{wide}", hint=hint)
    for rule in rules:
        if rule.within is not None:
            _check_group(manifest, "within", rule.within)


def _check_group(manifest: Manifest, setting: str, name: str) -> None:
    groupable = [*manifest.carried, "status"]
    if name not in groupable:
        near = near_name(name, groupable)
        others = f"known: {', '.join(groupable)}; to use another column, carry it when scoring"
        raise ConfigError(
            f"no carried column '{name}' ({named(setting)})",
            hint=f"did you mean '{near}'?" if near else others,
        )
    kind = manifest.arrow_schema().field(name).type
    if pa.types.is_nested(kind):
        raise ConfigError(
            f"cannot group by column '{name}' ({named(setting)}): it holds lists or structs"
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
    tables = [rule.cutoffs for rule in selection.rules if rule.cutoffs is not None]
    if not tables:
        return []
    shared = ("group", "documents")
    stated = pl.concat([tables[0], *(table.drop(shared) for table in tables[1:])], how="horizontal")
    ends = [name for name in ENDS if name in stated.columns]
    return [
        Cutoffs(group=group, documents=row["documents"], **{name: row[name] for name in ends})
        for group, row in zip(
            group_names(stated["group"]), stated.iter_rows(named=True), strict=True
        )
    ]


def _budgets(selection: Selection, *, divided: bool) -> list[BudgetPart]:
    """The parts of a budget that is divided among groups, or the one of all documents."""
    rules = [rule for rule in selection.rules if isinstance(rule, Budget)]
    asked = [rule for rule in rules if (rule.within is not None) == divided]
    return [BudgetPart(**part) for rule in asked for part in rule.edge_values()]


def _budget_edges(selection: Selection) -> dict[str, float | None] | None:
    for part in _budgets(selection, divided=False):
        if part.after is not None or part.before is not None:
            return {"after": part.after, "before": part.before}
    return None


def _budget_middle(selection: Selection) -> float | None:
    return next((part.middle for part in _budgets(selection, divided=False)), None)


def check_outcome(config: FilterConfig, counts: Counts) -> None:
    """Raises ConfigError for rules that keep nothing, unless that is wanted."""
    scored, kept = counts.scored
    if not kept and not config.force:
        doubts = "percentiles go from 0 to 100; " if config.gives_shares else ""
        raise ConfigError(
            f"the rules keep none of the {scored:,} scored documents",
            hint=f"{doubts}loosen the rules, or write the empty output with {named('force')}",
        )
