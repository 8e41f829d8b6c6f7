"""A report for people: terminal, Markdown and one HTML file.

Owns words, number formats and escaping. Document names and groups come from corpora and are taken
for hostile: each output escapes them in its own way.
"""

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.charts import histogram_svg, ranges_svg
from pipeline.compare import Comparison
from pipeline.escaping import plain
from pipeline.figures import QUANTILE_METRICS, Figures, Group
from pipeline.report import Report
from pipeline.store import RunStore
from pipeline.verify import Verification

MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")
COLUMNS = (
    ("documents", "rows of the corpus"),
    ("scored", "rows that have a score"),
    ("tokens", "scored tokens"),
    ("perplexity", "corpus perplexity: exp(sum nll / sum tokens), every token weighs the same"),
    ("per document", "exp(mean of nll / tokens): every document weighs the same"),
    ("p5", "5% of the documents have a perplexity below"),
    ("median", "median of the documents' perplexities"),
    ("p95", "95% of the documents have a perplexity below"),
    ("bits/byte", "sum nll / ln 2 / sum bytes: compares across tokenizers"),
)
TERMINAL_COLUMNS = ("documents", "tokens", "perplexity", "p5", "median", "p95", "bits/byte")


def write_report(report: Report, store: RunStore) -> str:
    """Write report.html, .json and .md into the run; returns the location of the page."""
    store.root.write_bytes("report.json", (report.model_dump_json(indent=1) + "\n").encode())
    store.root.write_bytes("report.md", to_markdown(report).encode())
    store.root.write_bytes("report.html", to_html(report).encode())
    return store.root.show("report.html")


def number(value: float | None) -> str:
    """Three significant digits, with separators; a dash for nothing."""
    if value is None:
        return "-"
    if abs(value) >= 1e7:
        return f"{value:.2e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cells(figures: Figures) -> list[str]:
    """One table row, in the order of COLUMNS."""
    quantiles = figures.quantiles["perplexity"]
    return [
        f"{figures.num_documents:,}",
        f"{figures.num_scored:,}",
        f"{figures.num_tokens:,}",
        number(figures.corpus_perplexity),
        number(figures.document_perplexity),
        number(quantiles.get("p5")),
        number(quantiles.get("p50")),
        number(quantiles.get("p95")),
        number(figures.bits_per_byte),
    ]


def tables(report: Report) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """(group column, rows of (name, cells)), each ending with the whole; one table at least."""
    whole = ("all", cells(report.overall))
    if not report.groups:
        return [("corpus", [whole])]
    return [
        (column, [*((group.value, cells(group.figures)) for group in groups), whole])
        for column, groups in report.groups.items()
    ]


def notes(report: Report) -> list[str]:
    """What a reader must know before believing the numbers."""
    coverage = report.coverage
    found = []
    if not report.complete:
        found.append(
            f"This run is not finished: {coverage.num_shards_done} of {coverage.num_shards} "
            "shards are in these figures."
        )
    for file, reason in coverage.unreadable_files.items():
        found.append(f"Not read: {plain(file)}: {plain(reason)}")
    unscored = {k: v for k, v in coverage.statuses.items() if k not in ("ok", "truncated")}
    if unscored:
        counts = ", ".join(f"{count:,} {status}" for status, count in unscored.items())
        found.append(f"Documents without a score: {counts}.")
    return found


def facts(report: Report) -> list[tuple[str, str]]:
    """Provenance, as names and values."""
    source, rules = report.provenance, report.provenance.rules
    speed = source.tokens_per_second
    versions = ", ".join(f"{name} {version}" for name, version in source.versions.items())
    pairs = [
        ("run", source.run),
        ("corpus", source.corpus),
        ("model", source.model.name),
        ("revision", source.model.revision or "(a local folder)"),
        ("weights", str(source.fingerprint["weights"])),
        ("tokenizer", str(source.fingerprint["tokenizer"])),
        ("architecture", source.model.architecture),
        ("dtype", rules.dtype),
        ("prefix", f"{rules.prefix} (token {rules.prefix_token_id})"),
        ("windows", f"{rules.window_tokens} tokens, {rules.context_tokens} of context"),
        ("long documents", rules.long_documents),
        ("planned", source.created_at),
        ("finished", source.finished_at or "not yet"),
        ("throughput", f"{speed:,.0f} tokens per second" if speed else "not measured"),
        ("versions", versions),
        *_verified(source.verification),
    ]
    if source.model.trust_remote_code:
        pairs.append(("remote code", "the model's own Python code was run"))
    return [(name, plain(value)) for name, value in pairs]


def _verified(verification: Verification | None) -> list[tuple[str, str]]:
    if verification is None:
        return [("verified", "not yet: winnow verify")]
    failed = [check.name for check in verification.checks if not check.passed]
    verdict = f"FAILED: {', '.join(failed)}" if failed else "every check passed"
    measured = [check for check in verification.checks if check.name in ("truth", "noise floor")]
    return [("verified", verdict), *((check.name, check.detail) for check in measured)]


