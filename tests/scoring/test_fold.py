"""Metrics against numbers worked out by hand; sums that no cut into windows can change."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.schema import LARGEST_EXPONENT, METRICS, RATIOS
from pipeline.scoring.fold import (
    fold_document,
    measure,
    ratios,
    token_statistics,
    unscored,
)

NULL_WHEN_UNSCORED = ("nll", "nll_std", "max_nll", "min_k_logprob", *RATIOS)

TEXT = "héllo wörld"  # 11 characters, 13 bytes, 2 words


def fold(
    *windows: list[float],
    text: str = TEXT,
    scored_text: str | None = None,
    skipped: int = 0,
    min_k_percent: float = 20.0,
):
    return fold_document(
        text,
        text if scored_text is None else scored_text,
        np.concatenate([np.array(window, dtype=np.float64) for window in windows]),
        status="ok",
        num_windows=len(windows),
        num_skipped_tokens=skipped,
        min_k_percent=min_k_percent,
    )


def orders(values: list[float]) -> st.SearchStrategy[tuple[list[float], list[float]]]:
    """The values as they are, and in another order."""
    return st.tuples(st.just(values), st.permutations(values))


def test_ratios_by_hand():
    # Four tokens of probability 1/4, 1/2, 1/8 and 1/4: 2 + 1 + 3 + 2 = 8 bits.
    nll = 8 * math.log(2)
    assert ratios(nll, 4, 16, 2) == pytest.approx(
        {
            "perplexity": 4.0,  # 2 ** (8 bits / 4 tokens)
            "bits_per_token": 2.0,
            "bits_per_byte": 0.5,
            "word_perplexity": 16.0,  # 2 ** (8 bits / 2 words)
        },
        rel=1e-14,
    )


def test_fold_by_hand():
    score = fold([math.log(1 / 4), math.log(1 / 2)], [math.log(1 / 8)])
    assert score.status == "ok"
    assert score.error is None
    assert (score.num_tokens, score.num_skipped_tokens, score.num_windows) == (3, 0, 2)
    assert (score.num_chars, score.num_bytes, score.num_words) == (11, 13, 2)
    assert (score.num_scored_bytes, score.num_scored_words) == (13, 2)
    assert score.nll == pytest.approx(math.log(64), rel=1e-15)
    assert score.perplexity == pytest.approx(4.0, rel=1e-14)
    assert score.bits_per_token == pytest.approx(2.0, rel=1e-14)
    assert score.bits_per_byte == pytest.approx(6 / 13, rel=1e-14)
    assert score.word_perplexity == pytest.approx(8.0, rel=1e-14)


def test_every_token_certain_is_perplexity_one():
    score = fold([0.0, 0.0])
    assert (score.nll, score.perplexity, score.bits_per_token) == (0.0, 1.0, 0.0)


@given(st.floats(0, 1e6), st.integers(1, 10**6))
def test_perplexity_is_two_to_the_bits_per_token(nll, num_tokens):
    found = ratios(nll, num_tokens, 1, 1)
    if found["perplexity"] is not None:
        assert found["bits_per_token"] is not None
        assert math.log2(found["perplexity"]) == pytest.approx(
            found["bits_per_token"], rel=1e-9, abs=1e-12
        )


def test_corpus_perplexity_is_not_the_mean_of_perplexities():
    # One token of probability 1/16, and three of probability 1/2: 7 bits over 4 tokens.
    short, long = fold([math.log(1 / 16)]), fold([math.log(1 / 2)] * 3)
    assert short.nll is not None
    assert long.nll is not None
    corpus = ratios(short.nll + long.nll, short.num_tokens + long.num_tokens, 1, 1)
    assert corpus["perplexity"] == pytest.approx(2 ** (7 / 4), rel=1e-14)
    mean = np.mean([short.perplexity, long.perplexity])
    assert mean == pytest.approx(9.0)
    assert corpus["perplexity"] < mean / 2


def test_a_truncated_document_is_divided_by_what_was_scored():
    # Half of the text and of the tokens: per byte and per word it must look as surprising.
    whole = fold([-1.0] * 4, text="ab cd ef gh")
    half = fold([-1.0] * 2, text="ab cd ef gh", scored_text="ab cd", skipped=2)
    assert half.num_bytes == 11
    assert half.num_words == 4
    assert (half.num_scored_bytes, half.num_scored_words) == (5, 2)
    assert half.num_skipped_tokens == 2
    assert half.word_perplexity == whole.word_perplexity
    assert half.bits_per_byte == pytest.approx(2 / math.log(2) / 5)


@pytest.mark.parametrize("place", ["first window", "last window"])
@pytest.mark.parametrize("value", [-math.inf, math.inf, math.nan], ids=["-inf", "inf", "nan"])
def test_a_number_that_is_not_finite_is_an_error_without_metrics(value, place):
    windows = [[-1.0, -2.0], [-3.0]]
    windows[0 if place == "first window" else 1][0] = value
    score = fold(*windows, skipped=1)
    assert (score.status, score.error) == ("error", "nonfinite")
    assert {getattr(score, name) for name in NULL_WHEN_UNSCORED} == {None}
    # Nothing of it counts as scored, or a corpus's nll / tokens would be too small.
    assert (score.num_tokens, score.num_windows, score.num_scored_bytes) == (0, 0, 0)
    assert score.num_skipped_tokens == 4
    assert (score.num_bytes, score.num_words) == (13, 2)


def test_word_perplexity_is_null_where_a_float_cannot_hold_it():
    score = fold([-8.0] * 100, text="a" * 300)
    assert score.word_perplexity is None
    assert score.perplexity == pytest.approx(math.exp(8))


@pytest.mark.parametrize(
    ("exponent", "fits"),
    [(LARGEST_EXPONENT, True), (math.nextafter(LARGEST_EXPONENT, math.inf), False)],
    ids=["largest", "one step more"],
)
def test_the_largest_exponent_is_the_border_of_overflow(exponent, fits):
    found = ratios(exponent, 1, 1, 1)
    assert (found["perplexity"] is not None) == fits
    if fits:
        assert math.isfinite(found["perplexity"])


@pytest.mark.parametrize(
    ("counts", "null"),
    [
        ((0, 5, 5), {"perplexity", "bits_per_token"}),
        ((5, 0, 5), {"bits_per_byte"}),
        ((5, 5, 0), {"word_perplexity"}),
    ],
    ids=["no tokens", "no bytes", "no words"],
)
def test_there_is_no_ratio_to_nothing(counts, null):
    assert {name for name, value in ratios(3.0, *counts).items() if value is None} == null


def test_white_space_alone_has_no_word_perplexity():
    score = fold([-1.0, -2.0], text=" \n\t")
    assert score.word_perplexity is None
    assert score.bits_per_byte == pytest.approx(3 / math.log(2) / 3)


@given(
    st.lists(st.floats(-1e3, 0), min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_no_cut_into_windows_changes_the_score(values, cuts):
    bounds = sorted({0, *(cut for cut in cuts if cut < len(values)), len(values)})
    windows = [values[i:j] for i, j in pairwise(bounds)]
    whole, cut = fold(values)._asdict(), fold(*windows)._asdict()
    assert cut.pop("num_windows") == len(windows)
    assert whole.pop("num_windows") == 1
    assert cut == whole  # to the last bit


@given(st.lists(st.floats(-1e3, 0), min_size=1, max_size=60).flatmap(orders))
def test_no_order_of_tokens_changes_nll(values_and_shuffled):
    values, shuffled = values_and_shuffled
    assert fold(shuffled).nll == fold(values).nll == float(-sum(map(Fraction, values)))


def test_nll_does_not_lose_small_terms_beside_large_ones():
    # Added from left to right in float64, each of the small terms would be rounded away.
    assert fold([-1e16, *[-1.0] * 64]).nll == 1e16 + 64


def test_token_statistics_by_hand():
    found = token_statistics(np.array([-1.0, -7.0, -3.0, -5.0]), 50.0)
    assert found["max_nll"] == 7.0
    assert found["nll_std"] == pytest.approx(math.sqrt(5), rel=1e-15)  # deviations 3, 3, 1, 1
    assert found["min_k_logprob"] == -6.0  # the mean of -7 and -5


@pytest.mark.parametrize(
    ("min_k_percent", "expected"),
    [(0.1, -10.0), (10.0, -10.0), (20.0, -9.5), (29.0, -9.5), (30.0, -9.0), (100.0, -5.5)],
    ids=["at least one", "one", "two", "rounded down", "three", "all"],
)
def test_min_k_takes_the_least_likely_share(min_k_percent, expected):
    values = [-float(i) for i in (4, 10, 1, 7, 2, 9, 3, 8, 5, 6)]
    assert fold(values, min_k_percent=min_k_percent).min_k_logprob == pytest.approx(expected)


def test_one_token_has_no_spread():
    score = fold([-2.5], min_k_percent=1.0)
    assert (score.nll_std, score.max_nll, score.min_k_logprob) == (0.0, 2.5, -2.5)


def test_the_metrics_named_in_the_schema_are_the_ones_derived():
    assert tuple(ratios(1.0, 1, 1, 1)) == tuple(RATIOS)


@pytest.mark.parametrize(
    ("text", "counts"),
    [("", (0, 0, 0)), ("a b", (3, 3, 2)), ("😀\u00a0x", (7, 3, 2)), (" \x00 ", (3, 3, 1))],
    ids=["empty", "plain", "emoji and no-break space", "NUL"],
)
def test_text_counts(text, counts):
    found = measure(text)
    assert (found["num_bytes"], found["num_chars"], found["num_words"]) == counts


@given(
    st.text(st.characters(max_codepoint=0x3000)) | st.text("ab \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0")
)
def test_words_are_what_python_splits_at_white_space(text):
    assert measure(text)["num_words"] == len(text.split())


@given(st.lists(st.floats(-1e3, 0), min_size=1, max_size=300))
def test_the_spread_is_numpy_s_to_the_last_bit(values):
    logprobs = np.array(values)
    assert token_statistics(logprobs, 20.0)["nll_std"] == float(np.std(logprobs))


def test_an_unscored_row_has_counts_and_null_metrics():
    score = unscored("skipped", TEXT, error="too_long", num_tokens=9)
    assert (score.status, score.error, score.num_skipped_tokens) == ("skipped", "too_long", 9)
    assert (score.num_tokens, score.num_bytes) == (0, 13)
    assert {getattr(score, name) for name in NULL_WHEN_UNSCORED} == {None}


def test_a_null_text_counts_nothing():
    score = unscored("null", None)
    assert (score.num_bytes, score.num_chars, score.num_words) == (0, 0, 0)
    assert score.text_hash is None


def test_the_text_hash_is_blake2b_of_8_bytes():
    # What `b2sum -l 64` prints, read as a little-endian signed integer.
    expected = int.from_bytes(bytes.fromhex("d8bb14d833d59559"), "little", signed=True)
    assert measure("abc")["text_hash"] == expected
    assert measure("")["text_hash"] is not None


@given(st.lists(st.floats(-1e3, 0), min_size=1, max_size=60))
def test_only_a_metric_that_says_so_is_negative(values):
    """The log axis of a page is chosen by it."""
    score = fold(values)._asdict()
    assert {name for name in METRICS if (score[name] or 0) < 0} <= {
        name for name, metric in METRICS.items() if metric.is_signed
    }
