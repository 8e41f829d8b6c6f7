"""A report as a page: what it says and in which order. The tables are tables.py's, the words
wording.py's.
"""

from functools import partial

from pipeline.rendering import html
from pipeline.rendering.formats import count, number, size
from pipeline.rendering.page import Block, Card, Chart, Excerpt, Page, Section, section_of
from pipeline.rendering.table import facts_table
from pipeline.reports import tables, wording
from pipeline.reports.charts import histogram_svg, ranges_svg, small_multiples_svg
from pipeline.reports.curves import ecdf_svg, lengths_svg, thresholds_svg
from pipeline.reports.report import Report


def to_html(report: Report) -> str:
    """One file."""
    return html.to_html(to_page(report))


def to_page(report: Report) -> Page:
    """The page."""
    of = wording.of_rows(report)
    found: list[Block] = [*_distributions(report), *_lengths(report)]
    if not report.histograms:
        found.append("No document has a score.")
    copies: list[Block] = [*tables.duplicates(report)] or [wording.copies(report)]
    sections = [
        *map(section_of, tables.requirements(report)),
        *map(section_of, tables.by_group(report)),
        Section(f"What this score sorts by{of}", _sorting(report)),
        Section("Distributions", [*found, *tables.quantiles(report)], on_terminal=False),
        *map(section_of, tables.separation(report)),
        *(
            section_of(table, *_thresholds(report), on_terminal=False)
            for table in tables.thresholds(report)
        ),
        Section(f"Exact duplicates{of}", copies, on_terminal=False),
    ]
    if report.examples:
        about = (
            "Perplexity is surprise, not quality: repetition and boilerplate are at the low end, "
            "next to good prose."
        )
        shown: list[Block] = [about, _excerpts(report)]
        sections.append(Section(f"Documents at the quantiles{of}", shown, on_terminal=False))
    sections += [section_of(table, on_terminal=False) for table in tables.outcomes(report)]
    source = report.provenance
    facts, caption = wording.facts(report), "This run, its model and its rules"
    return Page(
        title="Perplexity report",
        subtitle=f"{source.corpus} scored with {source.model.name}",
        cards=_cards(report),
        summary=wording.summary(report),
        notes=wording.notes(report),
        sections=sections,
        provenance=facts_table(facts, name="provenance", caption=caption),
        terms=wording.COLUMNS,
    )


def _sorting(report: Report) -> list[Block]:
    table = tables.sorts_by(report)
    return [report.sorts_by.in_words(), *([table] if table.rows else [])]


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


def _excerpts(report: Report) -> list[Excerpt]:
    return [
        Excerpt(
            place=one.place,
            document=f"{one.file} row {one.row}",
            doc_id=one.doc_id,
            about=wording.standing(one),
            lines=wording.excerpt_lines(one),
        )
        for one in report.examples
    ]


def _distributions(report: Report) -> list[Chart]:
    drawn, weight = [], report.weight
    of = wording.of_rows(report)
    for histogram, ecdf in zip(report.histograms, report.ecdfs, strict=True):
        metric = histogram.metric.replace("_", " ")
        quantiles = report.overall.quantiles[histogram.metric]
        middle = (
            f"The median is {number(quantiles['p50'])}; 90% of the {weight} lie between "
            f"{number(quantiles['p5'])} and {number(quantiles['p95'])}."
        )
        drawn.append(
            Chart(
                f"Distribution of {metric}{of}", partial(histogram_svg, histogram, weight), middle
            )
        )
        if histogram.by is not None:
            each = f"Each {histogram.by} by itself"
            if len(histogram.documents) > 1:
                scaled = "Each row is scaled to its own fullest bin."
                drawn.append(
                    Chart(
                        f"{each}: {metric}{of}",
                        partial(small_multiples_svg, histogram, weight),
                        scaled,
                    )
                )
            drawn.append(
                Chart(
                    f"Range of {metric} by {histogram.by}",
                    partial(ranges_svg, report.groups[histogram.by], histogram.metric),
                    f"The dot is the median, the thick line the middle half of the {weight}, the "
                    "thin one goes from 5% to 95%.",
                )
            )
        drawn.append(
            Chart(
                f"Cumulative distribution of {metric}{of}",
                partial(ecdf_svg, ecdf, weight),
                f"The share of {weight} below each value.",
            )
        )
    return drawn


def _lengths(report: Report) -> list[Chart]:
    if not report.lengths:
        return []
    title = f"Perplexity by length{wording.of_rows(report)}"
    text = (
        "The line is the median, the bands the middle half and the middle 90% of the "
        f"{report.weight}."
    )
    return [Chart(title, partial(lengths_svg, report.lengths), text)]


def _thresholds(report: Report) -> list[Chart]:
    if not report.thresholds:
        return []
    text = "Shares of the scored documents, of their tokens and of their bytes."
    return [
        Chart(
            f"Kept at or below a perplexity{wording.of_rows(report)}",
            partial(thresholds_svg, report.thresholds),
            text,
        )
    ]
