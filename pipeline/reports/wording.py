"""A report in words: number formats, sentences, and what a reader must know.

Owns what figures are called; terminal, Markdown and page say the same.
"""

from pipeline.rendering.escaping import plain
from pipeline.rendering.formats import estimate_in_words, number, percent_of
from pipeline.reports.excerpts import Example
from pipeline.reports.figures import Figures
from pipeline.reports.report import Provenance, Report
from pipeline.reports.requirements import Finding
from pipeline.reports.sampled import Sampled
from pipeline.verification.verify import Verification

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
    ("per word", "word perplexity: exp(sum nll / sum words), words split at white space"),
)
TERMINAL_COLUMNS = ("documents", "tokens", "perplexity", "p5", "median", "p95", "bits/byte")

NOTED_ERROR = 1e-5
"""Of quantiles: below it no digit that is shown can be wrong."""


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
        number(figures.average("word_perplexity")),
    ]


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
        f"{found.num_copies:,} copies ({percent_of(found.num_copies, found.num_documents)}) with "
        f"{found.copied_tokens:,} tokens."
    )


def verdict(finding: Finding) -> str:
    if not finding.judged:
        return "FAILED: cannot be judged"
    return "FAILED" if finding.failed else "passed"


def values_of(finding: Finding) -> str:
    """Each figure and its value."""
    shown = (
        f"{name} = {'nothing to measure' if value is None else f'{value:.6g}'}"
        for name, value in finding.values.items()
    )
    return ", ".join(shown)


def standing(example: Example) -> str:
    """An example's scores."""
    bits = "" if example.bits_per_byte is None else f", {number(example.bits_per_byte)} bits/byte"
    return f"perplexity {number(example.perplexity)}{bits}, {example.num_tokens:,} tokens"


def excerpt_lines(example: Example) -> list[str]:
    """The excerpt a line at a time, or why there is none."""
    if example.excerpt is None:
        return [f"({example.missing})"] if example.missing else []
    lines = [line.replace("\t", "    ") for line in example.excerpt.splitlines()] or [""]
    return lines if example.is_whole else [*lines[:-1], f"{lines[-1]}…"]


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
    unscored = {k: v for k, v in coverage.statuses.items() if k not in ("ok", "truncated")}
    if unscored:
        counts = ", ".join(f"{count:,} {status}" for status, count in unscored.items())
        found.append(f"Documents without a score: {counts}.")
    return found


def estimated(report: Report, figure: str) -> tuple[str, str]:
    """Corpus perplexity or bits per byte: the value, and what it is: `estimated` of a sample."""
    value = getattr(report.overall, figure)
    if report.sample is None:
        about = {"corpus_perplexity": "weighted by tokens"}
        return number(value), about.get(figure, "compares across tokenizers")
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
        f"A sample: {sample.num_drawn:,} of the corpus's {sample.num_rows:,} rows are scored. "
        f"What it says of the corpus: {', '.join(said) or 'nothing, no row has a score'}.",
        "Tables of figures by group and quantiles are estimates of the corpus too; distributions, "
        "thresholds, labels, duplicates and documents are of the sampled rows.",
    ]


def quantile_notes(figures: Figures) -> list[str]:
    """How far quantiles may be off, where that shows."""
    error = figures.quantile_error
    if error is None or error < NOTED_ERROR:
        return []
    return [
        f"Quantiles are read off bins and lie within {100 * error:.1g}% of the exact values; "
        "those that a requirement asks for are exact."
    ]


def facts(report: Report) -> list[tuple[str, str]]:
    """Provenance, as names and values."""
    source, rules = report.provenance, report.provenance.rules
    throughput = "not measured"
    if source.tokens_per_second and source.documents_per_second:
        throughput = (
            f"{number(source.tokens_per_second)} tokens and "
            f"{number(source.documents_per_second)} documents a second of a worker's time"
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
        ("dtype", rules.dtype),
        ("prefix", f"{rules.prefix} (token {rules.prefix_token_id})"),
        ("windows", f"{rules.window_tokens} tokens, {rules.context_tokens} of context"),
        ("long documents", rules.long_documents),
        ("planned", source.created_at),
        ("finished", source.finished_at or "not yet"),
        ("tokens", _estimated(source)),
        ("throughput", throughput),
        ("engines idle", idle(source.engine_idle_share)),
        ("scored once", _copied(source.num_rows_copied)),
        ("versions", versions),
        *_verified(source.verification),
    ]
    if source.model.trust_remote_code:
        pairs.append(("remote code", "the model's own Python code was run"))
    return [(name, plain(value)) for name, value in pairs]


def idle(share: float | None) -> str:
    """The share of their time that engines waited for something to score."""
    if share is None:
        return "not measured"
    return f"{100 * share:.1f}% of the time between their first and last step"


def _copied(num_rows: int | None) -> str:
    if num_rows is None:
        return "not counted"
    return f"{num_rows:,} documents are copies that took the score of an equal text in their shard"


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
