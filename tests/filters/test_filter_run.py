"""filter_run and compare_runs as Python calls them: what they answer, write, refuse and import."""

import doctest
import html
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import build_report, compare_runs, filter_run
from pipeline.errors import ConfigError
from pipeline.filters.config import FilterConfig
from pipeline.filters.filter_run import FilterSettings
from pipeline.filters.record import FilterRecord
from tests.support.runs import score_corpus

ROOT = Path(__file__).parents[2]
TEXTS = [f"text {i} of many" * (1 + i % 4) for i in range(17)] + [None, ""]


@pytest.fixture(scope="module")
def workplace(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpus data/ and its run, runs/first."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "data").mkdir()
    sources = [("web", "books")[i % 2] for i in range(len(TEXTS))]
    pq.write_table(pa.table({"text": TEXTS, "source": sources}), folder / "data/0.parquet")
    score_corpus(folder / "data", folder / "runs/first", tiny_model, carry=("source",))
    return folder


@pytest.fixture
def at_work(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)


def test_neither_imports_an_engine(workplace):
    code = """
import sys
from pipeline import compare_runs, filter_run
filter_run(sys.argv[1], percentile=(10, 90), corpus=sys.argv[2])
compare_runs([sys.argv[1], sys.argv[1]], resamples=100)
loaded = {name.partition('.')[0] for name in sys.modules}
print(*loaded & {"vllm", "torch", "transformers", "ray"})
"""
    places = [str(workplace / name) for name in ("runs/first", "data")]
    done = subprocess.run(
        [sys.executable, "-c", code, *places], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []


def test_the_examples_run(at_work):
    said = []
    runner = doctest.DocTestRunner()
    for called in (filter_run, compare_runs):
        for example in doctest.DocTestFinder().find(called, called.__name__):
            runner.run(example, out=said.append)
    assert runner.failures == 0, "".join(said)


def test_a_filter_without_a_folder_writes_nothing(at_work, workplace):
    before = sorted(workplace.rglob("*"))
    trial = filter_run("runs/first", percentile=(10, 90), by="source")
    assert sorted(workplace.rglob("*")) == before
    record = filter_run(
        Path("runs/first"), out=workplace / "some", percentile=(10, 90), by="source"
    )
    assert record == trial
    written = FilterRecord.model_validate_json((workplace / "some/_filter.json").read_text())
    assert written == record
    kept = pl.read_parquet(workplace / "some/0.parquet")
    assert kept.height == record.after.documents


def test_a_comparison_is_written_where_it_is_asked_for(at_work, workplace):
    before = sorted(workplace.rglob("*"))
    runs = [workplace / "runs/first", "runs/first"]
    found = compare_runs(runs, baseline=runs[0], resamples=100)
    assert sorted(workplace.rglob("*")) == before
    compare_runs(runs, resamples=100, out=workplace / "diff")
    assert {file.name for file in (workplace / "diff").iterdir()} == {
        f"comparison.{ending}" for ending in ("html", "json", "md")
    }
    assert found.shifts[0].pairing.num_equal > 0


def test_settings_of_a_filter_are_those_of_the_command():
    assert (
        get_type_hints(FilterSettings).keys() | {"run", "out"} == FilterConfig.model_fields.keys()
    )


BAD_FILTERS = {
    "misspelt": ({"percentil": (1, 2)}, "unknown key 'percentil' in the settings of filter_run"),
    "no rule": ({}, "no rule says which documents to keep"),
    "not a number": ({"max": {"perplexity": "low"}}, "max = 'low': must be"),
    "two runs": ({"max": {"ratio": 1}, "minus": "a", "over": "b"}, "minus and over contradict"),
    "no such metric": ({"max": {"perplexty": 1}}, "no metric 'perplexty' in the scores"),
    "an expression of Polars": ({"where": pl.col("source") == "web"}, "must be a valid string"),
    "groups of two columns": ({"max": {"nll": 9}, "by": ["source"]}, "by = ['source']: must be"),
    "a switch for a folder": ({"max": {"nll": 9}, "out": True}, "out = True: must be a string or"),
    "cut-offs by hand": ({"cutoffs": {"web": (1, 2)}}, "cutoffs = {'web': (1, 2)}: must be"),
    "one percentile": ({"percentile": 5}, "percentile = 5: must be two numbers, as in 10:90"),
    "half a band": ({"percentile": (5,)}, "percentile = (5,): must be two numbers, as in 10:90"),
    "a bound of nothing": ({"max": 50}, "max = 50: must be METRIC=VALUE, as in perplexity=100"),
    "a number of buckets": ({"buckets": 3}, "buckets = 3: must be names, as in head,middle,tail"),
    "half a token": ({"budget_tokens": 1.5}, "budget_tokens = 1.5: must be a valid integer"),
    "keeps none": ({"max": {"perplexity": 0.1}}, "the rules keep none"),
    "rejects alone": (
        {"max": {"perplexity": 9}, "rejects": "no"},
        "rejects is given, but out is not",
    ),
}


@pytest.mark.parametrize(("settings", "message"), BAD_FILTERS.values(), ids=BAD_FILTERS)
def test_a_bad_filter_is_named_as_python_names_it(at_work, settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        filter_run("runs/first", **settings)
    assert "--" not in f"{raised.value} {raised.value.hint}"


SAME = {
    "a bound": ({"max": "perplexity=50"}, {"max": {"perplexity": 50}}),
    "a budget": ({"budget_tokens": 5e1}, {"budget_tokens": 50}),
    "percentiles": ({"percentile": "10:90"}, {"percentile": (10, 90)}),
    "a list": ({"percentile": [10, 90]}, {"percentile": (10, 90)}),
}


@pytest.mark.parametrize(("given", "meant"), SAME.values(), ids=SAME)
def test_what_python_writes_means_what_the_command_line_does(at_work, given, meant):
    given, meant = (
        filter_run("runs/first", **settings, force=True).model_dump(exclude={"rules"})
        for settings in (given, meant)
    )
    assert given == meant
    assert given["after"]["documents"] < given["before"]["documents"]


def test_fractions_in_place_of_percentiles_are_guessed(at_work):
    with pytest.raises(ConfigError, match="the rules keep none") as raised:
        filter_run("runs/first", percentile=(0.05, 0.8))
    assert raised.value.hint.startswith("percentiles go from 0 to 100; loosen the rules")


@pytest.mark.parametrize(
    ("settings", "is_doubted"),
    [
        ({"percentile": (0, 0.9)}, True),
        ({"percentile": (0, 1)}, True),
        ({"percentile": (0.1, 90)}, False),
        ({"buckets": ["tail"], "bucket_percentiles": (0.3, 0.6)}, True),
        ({"buckets": ["tail"]}, False),
    ],
    ids=str,
)
def test_fractions_that_keep_something_are_said(at_work, settings, is_doubted):
    """In a large corpus there is something between any two percentiles."""
    record = filter_run("runs/first", **settings)
    assert any("are among the lowest 1%, not" in line for line in record.words) == is_doubted


def test_results_say_what_they_are(at_work, workplace, tmp_path):
    """At a prompt a line, printed their tables, in a notebook their pages."""
    report = build_report("runs/first", by="source", out=tmp_path / "report")
    comparison = compare_runs(["runs/first", "runs/first"], by="source", out=tmp_path / "compared")
    record = filter_run("runs/first", percentile=(10, 90), by="source")

    for result, start in (
        (report, "<Report of 19 documents, 17 scored: "),
        (comparison, "<Comparison (repeats) of first, first (2) with first: "),
        (record, f"<FilterRecord: {record.after.documents} of 19 documents, "),
    ):
        assert repr(result).startswith(start)
        assert "\n" not in repr(result)
        assert "| web |" in str(result)
    assert "##  " not in str(record)
    for result, page in ((report, "report/report.html"), (comparison, "compared/comparison.html")):
        frame = result._repr_html_()
        written = (tmp_path / page).read_text()
        assert html.unescape(frame.split('"')[1]) == written
        assert (tmp_path / page).with_suffix(".md").read_text() == str(result)
    assert not (workplace / "runs/first/report.html").exists()


def test_a_report_is_not_written_over_a_file(at_work, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        build_report("runs/first", out=tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"
