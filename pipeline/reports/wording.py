"""A report in words: columns, sentences, and what a reader must know.

Owns what figures are called; terminal, Markdown and page say the same.
"""

from pipeline.errors import counted
from pipeline.rendering.escaping import plain
from pipeline.rendering.formats import count, estimate, estimate_in_words, number, share
from pipeline.reports.excerpts import Example
from pipeline.reports.figures import Figures
from pipeline.reports.provenance import Provenance
from pipeline.reports.report import Report
from pipeline.reports.requirements import Finding, GroupFinding
from pipeline.reports.sampled import Sampled
from pipeline.schema import LARGEST, SCORED
from pipeline.verification.verify import Verification

COLUMNS = (
    ("documents", "rows of the corpus"),
    ("scored", "rows that have a score"),
    ("tokens", "scored tokens"),
    ("perplexity", "corpus perplexity: exp(sum nll / sum tokens), every token weighs the same"),
    ("perplexity 95%", "95% interval of the corpus perplexity, had other documents been drawn"),
    (
        "per document",
        "document perplexity: exp(mean of nll / tokens), all documents weigh the same",
    ),
    ("p5", "5% of the documents (or tokens, or bytes, as weighted) have a perplexity below this"),
    ("median", "median of the documents' perplexities"),
    ("p95", "95% of the documents have a perplexity below this"),
    ("bits/byte", "bits per byte: sum nll / ln 2 / sum bytes, which compares across tokenizers"),
    ("bits/byte 95%", "95% interval of bits per byte"),
    ("per word", "word perplexity: exp(sum nll / sum words), words split at white space"),
    ("per word 95%", "95% interval of word perplexity"),
)
NARROW = ("documents", "tokens", "perplexity", "perplexity 95%", "median", "p95", "bits/byte")
"""Columns that are shown on a terminal of 80 columns."""
NAMED = ("corpus_perplexity", "bits_per_byte")
"""Figures that the headline states in words."""
NOTED_ERROR = 1e-5
"""Quantile errors below this change no shown digit and are not noted."""


def cells(figures: Figures) -> list[str]:
    """One table row, in the order of COLUMNS."""
    quantiles = figures.quantiles["perplexity"]
    return [
        count(figures.num_documents),
        count(figures.num_scored),
        count(figures.num_tokens),
        *_estimate(figures, "corpus_perplexity"),
        number(figures.document_perplexity),
        number(quantiles.get("p5")),
        number(quantiles.get("p50")),
        number(quantiles.get("p95")),
        *_estimate(figures, "bits_per_byte"),
        *_estimate(figures, "word_perplexity"),
    ]


def _estimate(figures: Figures, name: str) -> tuple[str, str]:
    """A figure and its interval."""
    return estimate(figures.average(name), figures.intervals.get(name))


def about_intervals(report: Report) -> str:
    """How they were found, for whoever asks."""
    if report.sample is not None:
        return report.sample.method
    found = report.intervals
    if found is None:
        return "none"
    return f"{found.method}; {found.resamples:,} resamples, seed {found.seed}"


def headline(whole: Figures) -> str:
    """The figures of a run in a sentence, with their intervals."""
    tokens, bits = (
        shown if around == "-" else f"{shown} (95% interval {around})"
        for shown, around in (_estimate(whole, name) for name in NAMED)
    )
    return (
        f"Corpus perplexity {tokens} weighted by tokens, {number(whole.document_perplexity)} "
        f"weighted by documents; {bits} bits per byte."
    )


def short_name(metric: str) -> str:
    """As columns have it: bits/byte."""
    return metric.replace("_per_", "/").replace("_", " ")


def copies(report: Report) -> str:
    """Exact duplicates in a sentence."""
    found = report.duplicates
    if not found.num_copies:
        return f"No exact duplicates among {found.num_documents:,} texts."
    return (
        f"Exact duplicates: {found.num_documents:,} texts, {found.num_distinct:,} distinct; "
        f"{counted(found.num_copies, 'copy', 'copies')} "
        f"({share(found.num_copies / found.num_documents)}) with "
        f"{counted(found.copied_tokens, 'token')}."
    )


