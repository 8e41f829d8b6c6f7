"""A report for people: its files, and what is printed."""

from rich.console import Console

from pipeline.errors import ConfigError, named
from pipeline.rendering import markdown
from pipeline.rendering.terminal import print_page
from pipeline.reports.page import to_html, to_page
from pipeline.reports.report import Report
from pipeline.storage.filesystem import Root


def write_report(report: Report, root: Root) -> str:
    """Write report.html, .json and .md into a folder; returns the location of the page."""
    if root.is_file():
        raise ConfigError(f"{named('out')} {root.location} is a file, not a folder")
    root.write_bytes("report.json", (report.model_dump_json(indent=1) + "\n").encode())
    root.write_bytes("report.md", to_markdown(report).encode())
    root.write_bytes("report.html", to_html(report).encode())
    return root.show("report.html")


def print_report(report: Report, console: Console) -> None:
    """The tables by group, and what to know about them."""
    print_page(to_page(report), console)


def to_markdown(report: Report) -> str:
    """Tables for a comment or a commit."""
    return markdown.to_markdown(to_page(report))
