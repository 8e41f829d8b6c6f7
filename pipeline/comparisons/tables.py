"""A comparison as tables of words: what is shown, in what order, in which number formats.

Owns the layout, once for terminal, Markdown and HTML. Cells are text of unknown origin, not
escaped.
"""

from pipeline.comparisons.comparability import Kind
from pipeline.comparisons.comparison import (
    Cell,
    Change,
    ComparedRun,
    Comparison,
    Matrix,
    RunShift,
    Shift,
)
from pipeline.comparisons.sections import (
    Compared,
    agreement_section,
    files_section,
    moved_sections,
    pairs_section,
    requirements_section,
)
from pipeline.comparisons.shifts import BITS, DISTRIBUTIONS, PERPLEXITY, WORD, figure_of
from pipeline.rendering.formats import (
    chance,
    count,
    estimate,
    estimated_change,
    number,
    percent,
    signed,
)
from pipeline.rendering.page import Card
from pipeline.rendering.table import Words

TITLES: dict[Kind, str] = {
    "repeats": "One model over one dataset, again",
    "datasets": "Datasets under one model",
    "models": "Models over one dataset",
    "checkpoints": "Checkpoints over one dataset, in the order given",
    "nightly": "One corpus as its files changed, in the order given",
    "matrix": "Models over datasets",
}
LABELS = {PERPLEXITY: "perplexity", BITS: "bits/byte", WORD: "per word"}
MOST_CARDS = 6
PAIR = 2
"""A trend of so many runs would only repeat their shift, and is left out."""
DISTANCE_COLUMNS = ("KS", "unpaired p", "PSI", "by chance", "moved")
TERMS = (
    ("perplexity", "corpus perplexity: exp(sum nll / sum tokens), every token weighs the same"),
    ("bits/byte", "sum nll / ln 2 / sum bytes: compares across tokenizers"),
    ("per word", "word perplexity: exp(sum nll / sum words), words split at white space"),
    ("95% interval", "95% interval of the figure, had other documents been drawn"),
    ("change", "the run minus the run it is compared with: above 0 is more surprising"),
    ("KS", "Kolmogorov-Smirnov: largest gap of the two distribution functions over documents, 0-1"),
    ("unpaired p", "p-value of KS; with many documents even a small change has a small p-value"),
    ("PSI", "population stability index over the baseline's deciles: 0.1 is small, 0.25 large"),
    ("by chance", "the PSI that chance alone exceeds in 5% of cases"),
    ("Wilcoxon p", "p-value of the signed-rank test: small if scores moved to one side"),
    ("Spearman", "1 where two models rank documents alike, 0 where their ranks are unrelated"),
    ("overlap", "documents that a percentile band keeps by both models / by either"),
    ("moved", "Wasserstein-1: mean move of the distribution, in nats per token or bits per byte"),
)


def sections(comparison: Comparison) -> list[Compared]:
    """Everything that is shown, in order."""
    shown = [_runs(comparison)]
    if comparison.trend is not None and len(comparison.trend) > PAIR:
        shown.append(_trend(comparison))
    if comparison.matrix is not None:
        shown.append(_matrix(comparison.matrix))
    shown.append(_shifts(comparison))
    if comparison.requirements:
        shown.append(requirements_section(comparison.requirements))
    if comparison.kind == "nightly":
        shown.append(files_section(comparison.shifts))
    if any(shift.pairing is not None for shift in comparison.shifts):
        shown.append(pairs_section(comparison.shifts))
    if any(shift.agreement is not None for shift in comparison.shifts):
        shown.append(agreement_section(comparison.shifts))
    for shift in comparison.shifts:
        shown += [_groups(comparison, shift, column) for column in shift.groups]
    for shift in comparison.shifts:
        shown.append(_quantiles(shift))
    for shift in comparison.shifts:
        if shift.pairing is not None:
            shown += moved_sections(shift, shift.pairing)
    return shown