def verdict(finding: Finding) -> str:
    if not finding.judged:
        return "FAILED: cannot be judged"
    return "FAILED" if finding.failed else "passed"


def values_of(finding: Finding) -> str:
    """Why it cannot be judged, once; each figure and its value; the groups that decided."""
    own = [one for one in finding.groups if one.reason is None or one.reason != finding.reason]
    groups = [f"{one.column} {one.value}: {_values(one)}" for one in own]
    if own and (more := finding.num_groups - len(finding.groups)) > 0:
        groups.append(f"and {counted(more, 'more group')}")
    return "; ".join([one for one in (_values(finding), *groups) if one])


def _values(found: Finding | GroupFinding) -> str:
    shown = (f"{name} = {_value(value)}" for name, value in found.values.items())
    return "; ".join(
        [*([found.reason] if found.reason else []), *([", ".join(shown)] if found.values else [])]
    )


def _value(value: float | None) -> str:
    if value is None:
        return "no value"
    return "unbounded" if abs(value) == LARGEST else f"{value:.6g}"


def outcome(finding: Finding) -> str:
    """A finding in a line."""
    return f"{verdict(finding)}: {finding.expression}: {values_of(finding)}"


def standing(example: Example) -> str:
    """An example's scores."""
    bits = "" if example.bits_per_byte is None else f", {number(example.bits_per_byte)} bits/byte"
    return f"perplexity {number(example.perplexity)}{bits}, {counted(example.num_tokens, 'token')}"


def excerpt_lines(example: Example) -> list[str]:
    """The excerpt a line at a time, or why there is none."""
    if example.excerpt is None:
        return [f"({example.missing})"] if example.missing else []
    lines = [line.replace("\t", "    ") for line in example.excerpt.splitlines()] or [""]
    return lines if example.is_whole else [*lines[:-1], f"{lines[-1]}…"]


def summary(report: Report) -> list[str]:
    """The figures in sentences; those of a sample are in its notes."""
    said = [headline(report.overall)] if report.sample is None else []
    said.append(copies(report))
    if report.provenance.engine_idle_share is not None:
        said.append(f"Engines idle: {idle(report.provenance.engine_idle_share)}.")
    if report.provenance.mfu is not None:
        said.append(f"MFU: {utilization(report.provenance.mfu)}.")
    return said


def notes(report: Report) -> list[str]:
    """What a reader must know before believing the numbers."""
    coverage = report.coverage
    found = []
    if report.sample is not None:
        found += sample_notes(report.sample)
    if not report.complete:
        found.append(
            f"This run is not complete: {coverage.num_shards_done} of {coverage.num_shards} "
            "shards are in these figures."
        )
    found += quantile_notes(report.overall)
    for file, reason in coverage.unreadable_files.items():
        found.append(f"Not read: {plain(file)}: {plain(reason)}")
    if unscored := {k: v for k, v in coverage.statuses.items() if k not in SCORED}:
        counts = ", ".join(f"{count:,} {status}" for status, count in unscored.items())
        found.append(f"Documents without a score: {counts}.")
    return found


def estimated(report: Report, figure: str) -> tuple[str, str]:
    """Corpus perplexity or bits per byte: the value, and what it is: `estimated` of a sample."""
    value = getattr(report.overall, figure)
    if report.sample is None:
        about = {"corpus_perplexity": "weighted by tokens"}.get(
            figure, "compares across tokenizers"
        )
        shown, around = _estimate(report.overall, figure)
        return shown, about if around == "-" else f"{about}, 95% interval {around}"
    found = report.sample.estimates[figure]
    return estimate_in_words(value, found.interval if found else None)


def of_rows(report: Report) -> str:
    """What of a report is not an estimate is of."""
    return "" if report.sample is None else f", of the {report.sample.num_drawn:,} sampled rows"