def print_comparison(comparison: Comparison, console: Console) -> None:
    """A line a run, the least surprised first."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    by_token = comparison.ranked_by == "perplexity"
    names = ["documents", "tokens", *(["perplexity"] if by_token else []), "bits/byte"]
    for name in ("run", "model"):
        table.add_column(name, overflow="fold")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for run in comparison.runs:
        figures = run.figures
        row = [run.run, run.model, f"{figures.num_documents:,}", f"{figures.num_tokens:,}"]
        row += [number(figures.corpus_perplexity)] if by_token else []
        row.append(number(figures.bits_per_byte))
        table.add_row(*(Text(plain(cell)) for cell in row))
    console.print(table)
    for note in comparison.notes:
        console.print(Text(note, style="yellow"))


def print_report(report: Report, console: Console) -> None:
    """The tables by group, and what to know about them; 80 columns wide."""
    names = [name for name, _ in COLUMNS]
    shown = [names.index(name) for name in TERMINAL_COLUMNS]
    for column, rows in tables(report):
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        table.add_column(Text(plain(column)), overflow="fold")
        for name in TERMINAL_COLUMNS:
            table.add_column(name, justify="right", no_wrap=True)
        for position, (name, values) in enumerate(rows):
            last = position == len(rows) - 1
            row = [Text(plain(name)), *(Text(values[i]) for i in shown)]
            table.add_row(*row, style="bold" if last else None)
        console.print(table)
        console.print()
    whole = report.overall
    console.print(
        Text(
            f"Corpus perplexity {number(whole.corpus_perplexity)} weighted by tokens, "
            f"{number(whole.document_perplexity)} weighted by documents; "
            f"{number(whole.bits_per_byte)} bits per byte."
        )
    )
    for note in notes(report):
        console.print(Text(note, style="yellow"))


def print_verification(verification: Verification, console: Console) -> None:
    """One line a check, then the sampled documents that are furthest off."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in verification.checks:
        mark = Text("ok", style="green") if check.passed else Text("FAILED", style="bold red")
        table.add_row(Text(check.name), mark, Text(plain(check.detail)))
    console.print(table)
    truth = verification.truth
    if truth is None:
        return
    console.print(
        Text(
            f"\nPerplexity of the sample: {truth.corpus_perplexity:.6g}, by the reference "
            f"{truth.reference_corpus_perplexity:.6g}; of a document off by "
            f"{truth.largest_perplexity_error:.2e} at most, "
            f"{truth.mean_perplexity_error:.2e} on average. Furthest off:"
        )
    )
    worst = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("document", "tokens", "nll", "reference", "error"):
        worst.add_column(name, justify="left" if name == "document" else "right")
    for one in truth.worst:
        figures = [f"{one.num_tokens:,}", f"{one.nll:.4f}", f"{one.reference_nll:.4f}"]
        where = f"{plain(one.file)} row {one.row}"
        worst.add_row(*(Text(cell) for cell in [where, *figures, f"{one.nll_error:.2e}"]))
    console.print(worst)


def to_markdown(report: Report) -> str:
    """Tables for a comment or a commit."""
    lines = ["# Perplexity report", ""]
    lines += [f"> {_md(note)}" for note in notes(report)] + [""]
    for column, rows in tables(report):
        lines.append("| " + " | ".join([_md(column), *(name for name, _ in COLUMNS)]) + " |")
        lines.append("| --- " + "| ---: " * len(COLUMNS) + "|")
        lines += ["| " + " | ".join([_md(name), *values]) + " |" for name, values in rows]
        lines.append("")
    lines += ["| provenance | |", "| --- | --- |"]
    lines += [f"| {name} | {_md(value)} |" for name, value in facts(report)]
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    return MARKDOWN.sub(r"\\\1", plain(text)) or " "


def to_html(report: Report) -> str:
    """One self-contained page: no script, no request, text of the corpus escaped."""
    environment = Environment(
        loader=PackageLoader("pipeline"), autoescape=True, undefined=StrictUndefined
    )
    template = environment.get_template("report.html")
    return template.render(
        report=report,
        number=number,
        plain=plain,
        columns=COLUMNS,
        tables=tables(report),
        notes=notes(report),
        facts=facts(report),
        quantile_rows=_quantile_rows(report.overall),
        charts=_charts(report),
    )


def _quantile_rows(figures: Figures) -> list[tuple[str, list[str]]]:
    return [
        (metric.replace("_", " "), [number(value) for value in figures.quantiles[metric].values()])
        for metric in QUANTILE_METRICS
        if figures.quantiles[metric]
    ]


def _charts(report: Report) -> list[dict[str, Any]]:
    drawn = []
    for histogram in report.histograms:
        # The SVG is vl-convert's: text in it is escaped there.
        drawn.append(
            {
                "title": f"Distribution of {histogram.metric.replace('_', ' ')}",
                "svg": Markup(histogram_svg(histogram)),
            }
        )
        if histogram.by is not None:
            groups: list[Group] = report.groups[histogram.by]
            drawn.append(
                {
                    "title": f"{histogram.metric.replace('_', ' ').capitalize()} "
                    f"by {plain(histogram.by)}: median, middle half, 5% to 95%",
                    "svg": Markup(ranges_svg(groups, histogram.metric)),
                }
            )
    return drawn
