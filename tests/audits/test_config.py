"""The [audit] table: what it may say, and the place of every mistake."""

import re
from pathlib import Path

import pytest

from pipeline.audits.config import Webhook, load_audit_config, load_night_config
from pipeline.audits.record import Part
from pipeline.audits.require import METRICS
from pipeline.errors import ConfigError
from pipeline.reports.figures import Average, Figures
from pipeline.schema import RATIOS

SECRET = "T0B0s3cr3t"


@pytest.fixture
def load(tmp_path: Path):
    def write_and_load(audit: str, *, runs: str = 'runs = "runs"\n'):
        file = tmp_path / "nightly.toml"
        file.write_text(f"[audit]\n{runs}{audit}")
        return load_audit_config(file)

    return write_and_load


def test_what_is_not_set(load):
    config = load("")
    assert (config.runs, config.baseline, config.by, config.reuse) == ("runs", "last", (), True)
    assert (config.sample_rows, config.sampled, config.require) == ("all", False, ())
    assert config.webhook is None


def test_what_is_set(load):
    config = load(
        'by = ["source", "lang"]\nsample_rows = 1_000\nsample_by = "lang"\nseed = 3\n'
        '[[audit.require]]\nmetric = "p95"\nmax = 5\nmax_psi = 0.1\n'
        '[[audit.require]]\nmetric = "error"\nby = "site"\nmax = 0.5\n'
        f'[audit.webhook]\nurl = "https://example.com/{SECRET}"\nformat = "slack"\n'
    )
    assert (config.sample_rows, config.sample_by, config.seed) == (1000, "lang", 3)
    assert config.columns == ("source", "lang", "site")
    assert config.require[0].bounds == {"max": 5.0, "max_psi": 0.1}
    assert config.webhook.address() == f"https://example.com/{SECRET}"
    assert SECRET not in repr(config)


REQUIRE = "[[audit.require]]\n"
GOOD = REQUIRE + 'metric = "error"\nmax = 0\n'
WEBHOOK = "[audit.webhook]\n"
MISTAKES = {
    "unknown key": ("keep = 3", "unknown key 'keep' in [audit] of "),
    "unknown metric": (
        GOOD + REQUIRE + 'metric = "corpus_perplexty"\nmax = 5',
        "metric in [[audit.require]] 2 of {file} = 'corpus_perplexty': no such metric; "
        "did you mean corpus_perplexity?",
    ),
    "unknown metric, nothing near": (
        REQUIRE + 'metric = "zzz"\nmax = 5',
        "no such metric; known: corpus_perplexity, ",
    ),
    "no metric": (
        REQUIRE + "max = 5",
        "[[audit.require]] 1 of {file}: has no bound; give metric and a bound, or fail_if",
    ),
    "an expression and a bound": (
        REQUIRE + 'fail_if = "tokens < 5"\nmetric = "error"\nmax = 0',
        "[[audit.require]] 1 of {file}: fail_if cannot be combined with metric, by or bounds",
    ),
    "unknown key of a requirement": (
        GOOD + REQUIRE + 'metric = "error"\nmaximum = 5',
        "unknown key 'maximum' in [[audit.require]] 2 of ",
    ),
    "no bound": (
        REQUIRE + 'metric = "error"',
        "[[audit.require]] 1 of {file}: has no bound; give one of min, max, max_increase",
    ),
    "psi of a count": (
        REQUIRE + 'metric = "num_tokens"\nmax_psi = 0.1',
        "num_tokens has no distribution; max_psi needs perplexity or bits_per_byte",
    ),
    "bounds that exclude each other": (
        REQUIRE + 'metric = "error"\nmin = 2\nmax = 1',
        "min = 2 is above max = 1",
    ),
    "a bound that is no number": (
        REQUIRE + 'metric = "error"\nmax = "5"',
        "max in [[audit.require]] 1 of {file} = '5': must be a valid number",
    ),
    "nan": (REQUIRE + 'metric = "error"\nmax = nan', "max in [[audit.require]] 1 of"),
    "a negative share": (REQUIRE + 'metric = "error"\nmax_increase = -0.1', "max_increase in"),
    "a decrease above 1": (
        REQUIRE + 'metric = "num_documents"\nmax_decrease = 20',
        "max_decrease in [[audit.require]] 1 of {file} = 20: a decrease above 1 is impossible; "
        "did you mean 0.2?",
    ),
    "a decrease that never fails": (
        REQUIRE + 'metric = "corpus_perplexity"\nmax_decrease = 1',
        "max_decrease in [[audit.require]] 1 of {file} = 1: a decrease above 1 is impossible; "
        "did you mean 0.01?",
    ),
    "a share that never fails": (
        REQUIRE + 'metric = "error"\nmax = 5',
        "[[audit.require]] 1 of {file}: max = 5 never fails: error is a share of the documents, "
        "never above 1; did you mean 0.05?",
    ),
    "a count that never fails": (
        REQUIRE + 'metric = "num_documents"\nmin = 0',
        "[[audit.require]] 1 of {file}: min = 0 never fails: num_documents is never below 0",
    ),
    "a metric of a document": (
        REQUIRE + 'metric = "perplexity"\nmax = 9',
        "metric in [[audit.require]] 1 of {file} = 'perplexity': is a metric of one document; "
        "write corpus_perplexity, p50 or p95 for that of many",
    ),
    "another metric of a document": (
        REQUIRE + 'metric = "nll_std"\nmax = 9',
        "metric in [[audit.require]] 1 of {file} = 'nll_std': is a metric of one document; "
        "write fail_if = 'mean(nll_std) > ...', without metric, for that of many",
    ),
    "a share in percent": (
        REQUIRE + 'metric = "num_documents"\nmax_increase = "20%"',
        "max_increase in [[audit.require]] 1 of {file} = '20%': must be a number; did you mean "
        "0.2?",
    ),
    "require is a table": (
        '[audit.require]\nmetric = "error"',
        "require in [audit] of {file} is not a list of tables",
    ),
    "sample_rows": ('sample_rows = "some"', "sample_rows in [audit] of {file} = 'some': "),
    "sample_by alone": ('sample_by = "x"', "sample_by in [audit] of {file} is set, but"),
    "by": ("by = 5", "by in [audit] of {file} = 5: "),
    "webhook without address": (WEBHOOK, "[audit.webhook] of {file}: needs one of url_env and url"),
    "webhook with two": (
        WEBHOOK + f'url = "http://x/{SECRET}"\nurl_env = "X"',
        "[audit.webhook] of {file}: needs one of url_env and url",
    ),
    "webhook that is no URL": (
        WEBHOOK + f'url = "ftp://x/{SECRET}"',
        "[audit.webhook] of {file}: url must begin with http:// or https://",
    ),
    "webhook of another type": (
        WEBHOOK + f'url = ["https://x/{SECRET}"]',
        "url in [audit.webhook] of {file}: must be a valid string",
    ),
    "webhook that is no table": (
        f'webhook = "https://x/{SECRET}"',
        "webhook in [audit] of {file} is not a table (at line ",
    ),
    "webhook's format": (
        WEBHOOK + 'url_env = "X"\nformat = "xml"',
        "format in [audit.webhook] of {file} = 'xml': must be 'json' or 'slack'",
    ),
}