def figures_shown(comparison: Comparison) -> list[str]:
    """Those that compare, the one that ranks first."""
    return [PERPLEXITY, BITS, WORD] if comparison.ranked_by == PERPLEXITY else [BITS, WORD]


def _starred(comparison: Comparison, name: str) -> str:
    """A run's name as rows have it."""
    sampled = any(run.name == name and run.sample is not None for run in comparison.runs)
    starred = f"{name} *" if name == comparison.baseline else name
    return f"{starred} (estimated)" if sampled else starred


def _runs(comparison: Comparison) -> Compared:
    varied = [
        (title, [getattr(run, key) for run in comparison.runs])
        for title, key in (("model", "model"), ("corpus", "corpus"), ("dtype", "dtype"))
    ]
    varied = [(title, values) for title, values in varied if len(set(values)) > 1]
    figures = figures_shown(comparison)
    shown = [label for figure in figures for label in (LABELS[figure], "95% interval")]
    ranked = "" if comparison.trend else ", the least surprised first"
    return Compared(
        key="runs",
        title="Runs",
        caption=f"{TITLES[comparison.kind]}{ranked}; * is the baseline.",
        columns=("run", *(Words(title) for title, _ in varied), "documents", "tokens", *shown),
        rows=[
            (
                _starred(comparison, run.name),
                *(values[i] for _, values in varied),
                count(run.figures.num_documents),
                count(run.figures.num_tokens),
                *(cell for figure in figures for cell in _estimate(run, figure)),
            )
            for i, run in enumerate(comparison.runs)
        ],
        narrow=tuple(range(5 + len(varied))) + ((5 + len(varied),) if BITS in figures[1:] else ()),
    )


def _estimate(run: ComparedRun, figure: str) -> tuple[str, str]:
    return estimate(figure_of(run.figures, figure), run.intervals[figure])


def _trend(comparison: Comparison) -> Compared:
    label = LABELS[comparison.ranked_by]
    return Compared(
        key="trend",
        title="Trend",
        caption=f"{label} from run to run, and its changes with 95% intervals.",
        columns=("run", label, "from previous", "95% interval", "from first", "95% interval"),
        rows=[
            (
                _starred(comparison, step.run),
                number(step.value),
                *_changed(step.from_previous),
                *_changed(step.from_first),
            )
            for step in comparison.trend or ()
        ],
    )


def _changed(change: Change | None) -> tuple[str, str]:
    if change is None:
        return "-", "-"
    return estimated_change(change.difference, change.interval)


def _matrix(matrix: Matrix) -> Compared:
    rows = []
    for model, cells in zip(matrix.models, matrix.cells, strict=True):
        shown = [
            "-" if cell is None else _cell(cell, matrix.cells, i) for i, cell in enumerate(cells)
        ]
        rows.append((model, *shown))
    return Compared(
        key="matrix",
        title="Bits per byte",
        caption="Models by datasets, with 95% intervals; • marks the lowest of each dataset.",
        columns=("model", *matrix.datasets),
        rows=rows,
    )


def _cell(cell: Cell, rows: list[list[Cell | None]], column: int) -> str:
    beside = [row[column] for row in rows]
    values = [one.bits_per_byte for one in beside if one and one.bits_per_byte is not None]
    mark = "• " if len(values) > 1 and cell.bits_per_byte == min(values) else ""
    value, interval = estimate(cell.bits_per_byte, cell.interval)
    return f"{mark}{value} ({interval})"


def _shifts(comparison: Comparison) -> Compared:
    ranked = comparison.ranked_by
    rows = []
    for shift in comparison.shifts:
        name = f"{shift.run} against {shift.baseline}" if comparison.matrix else shift.run
        there = [one for one, own in shift.overall.changes.items() if own.difference is not None]
        rows += [(name, LABELS[one], *_change(shift.overall, one)) for one in there]
    return Compared(
        key="shift",
        title="Shift from the baseline",
        caption="Changes of the whole corpus with 95% intervals, from paired documents where both "
        "runs have them; KS, PSI and moved compare the two sets of documents unpaired.",
        columns=("run", Words("figure"), "change", "95% interval", "%", *DISTANCE_COLUMNS),
        rows=rows,
        changes={shift.run: shift.overall.changes[ranked] for shift in comparison.shifts},
        unit=LABELS[ranked],
        narrow=(0, 1, 2, 3, 5, 7),
    )


