"""pipeline/filters/config.py: how rules are written, and which contradict each other."""

import re

import pytest

from pipeline.errors import ConfigError
from pipeline.filters.config import load_filter_config


def load(**options):
    return load_filter_config(None, {"run": "runs/x", **options})


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("7", 7), ("300k", 300_000), ("1.5M", 1_500_000), ("2B", 2 * 10**9), ("0.1b", 10**8)],
)
def test_budget_suffixes(text, tokens):
    assert load(budget_tokens=text).budget_tokens == tokens


def test_spelling():
    config = load(
        max=["perplexity=100", "nll=1e3"],
        min=["num_tokens=-2"],
        percentile="10:90",
        buckets="tail,head",
        bucket_percentiles="30,60",
        sample_toward="20,5.5",
    )
    assert config.max == {"perplexity": 100.0, "nll": 1000.0}
    assert config.min == {"num_tokens": -2.0}
    assert config.percentile == (10.0, 90.0)
    assert config.buckets == ("head", "tail")
    assert config.bucket_percentiles == (30.0, 60.0)
    assert config.sample_toward == (20.0, 5.5)
    assert config.metrics() == ["num_tokens", "perplexity", "nll"]


def test_file_and_precedence(tmp_path):
    file = tmp_path / "f.toml"
    file.write_text(
        '[filter]\nrun = "runs/y"\nmax = {perplexity = 100}\npercentile = [10, 90]\n'
        'buckets = ["head"]\nbudget_tokens = 5\nseed = 3\n'
    )
    config = load_filter_config(file, {"seed": 4, "budget_tokens": None, "max": []})
    assert (config.run, config.max, config.seed) == ("runs/y", {"perplexity": 100.0}, 4)
    assert (config.percentile, config.buckets, config.budget_tokens) == ((10.0, 90.0), ("head",), 5)


