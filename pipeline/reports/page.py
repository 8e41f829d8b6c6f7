"""A report as a page: which charts it has and what they say. Its looks: templates/report.html."""

from pipeline.rendering.formats import number
from pipeline.rendering.page import Chart, render_page
from pipeline.reports import tables, wording
from pipeline.reports.charts import histogram_svg, ranges_svg, small_multiples_svg
from pipeline.reports.curves import ecdf_svg, lengths_svg, thresholds_svg
from pipeline.reports.report import Report


def to_html(report: Report) -> str:
    """The page."""
    return render_page(
        "report.html",
        report=report,
        tables=tables,
        wording=wording,
        distributions=_distributions(report),
        lengths=_lengths(report),
        thresholds=_thresholds(report),
    )


def _distributions(report: Report) -> list[Chart]:
    drawn = []
    of = wording.of_rows(report)
    for histogram, ecdf in zip(report.histograms, report.ecdfs, strict=True):
        metric = histogram.metric.replace("_", " ")
        quantiles = report.overall.quantiles[histogram.metric]
        middle = (
            f"The median is {number(quantiles['p50'])}; 90% of the documents lie between "
            f"{number(quantiles['p5'])} and {number(quantiles['p95'])}."
        )
        drawn.append(Chart.of(f"Distribution of {metric}{of}", histogram_svg(histogram), middle))
        if histogram.by is not None:
            each = f"Each {histogram.by} by itself"
            if len(histogram.documents) > 1:
                scaled = "Every row is as high as its own fullest bin."
                drawn.append(
                    Chart.of(f"{each}: {metric}{of}", small_multiples_svg(histogram), scaled)
                )
            drawn.append(
                Chart.of(
                    f"Range of {metric} by {histogram.by}",
                    ranges_svg(report.groups[histogram.by], histogram.metric),
                    "The dot is the median, the thick line the middle half of the documents, the "
                    "thin one goes from 5% to 95%.",
                )
            )
        drawn.append(
            Chart.of(
                f"Cumulative distribution of {metric}{of}",
                ecdf_svg(ecdf),
                "The share of documents that lie below.",
            )
        )
    return drawn


def _lengths(report: Report) -> list[Chart]:
    if not report.lengths:
        return []
    title = f"Perplexity by length{wording.of_rows(report)}"
    text = "The line is the median, the bands the middle half and the middle 90% of the documents."
    return [Chart.of(title, lengths_svg(report.lengths), text)]


def _thresholds(report: Report) -> list[Chart]:
    if not report.thresholds:
        return []
    text = "Shares of the scored documents, of their tokens and of their bytes."
    return [
        Chart.of(
            f"Kept at or below a perplexity{wording.of_rows(report)}",
            thresholds_svg(report.thresholds),
            text,
        )
    ]