def sample_notes(sample: Sampled) -> list[str]:
    """What a sampled run is, and what it says of the corpus."""
    said = []
    for figure, found in sample.estimates.items():
        if found is not None:
            value, how_sure = estimate_in_words(found.value, found.interval)
            said.append(f"{figure.replace('_', ' ')} {value} ({how_sure})")
    return [
        f"This run scored a sample: {sample.num_drawn:,} of {sample.num_rows:,} rows. Estimates "
        f"for the corpus: {', '.join(said) or 'none, as no row has a score'}.",
        "Tables by group and of quantiles are estimates for the corpus, too; distributions, "
        "thresholds, labels, duplicates and single documents cover the sampled rows only.",
    ]


def quantile_notes(figures: Figures) -> list[str]:
    """How far quantiles may be off, where that shows."""
    error = figures.quantile_error
    if error is None or error < NOTED_ERROR:
        return []
    return [
        f"Quantiles come from histograms, within {100 * error:.1g}% of the exact values; quantiles "
        "in requirements are exact."
    ]


def facts(report: Report) -> list[tuple[str, str]]:
    """Provenance, as names and values."""
    source = report.provenance
    throughput = "not measured"
    if source.tokens_per_second and source.documents_per_second:
        throughput = (
            f"{number(source.tokens_per_second)} tokens and "
            f"{number(source.documents_per_second)} documents per second of a worker's time"
        )
    versions = ", ".join(f"{name} {version}" for name, version in source.versions.items())
    pairs = [
        ("run", source.run),
        ("corpus", source.corpus),
        ("model", source.model.name),
        ("revision", source.model.revision or "(a local folder)"),
        ("weights", str(source.fingerprint["weights"])),
        ("tokenizer", str(source.fingerprint["tokenizer"])),
        ("architecture", source.model.architecture),
        *source.rules.in_words(),
        ("planned", source.created_at),
        ("finished", source.finished_at or "not yet"),
        ("tokens", _estimated(source)),
        ("throughput", throughput),
        ("engines idle", idle(source.engine_idle_share)),
        ("MFU", utilization(source.mfu)),
        ("scored once", _copied(source.num_rows_copied)),
        ("intervals", about_intervals(report)),
        ("versions", versions),
        *_verified(source.verification),
    ]
    if source.model.trust_remote_code:
        pairs.append(("remote code", "the model's own Python code was run"))
    return [(name, plain(value)) for name, value in pairs]


def idle(idle_share: float | None) -> str:
    """How much of their time engines waited for something to score."""
    if idle_share is None:
        return "not measured"
    return f"{share(idle_share)} of the time between their first and last step"


def utilization(mfu: float | None) -> str:
    """How near to the limit of their devices engines came."""
    if mfu is None:
        return "not measured"
    return f"{share(mfu)} of peak floating point, counting what the model itself asks for"


def _copied(num_rows: int | None) -> str:
    if num_rows is None:
        return "not counted"
    return f"{counted(num_rows, 'document')} took the score of an equal text in their shard"


def _estimated(source: Provenance) -> str:
    """What was promised against what came of it."""
    promised, scored = source.estimated_tokens, source.scored_tokens
    if promised is None:
        return "not estimated"
    if scored is None:
        return f"estimated {promised:,}"
    off = f" ({100 * (scored / promised - 1):+.1f}%)" if promised else ""
    return f"estimated {promised:,}, scored {scored:,}{off}"


def _verified(verification: Verification | None) -> list[tuple[str, str]]:
    if verification is None:
        return [("verified", "not yet")]
    failed = [check.name for check in verification.checks if not check.passed]
    verdict = f"FAILED: {', '.join(failed)}" if failed else "every check passed"
    measured = [check for check in verification.checks if check.name in ("truth", "noise floor")]
    return [("verified", verdict), *((check.name, check.detail) for check in measured)]
