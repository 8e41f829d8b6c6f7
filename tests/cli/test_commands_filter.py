"""`winnow filter` as a user types it: words, exit codes, what is written."""

import json
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.runs import score_corpus


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    corpus = folder / "corpus"
    corpus.mkdir()
    texts = [None, "", *(f"{'yx' * (i % 5)} {i * i}" for i in range(28))]
    langs = ["[bold]en", "de\x1b[31m", None] * 10
    years = [2019, 2020, None] * 10
    pq.write_table(pa.table({"text": texts, "lang": langs, "year": years}), corpus / "a.parquet")
    (corpus / "torn.parquet").write_bytes(b"PAR1")
    score_corpus(corpus, folder / "run", tiny_model, carry=("lang", "year"))
    return folder


@pytest.fixture
def winnow(winnow):
    """arguments of `winnow filter` -> (exit code, stdout, stderr)."""
    return partial(winnow, "filter")


def test_dry_run_shows_the_mix_and_writes_nothing(winnow, made, tmp_path):
    code, out, err = winnow(
        made / "run",
        "--out",
        tmp_path / "o",
        "--percentile",
        "20:80",
        "--within",
        "lang",
        "--by",
        "lang",
        "--dry-run",
    )
    assert code == 1  # torn.parquet is missing from the output
    assert "[bold]en" in out
    assert "\x1b" not in out
    assert "(null)" in out
    assert "2 documents without a score are dropped: 1 empty, 1 null" in err
    assert "Neither kept nor rejected: torn.parquet" in err
    assert "Dry run: nothing was written." in err
    assert not (tmp_path / "o").exists()


def test_what_lacks_a_value_is_said_in_words(winnow, made):
    _, _, err = winnow(made / "run", "--max", "year=2019", "--dry-run")
    assert ": 1 empty, 10 without a value of the metric, 1 null" in err


def test_json_is_the_record(winnow, made, tmp_path):
    code, out, _ = winnow(made / "run", "--out", tmp_path / "o", "--max", "perplexity=5", "--json")
    assert code == 1
    said = json.loads(out)
    assert said.pop("out") == str(tmp_path / "o")
    assert said == json.loads((tmp_path / "o" / "_filter.json").read_text())
    assert said["after"]["documents"] == pq.read_metadata(tmp_path / "o" / "a.parquet").num_rows


def test_an_option_beats_the_file(winnow, made, tmp_path):
    file = tmp_path / "f.toml"
    file.write_text(f'[filter]\nrun = "{made / "run"}"\npercentile = [20, 80]\nseed = 1\n')
    _, out, _ = winnow("--config", file, "--percentile", "30:60", "--dry-run", "--json")
    rules = json.loads(out)["rules"]
    assert (rules["percentile"], rules["seed"]) == ([30, 60], 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--percentile", "1:9"], "out is not set"),
        (["--out", "x"], "no rule says which documents to keep"),
        (["--out", "x", "--max", "perplexity"], "METRIC=VALUE"),
        (["--out", "x", "--min", "perplxity=3"], "did you mean 'perplexity'?"),
        (["--out", "x", "--where", "num_token > 3"], "did you mean 'num_tokens'?"),
        (["--out", "x", "--where", "num_tokens >"], "at character 13"),
        (["--out", "x", "--cutoffs", "nowhere"], "--cutoffs: there is no file nowhere"),
        (["--out", "x", "--max", "nll=9", "--weight", "tokens"], "add --percentile or --buckets"),
        (["--out", "x", "--budget-tokens", "9", "--shares", "a=1"], "--shares needs --within"),
        (["--out", "x", "--percentile", "1:9", "--by", "text"], "no carried column 'text' (--by)"),
    ],
)
def test_usage_errors(winnow, made, arguments, message):
    code, out, err = winnow(made / "run", *arguments)
    assert code == 2
    assert out == ""
    assert message in err


def test_not_a_run(winnow, tmp_path):
    code, _, err = winnow(tmp_path, "--percentile", "1:9", "--dry-run")
    assert code == 2
    assert "is not a run directory" in err


@pytest.mark.parametrize("folder", ["kept", "rejects"])
def test_the_output_of_a_filter_is_no_run(winnow, made, tmp_path, folder):
    folders = ("--out", tmp_path / "kept", "--rejects", tmp_path / "rejects")
    winnow(made / "run", *folders, "--max", "perplexity=5")
    filtered = tmp_path / folder

    def refused() -> str:
        code, out, err = winnow(filtered, "--max", "perplexity=4", "--dry-run")
        assert (code, out) == (2, "")
        assert f"{filtered} is not a run directory: it is the output of a filter" in err
        assert f"winnow score {filtered} --out RUN" in err
        return err

    assert f"give the run that was filtered, {made / 'run'};" in refused()
    record = (filtered / "_filter.json").read_text()
    for damaged in ("", "{}", record[:-9]):
        (filtered / "_filter.json").write_text(damaged)
        assert "give the run that was filtered;" in refused()
    (filtered / "_filter.json").unlink()  # as a filter leaves it that was stopped
    assert "give the run that was filtered;" in refused()


