"""A report as a page: its sections in their order, and how each looks.

Owns which figures are shown; terminal, Markdown and page show the same. Two long tables are
tables.py's, charts are charts.py's and curves.py's, words wording.py's. Nothing is escaped here.
"""

from pipeline.rendering import html
from pipeline.rendering.formats import count, number, percent_of, share, size
from pipeline.rendering.page import Block, Card, Excerpt, Page, Section, section_of
from pipeline.rendering.table import Marked, Table, Whole, Words, facts_table
from pipeline.reports import tables, wording
from pipeline.reports.charts import distribution_charts
from pipeline.reports.curves import length_charts, threshold_charts
from pipeline.reports.figures import QUANTILE_METRICS
from pipeline.reports.report import Report
from pipeline.reports.sorting import Factor

TABLE_STEP = 10
"""The table shows every so many cuts of the curve."""


def to_html(report: Report) -> str:
    """One file."""
    return html.to_html(to_page(report))


def to_page(report: Report) -> Page:
    """The page."""
    source = report.provenance
    facts, caption = wording.facts(report), "This run, its model and its rules"
    return Page(
        title="Perplexity report",
        subtitle=f"{source.corpus} scored with {source.model.name}",
        cards=_cards(report),
        summary=wording.summary(report),
        notes=wording.notes(report),
        sections=[
            *_requirements(report),
            *map(section_of, tables.by_group(report)),
            _sorting(report),
            _distributions(report),
            *map(section_of, tables.separation(report)),
            *_thresholds(report),
            _duplicates(report),
            *_examples(report),
            _outcomes(report),
        ],
        provenance=facts_table(facts, name="provenance", caption=caption),
        terms=wording.COLUMNS,
    )


def _cards(report: Report) -> list[Card]:
    whole, sample = report.overall, report.sample
    weighted = "estimated" if sample else "weighted by documents"
    scored = f"{count(whole.num_scored)} scored"
    drawn = scored if sample is None else f"{count(sample.num_drawn)} sampled"
    return [
        Card("corpus perplexity", *wording.estimated(report, "corpus_perplexity")),
        Card("document perplexity", number(whole.document_perplexity), weighted),
        Card("bits per byte", *wording.estimated(report, "bits_per_byte")),
        Card("documents", count(whole.num_documents), drawn),
        Card("tokens", count(whole.num_tokens), f"in {size(whole.num_bytes)} of text"),
    ]


def _requirements(report: Report) -> list[Section]:
    """What was required of the run, if anything was."""
    rows = [
        (
            one.expression,
            Marked(wording.verdict(one), "bad" if one.failed else "good"),
            wording.values_of(one),
        )
        for one in report.requirements
    ]
    caption = "The run fails if an expression is true or cannot be judged."
    columns = ("fail if", Whole(""), Words("found"))
    table = Table(title="Requirements", caption=caption, columns=columns, rows=rows)
    return [section_of(table)] if rows else []


def _sorting(report: Report) -> Section:
    """What the differences between documents go with, the largest share first."""
    rows = [
        (
            _factor_name(one),
            count(one.num_groups),
            *_share(one),
            *(f"{end.value} {number(end.perplexity)}" for end in (one.groups[0], one.groups[-1])),
            count(one.num_constant),
        )
        for one in report.sorts_by.factors
        if one.groups
    ]
    columns = ("by", "groups", "share", "share 95%", Words("lowest"), Words("highest"), "constant")
    table = Table(columns=columns, rows=rows, narrow=(0, 1, 2, 3, 4, 5))
    said: list[Block] = [report.sorts_by.in_words(), *([table] if rows else [])]
    return Section(f"What this score sorts by{wording.of_rows(report)}", said)


def _factor_name(one: Factor) -> str:
    return f"script, guessed for {count(one.num_scored)}" if one.kind == "script" else one.name


def _share(one: Factor) -> tuple[str, str]:
    if one.share is None or one.interval is None:
        return "-", "-"
    return share(one.share), f"{share(one.interval.low)} to {share(one.interval.high)}"


def _distributions(report: Report) -> Section:
    """Charts, and quantiles over documents, of each metric."""
    blocks: list[Block] = [*distribution_charts(report), *length_charts(report)]
    if not report.histograms:
        blocks.append("No document has a score.")
    found = report.overall.quantiles
    estimated = "" if report.sample is None else ", estimated from the sample"
    rows = [
        (metric.replace("_", " "), *map(number, found[metric].values()))
        for metric in QUANTILE_METRICS
        if found[metric]
    ]
    if rows:
        columns = ("metric", *found[QUANTILE_METRICS[0]])
        title = f"Quantiles over {report.weight}{estimated}"
        blocks.append(Table(title=title, columns=columns, rows=rows))
    return Section("Distributions", blocks, on_terminal=False)


def _thresholds(report: Report) -> list[Section]:
    """Every tenth cut, and the last; the whole curve is in report.json and drawn on the page."""
    curve = report.thresholds
    rows = [
        (
            number(cut.perplexity),
            count(cut.documents_kept),
            percent_of(cut.documents_kept, cut.documents_kept + cut.documents_above),
            percent_of(cut.tokens_kept, cut.tokens_kept + cut.tokens_above),
            percent_of(cut.bytes_kept, cut.bytes_kept + cut.bytes_above),
        )
        for cut in [*curve[len(curve) % TABLE_STEP :: TABLE_STEP], *curve[-1:]]
    ]
    columns = ("perplexity", "documents", "of documents", "of tokens", "of bytes")
    title = f"What a threshold keeps{wording.of_rows(report)}"
    caption = "Scored documents with at most this perplexity, and their share of all."
    table = Table(title=title, caption=caption, columns=columns, rows=rows)
    return [section_of(table, *threshold_charts(report), on_terminal=False)] if rows else []


def _duplicates(report: Report) -> Section:
    """The texts with the most copies."""
    rows = [
        (f"{c.file} row {c.row}", count(c.num_documents), count(c.num_tokens), size(c.num_bytes))
        for c in report.duplicates.largest
    ]
    columns = ("first copy", "documents", "tokens each", "bytes each")
    title, caption = f"Exact duplicates{wording.of_rows(report)}", wording.copies(report)
    table = Table(title=title, caption=caption, columns=columns, rows=rows)
    return Section(title, [table if rows else caption], on_terminal=False)


def _examples(report: Report) -> list[Section]:
    """How documents at the quantiles begin."""
    about = (
        "Perplexity is surprise, not quality: repetition and boilerplate are at the low end, "
        "next to good prose."
    )
    shown = [
        Excerpt(
            place=one.place,
            document=f"{one.file} row {one.row}",
            doc_id=one.doc_id,
            about=wording.standing(one),
            lines=wording.excerpt_lines(one),
        )
        for one in report.examples
    ]
    title = f"Documents at the quantiles{wording.of_rows(report)}"
    return [Section(title, [about, shown], on_terminal=False)] if shown else []


def _outcomes(report: Report) -> Section:
    """What became of every row."""
    rows = [(status, count(n)) for status, n in report.coverage.statuses.items()]
    rows += [(f"reason: {reason}", count(n)) for reason, n in report.coverage.errors.items()]
    title = f"What became of every row{wording.of_rows(report)}"
    table = Table(title=title, columns=("status", "documents"), rows=rows)
    return section_of(table, on_terminal=False)