BAD = {
    "no rule": ({}, "no rule says which documents to keep"),
    "bound": ({"max": ["perplexity"]}, "max = .*METRIC=VALUE"),
    "bound value": ({"min": ["perplexity=low"]}, "min = .*METRIC=VALUE"),
    "bound nan": ({"min": ["perplexity=nan"]}, "min"),
    "bounds crossed": ({"min": ["nll=3"], "max": ["nll=2"]}, "no nll is both at least 3"),
    "percentile text": ({"percentile": "ten"}, "percentile = 'ten': must be two numbers"),
    "percentile range": ({"percentile": "10:190"}, "percentile"),
    "percentile one": ({"percentile": "10"}, "percentile"),
    "percentile crossed": ({"percentile": "90:10"}, "percentile 90:10: LOW must not exceed HIGH"),
    "bucket percentiles crossed": (
        {"buckets": "head", "bucket_percentiles": "60,30"},
        "bucket_percentiles 60:30: LOW must not exceed HIGH",
    ),
    "bucket": ({"buckets": "head,toe"}, "buckets"),
    "bucket percentiles alone": (
        {"percentile": "1:9", "bucket_percentiles": "3,6"},
        "bucket_percentiles needs buckets",
    ),
    "bound of a metric twice": (
        {"max": ["perplexity=10", "perplexity=50"]},
        "perplexity is given twice",
    ),
    "share of a group twice": (
        {"budget_tokens": "9", "within": "lang", "shares": ["en=1", "en=2"]},
        "en is given twice",
    ),
    "bound with a suffix": (
        {"max": ["perplexity=1k"]},
        "'perplexity=1k' must be METRIC=VALUE with a plain number, as in perplexity=1000",
    ),
    "one number of a sample": ({"sample_toward": "20"}, "must be two numbers, as in 20,5"),
    "folders alone": (
        {"percentile": "1:9", "bucket_folders": True},
        "bucket_folders needs buckets",
    ),
    "budget": ({"budget_tokens": "lots"}, "budget_tokens = 'lots'"),
    "budget of nothing": ({"budget_tokens": "0"}, "budget_tokens"),
    "prefer alone": ({"percentile": "1:9", "prefer": "low"}, "prefer needs a budget"),
    "two budgets": ({"budget_tokens": "1", "budget_bytes": "1"}, "contradict each other"),
    "prefer": ({"budget_tokens": "1", "prefer": "best"}, "prefer = 'best'"),
    "metric unused": ({"max": ["nll=1"], "metric": "nll"}, "metric is given, but no rule"),
    "within unused": ({"max": ["nll=1"], "within": "lang"}, "within is given, but no rule"),
    "sample": ({"sample_toward": "20,0"}, "the standard deviation of sample_toward"),
    "two others": ({"percentile": "1:9", "minus": "a", "over": "b"}, "minus and over"),
    "other unused": ({"max": ["nll=1"], "minus": "a"}, "no rule uses the metric difference"),
    "cutoffs and percentile": (
        {"cutoffs": "x", "percentile": "1:9"},
        "cutoffs and percentile contradict",
    ),
    "cutoffs and bucket percentiles": (
        {"cutoffs": "x", "buckets": "head", "bucket_percentiles": "1,9"},
        "cutoffs and bucket_percentiles contradict",
    ),
    "weight unused": ({"max": ["nll=1"], "weight": "tokens"}, "no rule takes percentiles"),
    "weight": ({"percentile": "1:9", "weight": "words"}, "weight = 'words'"),
    "shares alone": ({"max": ["nll=1"], "shares": ["a=1"]}, "shares needs a budget"),
    "shares of all": ({"budget_tokens": "1", "shares": ["a=1"]}, "shares needs within"),
    "copies": ({"drop_copies": "all"}, "drop_copies = 'all'"),
    "copies, metric": ({"drop_copies": "first", "metric": "nll"}, "metric is given, but no rule"),
    "unscored": ({"percentile": "1:9", "unscored": "burn"}, "unscored = 'burn'"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD)
def test_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        load(**options)


HINTS = {
    "no rule": ({}, "give max, min, where, .*cutoffs, sample_toward.* or budget_bytes$"),
    "two budgets": ({"budget_tokens": "1", "budget_bytes": "1"}, "give one of them"),
    "weight": (
        {"cutoffs": "x", "weight": "tokens"},
        "add percentile or buckets, or leave out weight",
    ),
    "metric": ({"max": ["nll=1"], "metric": "nll"}, "add drop_copies or percentile or .*metric$"),
    "within": ({"max": ["nll=1"], "within": "lang"}, "add percentile or .*budget.*within$"),
    "minus": ({"max": ["nll=1"], "minus": "a"}, "add min or max of difference, or leave out minus"),
    "over": ({"max": ["nll=1"], "over": "a"}, "add min or max of ratio, or leave out over"),
    "shares of all": (
        {"budget_tokens": "1", "shares": ["a=1"]},
        "add within, or leave out shares",
    ),
}


@pytest.mark.parametrize(("options", "hint"), HINTS.values(), ids=HINTS)
def test_a_refusal_says_what_to_type(options, hint):
    with pytest.raises(ConfigError) as raised:
        load(**options)
    assert re.match(hint, raised.value.hint), raised.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"percentile": "50:50"},
        {"buckets": "head", "bucket_percentiles": "50,50"},
        {"min": ["nll=2"], "max": ["nll=2"]},
        {"sample_toward": "-20,5"},
        {"budget_bytes": "1", "prefer": "high"},
        {"budget_bytes": "1", "within": "lang", "shares": ["en=0", "de=1"]},
        {"where": "ratio > 1", "over": "b"},
        {"where": "difference > 1", "minus": "b"},
        {"percentile": "1:9", "minus": "b"},
        {"buckets": "head", "weight": "tokens"},
        {"budget_tokens": "1", "within": "lang"},
        {"drop_copies": "low", "metric": "nll"},
    ],
    ids=str,
)
def test_accepted(options):
    load(**options)


def test_a_file_that_names_no_bucket(tmp_path):
    file = tmp_path / "f.toml"
    file.write_text('[filter]\nrun = "x"\nmax = {nll = 1}\nbuckets = []\n')
    with pytest.raises(ConfigError, match="buckets names no bucket") as raised:
        load_filter_config(file, {})
    assert raised.value.hint == "known: head, middle, tail"


def test_unknown_key_has_a_near_name(tmp_path):
    file = tmp_path / "f.toml"
    file.write_text('[filter]\nrun = "x"\npercentil = [1, 2]\n')
    with pytest.raises(ConfigError, match=r"unknown key 'percentil' in \[filter\]") as raised:
        load_filter_config(file, {})
    assert raised.value.hint == "did you mean 'percentile'?"


def test_the_metric_that_two_runs_make_is_the_default():
    assert load(percentile="1:9", minus="b").chosen_metric == "difference"
    assert load(percentile="1:9", over="b").chosen_metric == "ratio"
    assert load(percentile="1:9").chosen_metric == "perplexity"


@pytest.mark.parametrize("text", ["2X", "2 tokens", "B", "-2B", "1e9"])
def test_a_budget_that_is_no_number_says_what_is(text):
    with pytest.raises(ConfigError, match=r"with k, M or B for thousands, millions or billions"):
        load_filter_config(None, {"run": "x", "budget_tokens": text})
