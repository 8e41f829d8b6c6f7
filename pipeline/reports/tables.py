"""The long tables of a report: by group, and of how well scores find labels.

The others are page.py's. Nothing is escaped here.
"""

from collections.abc import Sequence

from pipeline.errors import counted
from pipeline.rendering.formats import count, percent_of, share
from pipeline.rendering.table import Table
from pipeline.reports.figures import QUANTILE_METRICS, Figures
from pipeline.reports.groups import Group
from pipeline.reports.report import Report
from pipeline.reports.separation import Separation
from pipeline.reports.wording import (
    COLUMNS,
    NARROW,
    cells,
    of_rows,
    short_name,
)
from pipeline.settings.names import listed
from pipeline.statistics.bootstrap import FEWEST_DOCUMENTS

LONGEST_WORD = 50
"""Bytes per word above which texts are not divided into words."""
MOST_NAMED = 5


def by_group(report: Report) -> list[Table]:
    """One a group column, each ending with the whole; one table at least."""
    whole = ("all", *cells(report.overall))
    names = tuple(name for name, _ in COLUMNS)
    narrow = (0, *(1 + names.index(name) for name in NARROW))
    of = "" if report.sample is None else ", estimated from the sample"
    if not report.groups:
        return [
            Table(
                title=f"All documents{of}",
                caption=_wordless([("the corpus", report.overall)]).lstrip(),
                columns=("corpus", *names),
                rows=[whole],
                sums_up=True,
                narrow=narrow,
            )
        ]
    return [
        Table(
            title=f"By {column}{of}",
            caption=f"From the least to the most surprising.{_no_interval(groups)}"
            f"{_wordless([(group.value, group.figures) for group in groups])}",
            columns=(column, *names),
            rows=[*((group.value, *cells(group.figures)) for group in groups), whole],
            sums_up=True,
            narrow=narrow,
        )
        for column, groups in report.groups.items()
    ]


def _no_interval(groups: Sequence[Group]) -> str:
    """Which groups have none, and why."""
    alone = sum(group.figures.num_scored < FEWEST_DOCUMENTS for group in groups)
    if not alone:
        return ""
    have = "has" if alone == 1 else "have"
    few = "fewer than two documents and so no interval"
    return f" {alone:,} of {len(groups):,} groups {have} {few}."


def _wordless(found: Sequence[tuple[str, Figures]]) -> str:
    """Whose texts white space does not divide into words, so that a figure per word tells nothing:
    it is the perplexity of lines, or of whole texts, and of any size."""
    names = [
        name
        for name, figures in found
        if (words := figures.averages.get("word_perplexity"))
        and figures.averages["bits_per_byte"].count > LONGEST_WORD * words.count > 0
    ]
    some = listed(names, most=MOST_NAMED)
    why = "texts that white space does not divide into words"
    return f" A figure per word tells nothing of {some}: {why}." if names else ""


def _also(found: Separation) -> str:
    """The metrics that the table has, from the best to the worst."""
    shown = [one for one in found.ranking if one.metric in QUANTILE_METRICS]
    ranked = [f"{one.metric} {one.strength:.3f}" for one in shown]
    return (
        f" Separation by metric (the area, or 1 - area if below 0.5): {', '.join(ranked)}."
        if len(ranked) > 1
        else ""
    )


def _draws(found: Separation) -> str:
    """What of the judgements counts, and for what."""
    own = found.judged
    if own is None:
        return ""
    others = [
        f"{count(number)} {what}"
        for number, what in (
            (own.num_unsure, "nobody could say"),
            (own.num_others, "were picked, or drawn from other bands"),
            (own.num_elsewhere, "are of other texts"),
        )
        if number
    ]
    left_out = f"; left out: {', '.join(others)}" if others else ""
    return (
        f" From {counted(own.num_bad, 'random draw')} judged bad and {count(own.num_good)} judged "
        f"good, each for its share of one of {counted(own.num_bands, 'band')} of {own.metric}, "
        f"together {counted(own.num_documents, 'document')}{left_out}."
    )


def separation(report: Report) -> list[Table]:
    """How well scores find labelled documents, and what the suggested cut would do."""
    found = report.separation
    if found is None:
        return []
    labelled = found.labels if len(found.labels) == 1 else [*found.labels, found.together]
    many = len(found.labels) > 1
    areas = Table(
        title=f"How well scores find labels of {found.column}{of_rows(report)}",
        caption="ROC AUC: the chance that a document with the label scores higher than one "
        f"{'with none of the labels' if found.judged is None else 'that is judged good'}. 1 or 0 "
        f"is a perfect separation, 0.5 is chance. {found.verdict}{_also(found)}{_draws(found)}",
        columns=(
            found.column,
            "scored",
            *(f"AUC of {short_name(metric)}" for metric in QUANTILE_METRICS),
        ),
        rows=[
            (
                "together" if many and label is found.together else label.value,
                count(label.num_scored),
                *(_area(label.auc[metric]) for metric in QUANTILE_METRICS),
            )
            for label in labelled
        ],
        sums_up=many,
    )
    if found.cut is None:
        return [areas]
    one = found.cut
    low, high = (None if bound is None else f"{bound:.6g}" for bound in (one.low, one.high))
    bounds = f"{low} <= " * (low is not None) + one.metric + f" <= {high}" * (high is not None)
    warning = f" Note: {one.warning}." if one.warning else ""
    applied = f" To apply the rule: {one.command}" if one.command else ""
    cut = Table(
        title=f"What keeping {bounds} would remove",
        caption=f"This rule removes {share(one.labelled_removed)} of the labelled documents and "
        f"{share(one.rest_removed)} of the rest; no other cut-off has a larger difference (Youden "
        f"J, {one.youden_j:.3f}).{' Numbers are estimates.' * (found.judged is not None)}{warning}"
        f"{applied}",
        columns=(found.column, "scored", "removed", "share", "tokens removed", "share of tokens"),
        rows=[
            (
                one.value,
                count(one.num_scored),
                count(one.documents_removed),
                percent_of(one.documents_removed, one.num_scored),
                count(one.tokens_removed),
                percent_of(one.tokens_removed, one.num_tokens),
            )
            for one in found.cut.removed
        ],
    )
    return [areas, cut]


def _area(auc: float | None) -> str:
    return "-" if auc is None else f"{auc:.4f}"
