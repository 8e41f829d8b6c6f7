"""A night as a page: its figures by group, what was checked, and the verdict."""

from pipeline.audits.record import Audit, Check, Part
from pipeline.rendering.formats import count, number
from pipeline.rendering.page import Page, Section
from pipeline.rendering.table import Marked, Table, Tone, Whole, Words
from pipeline.reports.wording import quantile_notes, sample_notes, values_of

COLUMNS = ("documents", "tokens", "perplexity", "median", "p95", "bits/byte")
TONES: dict[str, Tone] = {"pass": "good", "fail": "bad", "skipped": "warning"}


def to_page(record: Audit) -> Page:
    """The night."""
    sections = [] if record.sample is None else [Section("", sample_notes(record.sample)[:1])]
    whole = "all" if record.sample is None else "all (estimated)"
    for column, groups in (record.groups or {"corpus": {}}).items():
        # From the least to the most surprising, as a report's.
        ordered = sorted(
            groups.items(), key=lambda item: (item[1].figures.document_perplexity or 0.0, item[0])
        )
        rows = [(name, *_cells(part)) for name, part in ordered]
        table = Table(
            columns=(column, *COLUMNS), rows=[*rows, (whole, *_cells(record.overall))], sums_up=True
        )
        sections.append(Section("", [table]))
    if record.checks:
        checks = Table(
            columns=(Whole("verdict"), Words("required"), Words("found")),
            rows=[
                (
                    Marked(check.state, TONES[check.state]),
                    check.required.in_words(),
                    found_words(check),
                )
                for check in record.checks
            ],
            has_header=False,
        )
        sections.append(Section("", [checks]))
    against = record.baseline.run if record.baseline else "nothing: no earlier night passed"
    return Page(
        title="Audit",
        sections=sections,
        notes=[*record.notes, *quantile_notes(record.overall.figures)],
        summary=[
            *([record.reuse.in_words()] if record.reuse else []),
            f"Night {record.night}: {record.verdict}, compared with {against}.",
        ],
    )


def _cells(part: Part) -> list[str]:
    figures = part.figures
    return [
        count(figures.num_documents),
        count(figures.num_tokens),
        number(figures.corpus_perplexity),
        number(part.value("p50")),
        number(part.value("p95")),
        number(figures.bits_per_byte),
    ]


def found_words(check: Check) -> str:
    """What was found of a requirement, beside its own words."""
    if check.outcome is not None:
        return values_of(check.outcome)
    if check.by is None or check.state == "skipped":
        # The bound stands beside it already.
        return "".join(one.found or one.detail for one in check.findings[:1])
    counts = {
        "met": check.num_passed,
        "failed": check.num_failed,  # whether not met or not to be judged
        "not checked": check.num_skipped,
    }
    return ", ".join(f"{count(n)} {name}" for name, n in counts.items() if n)