@pytest.mark.parametrize(("audit", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_its_place(load, tmp_path, audit, message):
    expected = message.replace("{file}", str(tmp_path / "nightly.toml"))
    with pytest.raises(ConfigError, match=re.escape(expected)) as raised:
        load(audit)
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)


def test_runs_is_needed(load):
    with pytest.raises(ConfigError, match=r"runs is not set in \[audit\] of "):
        load("", runs="")


def test_the_address_comes_from_the_environment():
    webhook = Webhook(url_env="HOOK")
    assert webhook.address({"HOOK": "https://example.com/x\n"}) == "https://example.com/x"
    with pytest.raises(ConfigError, match="the environment variable HOOK, which is not set"):
        webhook.address({})
    with pytest.raises(ConfigError, match="holds no http") as raised:
        webhook.address({"HOOK": f"hooks.example.com/{SECRET}"})
    assert SECRET not in str(raised.value)


NIGHTS = {
    "out": ('out = "x"', "", "out in [score] of", "use runs in [audit]"),
    "reuse": ('reuse = "x"', "", "reuse in [score] of", "use reuse in [audit]"),
    "limit": ("limit = 5", "sample_rows = 5", "limit in [score] of", "all rows"),
    "a column": ('carry = ["lang"]', 'by = "lan"', "by in [audit] of", "did you mean 'lang'?"),
    "no column": ("", 'by = "lang"', "by in [audit] of", 'add carry = ["lang"] to [score]'),
    "a metric, misspelt": (
        "",
        REQUIRE + 'fail_if = "p95(perplexty) > 9"',
        "fail_if in [[audit.require]] 1 of",
        "did you mean 'perplexity'?",
    ),
    "of a requirement": (
        'carry = ["lang"]',
        REQUIRE + 'metric = "error"\nmax = 0\nby = "site"',
        "by in [[audit.require]] 1 of",
        "known: lang",
    ),
}


@pytest.mark.parametrize(("score", "audit", "message", "hint"), NIGHTS.values(), ids=NIGHTS)
def test_what_a_night_may_not_score(load, tmp_path, score, audit, message, hint):
    text = f'[score]\ncorpus = "c"\nmodel = "m"\n{score}\n[audit]\nruns = "runs"\n{audit}'
    file = tmp_path / "n.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        load_night_config(file, load_audit_config(file), "runs/2026-11-22")
    assert hint in raised.value.hint


def test_columns_may_be_carried_in_one_text(tmp_path):
    file = tmp_path / "n.toml"
    score = '[score]\ncorpus = "c"\nmodel = "m"\ncarry = "source,lang"\n'
    file.write_text(f'{score}[audit]\nruns = "runs"\nby = ["lang", "source"]\n')
    assert load_night_config(file, load_audit_config(file), "runs/x").carry == ("source,lang",)
    file.write_text(f'{score}[audit]\nruns = "runs"\nby = "lan"\n')
    with pytest.raises(ConfigError, match="names column 'lan'") as raised:
        load_night_config(file, load_audit_config(file), "runs/x")
    assert raised.value.hint == "did you mean 'lang'?"


def test_every_metric_can_be_had():
    quantiles = {f"p{q}": float(q) for q in (1, 5, 25, 50, 75, 95, 99)}
    figures = Figures(
        num_documents=1,
        num_scored=1,
        num_tokens=1,
        num_bytes=1,
        nll=1.0,
        corpus_perplexity=2.0,
        document_perplexity=3.0,
        bits_per_token=4.0,
        bits_per_byte=5.0,
        averages=dict.fromkeys(RATIOS, Average(micro=6.0, macro=7.0, count=1)),
        quantiles={"perplexity": quantiles, "bits_per_byte": {}},
    )
    part = Part(figures=figures, statuses={"ok": 0.75, "error": 0.25})
    values = {metric: part.value(metric) for metric in METRICS}
    assert None not in values.values()
    assert (values["error"], values["null"], values["p95"]) == (0.25, 0.0, 95.0)
    assert (values["corpus_perplexity"], values["bits_per_byte"]) == (2.0, 5.0)
    assert (values["word_perplexity"], values["document_word_perplexity"]) == (6.0, 7.0)