def _change(shift: Shift, figure: str) -> tuple[str, ...]:
    """A figure's change and distances, in the order of DISTANCE_COLUMNS from the fourth on."""
    change = shift.changes[figure]
    return (*_changed(change), percent(change.relative), *_distances(shift, figure))


def _distances(shift: Shift, figure: str) -> tuple[str, ...]:
    found = shift.distances.get(DISTRIBUTIONS.get(figure, figure))
    if found is None:
        return ("-",) * len(DISTANCE_COLUMNS)
    return (
        number(found.ks_statistic),
        chance(found.ks_p_value),
        number(found.psi.value),
        number(found.psi.by_chance),
        number(found.wasserstein),
    )


def _groups(comparison: Comparison, shift: RunShift, column: str) -> Compared:
    figure = comparison.ranked_by
    rows = []
    for group in shift.groups[column]:
        change = group.shift.changes[figure]
        counts = (group.shift.num_scored_baseline, group.shift.num_scored)
        values = (number(change.baseline), number(change.value))
        rows.append((group.value, *map(count, counts), *values, *_change(group.shift, figure)))
    label = LABELS[figure]
    return Compared(
        key="groups",
        title=f"{shift.run} against {shift.baseline}, by {column}",
        caption=f"{label}; the groups that changed most first.",
        columns=(
            column,
            "documents before",
            "after",
            f"{label} before",
            "after",
            "change",
            "95% interval",
            "%",
            *DISTANCE_COLUMNS,
        ),
        rows=rows,
        changes={group.value: group.shift.changes[figure] for group in shift.groups[column]},
        unit=label,
        narrow=(0, 3, 4, 5, 6, 8),
    )


def _quantiles(shift: RunShift) -> Compared:
    names = list(dict.fromkeys(q for found in shift.overall.quantiles.values() for q in found))
    rows = []
    for figure, found in shift.overall.quantiles.items():
        lines = {
            shift.baseline: [number(found[q].baseline) for q in found],
            shift.run: [number(found[q].value) for q in found],
            "change": [signed(found[q].difference) for q in found],
            "%": [percent(found[q].relative) for q in found],
        }
        rows += [(LABELS[figure], name, *cells) for name, cells in lines.items()]
    return Compared(
        key="quantiles",
        title=f"{shift.run} against {shift.baseline}, quantiles over documents",
        columns=("metric", Words(""), *names),
        rows=rows,
        on_terminal=False,
    )


def cards(comparison: Comparison) -> list[Card]:
    """(run, its figure, how it changed) of the first runs, for the top of a page."""
    figure = comparison.ranked_by
    changes = {shift.run: shift.overall.changes[figure] for shift in comparison.shifts}
    shown = []
    for run in comparison.runs[:MOST_CARDS]:
        value, interval = _estimate(run, figure)
        about = f"{LABELS[figure]}, {interval}"
        if run.name in changes:
            about += f"; {percent(changes[run.name].relative)}"
        shown.append(Card(_starred(comparison, run.name), value, about))
    return shown


def facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Provenance, as names and values."""
    found = [("compared", comparison.generated_at), ("baseline", comparison.baseline)]
    for run in comparison.runs:
        state = "" if run.complete else ", not complete"
        found.append((run.name, f"{run.run}: {run.model} ({run.dtype}) over {run.corpus}{state}"))
    intervals = comparison.intervals
    resamples = f"{intervals.resamples:,} resamples, seed {intervals.seed}"
    return [*found, ("intervals", f"{intervals.method}; {resamples}")]
