"""A report as one self-contained page: no script, no request, text of the corpus escaped.

Owns the page's data; its looks are templates/report.html.
"""

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline import tables, wording
from pipeline.charts import histogram_svg, ranges_svg, small_multiples_svg
from pipeline.curves import ecdf_svg, lengths_svg, thresholds_svg
from pipeline.escaping import plain
from pipeline.report import Report


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture and what it says, for those who do not see it."""

    title: str
    description: str
    svg: Markup
    """Drawn by vl-convert, which escapes the text in it."""


def to_html(report: Report) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("pipeline"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html").render(
        report=report,
        plain=plain,
        tables=tables,
        wording=wording,
        distributions=_distributions(report),
        lengths=_lengths(report),
        thresholds=_thresholds(report),
    )


def _chart(title: str, description: str, svg: str) -> Chart:
    return Chart(plain(title), plain(description), Markup(svg))


def _distributions(report: Report) -> list[Chart]:
    drawn = []
    for histogram, ecdf in zip(report.histograms, report.ecdfs, strict=True):
        metric = histogram.metric.replace("_", " ")
        quantiles = report.overall.quantiles[histogram.metric]
        middle = (
            f"The median is {wording.number(quantiles['p50'])}; 90% of the documents lie between "
            f"{wording.number(quantiles['p5'])} and {wording.number(quantiles['p95'])}."
        )
        drawn.append(_chart(f"Distribution of {metric}", middle, histogram_svg(histogram)))
        if histogram.by is not None:
            each = f"Each {histogram.by} by itself"
            if len(histogram.documents) > 1:
                scaled = "Every row is as high as its own fullest bin."
                drawn.append(_chart(f"{each}: {metric}", scaled, small_multiples_svg(histogram)))
            drawn.append(
                _chart(
                    f"Range of {metric} by {histogram.by}",
                    "The dot is the median, the thick line the middle half of the documents, the "
                    "thin one goes from 5% to 95%.",
                    ranges_svg(report.groups[histogram.by], histogram.metric),
                )
            )
        drawn.append(
            _chart(
                f"Cumulative distribution of {metric}",
                "The share of documents that lie below.",
                ecdf_svg(ecdf),
            )
        )
    return drawn


def _lengths(report: Report) -> list[Chart]:
    if not report.lengths:
        return []
    title = "Perplexity by length"
    text = "The line is the median, the bands the middle half and the middle 90% of the documents."
    return [_chart(title, text, lengths_svg(report.lengths))]


def _thresholds(report: Report) -> list[Chart]:
    if not report.thresholds:
        return []
    text = "Shares of the scored documents, of their tokens and of their bytes."
    return [_chart("Kept at or below a perplexity", text, thresholds_svg(report.thresholds))]
