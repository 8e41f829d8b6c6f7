"""Figures of two tokenizers: which of them compare follows from what the registry says."""

from pipeline.comparisons.gates import PER_TOKEN
from pipeline.schema import METRICS

COMPARE = {
    *("num_bytes", "num_chars", "num_words", "num_scored_bytes", "num_scored_words"),
    *("nll", "bits_per_byte", "word_perplexity"),
}
"""What a text has, whatever its tokens are: its own sizes, its probability, and that over these."""


def test_what_depends_on_the_tokens_is_withheld_and_nothing_else():
    assert METRICS.keys() - COMPARE == PER_TOKEN