@pytest.mark.parametrize("prefer", ["middle", "low", "high"])
def test_a_budget_says_where_it_ends(winnow, made, prefer):
    rules = ("--budget-bytes", "100", "--prefer", prefer, "--dry-run")
    _, table, _ = winnow(made / "run", *rules)
    (said,) = (line for line in table.splitlines() if line.startswith("the budget keeps"))
    _, out, _ = winnow(made / "run", *rules, "--json")
    edges = [edge for edge in json.loads(out)["budget_edges"].values() if edge is not None]
    assert len(edges) == (2 if prefer == "middle" else 1)
    # The record has the first documents not kept, the words the outermost ones that are.
    assert said.count("from ") + said.count("up to ") == len(edges)
    middle = json.loads(out)["budget_middle"]
    assert (middle is None) == (prefer != "middle")
    if middle is not None:
        assert f"the middle is perplexity {middle:.6g}, the median weighted by bytes" in table
        assert edges[0] <= middle <= edges[1]


def test_a_metric_that_no_rule_uses_names_every_rule_that_could(winnow, made):
    _, _, err = winnow(made / "run", "--metric", "nll", "--max", "nll=9", "--dry-run")
    assert "Error: --metric is given, but no rule uses it" in err
    hint = err.splitlines()[1]
    for rule in ("--percentile", "--sample-toward", "--drop-copies", "--budget-bytes"):
        assert rule in hint


def test_a_dry_run_that_keeps_nothing_shows_what_there_is(winnow, made, tmp_path):
    rules = ("--max", "perplexity=0.5", "--by", "lang")
    code, out, err = winnow(made / "run", *rules, "--dry-run")
    assert code == 2
    assert "0 0.0%" in out
    assert "[bold]en" in out
    assert err.startswith("Error: the rules keep none of the 28 scored documents\n")
    for refused in (("--dry-run", "--json"), ("--out", tmp_path / "o")):
        code, out, _ = winnow(made / "run", *rules, *refused)
        assert (code, out) == (2, "")
    assert not (tmp_path / "o").exists()


def test_both_folders_are_named(winnow, made, tmp_path):
    folders = ("--out", tmp_path / "o", "--rejects", tmp_path / "r")
    _, _, err = winnow(made / "run", *folders, "--percentile", "20:70")
    assert f"Wrote {tmp_path / 'o'} and {tmp_path / 'r'}" in " ".join(err.split())


def test_buckets_are_counted(winnow, made):
    _, out, _ = winnow(made / "run", "--buckets", "head,tail", "--dry-run")
    (said,) = (line for line in out.splitlines() if line.startswith("kept documents by bucket: "))
    counts = [int(part.split()[0]) for part in said.partition(": ")[2].split(", ")]
    assert [part.split()[1] for part in said.partition(": ")[2].split(", ")] == ["head", "tail"]
    _, out, _ = winnow(made / "run", "--buckets", "head,tail", "--dry-run", "--json")
    assert sum(counts) == json.loads(out)["after"]["documents"]


def test_a_clean_night_is_no_error(winnow, made, tmp_path):
    rules = ("--max", "perplexity=1e9")
    code, _, err = winnow(made / "run", "--out", tmp_path / "o", *rules)
    assert code == 1  # torn.parquet is missing from the output, as above
    assert "The rules keep every scored document." in err
    code, out, _ = winnow(made / "run", "--dry-run", "--json", *rules)
    assert json.loads(out)["keeps_everything"] is True


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("--where num_bytes>1 --where num_tokens>1", "--where is given twice"),
        ("--percentile=1:9 --percentile=2:8 --percentile 3:7", "--percentile is given 3 times"),
        ("--max nll=1 --max nll=2", "--max = ['nll=1', 'nll=2']: nll is given twice"),
    ],
)
def test_no_rule_silently_overrides_itself(winnow, made, rules, said):
    code, _, err = winnow(made / "run", *rules.split(), "--dry-run")
    assert (code, err.splitlines()[0]) == (2, f"Error: {said}")


def test_options_that_may_be_repeated_or_that_the_environment_has_too(winnow, made, monkeypatch):
    monkeypatch.setenv("WINNOW_FILTER_SEED", "3")
    rules = "--max nll=1000 --max num_tokens=999 --seed 1 --dry-run --dry-run --json"
    _, out, _ = winnow(made / "run", *rules.split())
    said = json.loads(out)["rules"]
    assert (said["max"], said["seed"]) == ({"nll": 1000, "num_tokens": 999}, 1)


def test_rules_that_say_what_people_mean(winnow, made, tmp_path):
    rules = ("--where", "not num_bytes > 8", "--drop-copies", "low", "--dry-run", "--json")
    _, out, _ = winnow(made / "run", *rules)
    assert 0 < json.loads(out)["after"]["documents"] < 28
    _, _, err = winnow(
        made / "run", "--where", 'status != "null"', "--unscored", "keep", "--dry-run"
    )
    assert "1 of 2 documents without a score are kept: 1 empty, 1 null" in err
    cut = ("--percentile", "20:70", "--weight", "tokens", "--within", "lang")
    _, out, _ = winnow(made / "run", *cut, "--dry-run", "--json")
    (tmp_path / "cuts.json").write_text(out)
    again = ("--cutoffs", tmp_path / "cuts.json", "--within", "lang", "--dry-run", "--json")
    _, other, _ = winnow(made / "run", *again)
    assert json.loads(other)["after"] == json.loads(out)["after"]
    budget = ("--budget-tokens", "60", "--within", "lang", "--dry-run")
    _, out, _ = winnow(made / "run", *budget)
    assert out.count(" tokens keeps perplexity up to ") == 3
