"""What figures can be, and gates that could never fail."""

import math
import random

import polars as pl
import pytest

from pipeline.errors import ConfigError
from pipeline.reports.gate import Gate
from pipeline.reports.ranges import range_of
from pipeline.reports.requirements import Requirement
from pipeline.reports.term_values import Rows
from pipeline.schema import METRICS

NEVER = {
    "decrease(tokens) > 1": ("is never true.*: decrease.tokens. is at most 1", "1%"),
    "decrease(tokens) > 100%": ("is at most 1", None),
    "high(decrease(bits_per_byte)) > 2": ("is at most 1", "2%"),
    "increase(tokens) < -5": ("is at least -1", "-5%"),
    "share(perplexity > 100) > 5": ("share.perplexity > 100. is from 0 to 1", "5%"),
    "5 < group(lang, 'en', share(status == 'ok'))": ("is from 0 to 1", "5%"),
    "not share(perplexity > 100) <= 5": ("is never false", "5%"),
    "between(lang) > 1": ("is at most 1", "1%"),
    "psi(perplexity) < 0": ("is at least 0", None),
    "p95(perplexity) <= -1": ("is at least 0", None),
    "baseline(documents) == -1": ("is at least 0", None),
    "tokens > 5 or any(lang, decrease(documents) > 20)": ("at character 25", "20%"),
    "tokens > 5 and 3 < 2": ("3 < 2 is never true", None),
}


@pytest.mark.parametrize("source", NEVER)
def test_what_is_never_true_is_refused(source: str):
    said, meant = NEVER[source]
    with pytest.raises(ConfigError, match=said) as caught:
        Requirement.read(source)
    assert caught.value.hint == (meant and f"did you mean {meant}?")


@pytest.mark.parametrize(
    "source",
    [
        "decrease(tokens) >= 1",
        "increase(tokens) > 5",
        "increase(tokens) <= -1",
        "share(perplexity > 100) >= 1",
        "share(perplexity > 100) <= 0",
        "between(lang) < 0",
        "psi(perplexity) > 5",
        "mean(min_k_logprob) < -3",
        "decrease(p5(min_k_logprob)) > 2",
        "mean(price) < 0",
        "decrease(mean(price)) > 2",
        "tokens < baseline(tokens)",
        "not tokens > 3",
    ],
)
def test_what_could_be_true_is_read(source: str):
    Requirement.read(source)


def test_no_figure_is_outside_its_range():
    draw = random.Random(0)
    figures = [
        *("documents", "tokens", "bytes", "bits_per_byte", "corpus_perplexity", "mean(price)"),
        *("share(nll > 5)", "p50(perplexity)", "mean(min_k_logprob)", "p5(min_k_logprob)"),
    ]
    figures += [f"{how}({one})" for how in ("increase", "decrease", "baseline") for one in figures]
    asked = [Requirement.bound(f"{one} > 0") for one in figures]
    for _ in range(30):
        gate = Gate(asked, Rows(_scores(draw)), Rows(_scores(draw)))
        for one, judged in zip(asked, gate.judge(), strict=True):
            (term,) = one.terms.values()
            value, of = judged.values.get(term.source), range_of(term)
            assert value is None or of.low <= value <= of.high, term.source


def _scores(draw: random.Random) -> pl.LazyFrame:
    rows = []
    for _ in range(draw.randint(0, 3)):
        tokens = draw.choice([0, 1, 7])
        nll = None if not tokens else draw.choice([0.0, 3.0, 50.0])
        perplexity = None if nll is None else math.exp(nll / tokens)
        low = None if nll is None else draw.choice([0.0, -0.1, -9.0])
        rows.append((tokens, 8, 8, nll, perplexity, low, draw.choice([-5.0, 0.0, 5.0])))
    names = ["num_tokens", "num_bytes", "num_scored_bytes", "nll", "perplexity", "min_k_logprob"]
    assert METRICS.keys() >= set(names)
    kinds = [pl.Int64, pl.Int64, pl.Int64, pl.Float64, pl.Float64, pl.Float64, pl.Float64]
    return pl.LazyFrame(rows, schema=dict(zip([*names, "price"], kinds, strict=True)), orient="row")
