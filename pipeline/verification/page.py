"""A verification as a page: its verdicts, and the sampled documents that are furthest off."""

from pipeline.rendering.formats import count
from pipeline.rendering.page import Page, Section
from pipeline.rendering.table import Marked, Table, Whole, Words
from pipeline.verification.verify import Verification


def to_page(verification: Verification) -> Page:
    """One line per check, then what the reference says."""
    checks = Table(
        columns=("check", Whole(""), Words("")),
        rows=[
            (
                check.name,
                Marked("ok", "good") if check.passed else Marked("FAILED", "bad"),
                check.detail,
            )
            for check in verification.checks
        ],
        has_header=False,
    )
    sections = [Section("", [checks])]
    if (truth := verification.truth) is not None:
        about = (
            f"Perplexity of the sample as scored: {truth.corpus_perplexity:.6g}; by the float32 "
            f"reference: {truth.reference_corpus_perplexity:.6g}. Relative error of a document's "
            f"perplexity: {truth.largest_perplexity_error:.2e} at most, "
            f"{truth.mean_perplexity_error:.2e} on average. The documents with the largest errors:"
        )
        worst = Table(
            columns=("document", "tokens", "nll", "reference", "error"),
            rows=[
                (
                    f"{one.file} row {one.row}",
                    count(one.num_tokens),
                    f"{one.nll:.4f}",
                    f"{one.reference_nll:.4f}",
                    f"{one.nll_error:.2e}",
                )
                for one in truth.worst
            ],
        )
        sections.append(Section("", [about, worst]))
    return Page(title="Verification", sections=sections)
