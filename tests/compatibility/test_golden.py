"""Later versions read what 0.1.0 wrote, and decide as it did.

A key that is added to a JSON output is fine, one that is gone or has another value is not. Figures
that are sums over rows may differ in the last digits, for Polars adds them up in any order.
"""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from pipeline import build_report, read_scores
from tests.compatibility import cases, scoring
from tests.compatibility.cases import GOLDEN, winnow
from tests.compatibility.install import FIXTURES, PLACE, install

RELATIVE = 1e-12
OTHER_MACHINE = 1e-6
LAST_BITS = 1e-15
EXPONENTIALS = ("perplexity", "word_perplexity")
SCHEMA = Path(__file__).parents[2] / "pipeline/schemas/report.schema.json"


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def broken(was: Any, now: Any, where: str = "") -> list[str]:
    """Every place at which `now` is not what `was` promises."""
    if isinstance(was, dict) and isinstance(now, dict):
        gone = [f"{where}/{key} is gone" for key in was.keys() - now.keys()]
        kept = [key for key in was if key in now]
        return gone + [one for key in kept for one in broken(was[key], now[key], f"{where}/{key}")]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        pairs = enumerate(zip(was, now, strict=True))
        return [one for i, pair in pairs for one in broken(*pair, f"{where}/{i}")]
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (was, now))
    if numbers and isinstance(was, float):
        same = math.isclose(was, now, rel_tol=RELATIVE, abs_tol=RELATIVE)
    else:
        same = was == now and isinstance(was, bool) == isinstance(now, bool)
    return [] if same else [f"{where}: {was!r} is {now!r} now"]


def unmeant(found: list[str]) -> list[str]:
    """Of these places, those that are not in MEANT."""
    return [one for one in found if not any(re.match(meant, one) for meant in MEANT)]


@pytest.fixture
def fixtures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy for each test: reports and verdicts are written into runs."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return install(tmp_path / "copy")


FILTERS = cases.FILTERS | cases.NEW_FILTERS


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_keeps_the_same_rows(fixtures, tmp_path, name):
    found = cases.keep(fixtures, "run", FILTERS[name], tmp_path / "out")
    expected = (golden("filters") | golden("new_filters"))[name]
    assert found["kept"] == expected["kept"]
    assert not unmeant(broken(expected, found))


def test_every_rule_is_among_the_filters():
    """Those of today. Whoever adds a rule adds a case of it."""
    settings = json.loads(winnow("config", "show", "filter", "run", "--json").out)["settings"]
    places = {"run", "corpus", "out", "rejects", "partial"}  # which other tests are about
    asked = " ".join(FILTERS.values())
    names = {one["name"].replace("_", "-") for one in settings}
    assert len(names) > len(places)
    assert {name for name in names - places if f"--{name}" not in asked} == set()


def test_a_filter_of_a_run_that_is_not_finished(fixtures, tmp_path):
    found = cases.keep(fixtures, "given_up", cases.PARTIAL, tmp_path / "out")
    assert not broken(golden("partial"), found)


def test_an_output_of_then_is_whole(fixtures):
    """The same command finds its output done; a fresh one has the same documents."""
    rules = [*("--percentile", "20:80", "--within", "lang", "--max", "num_tokens=400")]
    rules += ["--by", "lang"]
    places = ["--out", fixtures / "filtered", "--rejects", fixtures / "rejects"]
    before = {path: path.stat().st_mtime_ns for path in (fixtures / "filtered").iterdir()}
    assert winnow("filter", fixtures / "run", *places, *rules).code == 1  # there is a torn file
    assert {path: path.stat().st_mtime_ns for path in (fixtures / "filtered").iterdir()} == before
    assert winnow("filter", fixtures / "run", "--out", fixtures / "new", *rules).code == 1
    for path in (fixtures / "filtered").glob("*.parquet"):
        assert pq.read_table(fixtures / "new" / path.name).equals(pq.read_table(path))
    was, now = (json.loads((fixtures / at / "_filter.json").read_text()) for at in NEW_AND_OLD)
    assert not broken({key: was[key] for key in was if key != "versions"}, now)


NEW_AND_OLD = ("filtered", "new")


MEANT = {
    # 0.1.0 interpolated logarithms here and perplexities in a report: two values of one name.
    r"/said/runs/\d+/percentiles/perplexity/\d+: ": "a percentile is type 7 of perplexity itself",
    # 0.1.0 looked for an upper bound on perplexity alone, whichever way the labels scored.
    r"/said/separation/cut/": "a cut looks in both directions, on the metric that separates best",
    # 0.1.0 had no groups where none were asked for.
    r"/said/(by: None is '|groups: \[\] is \[\{'group')": "a filter within groups shows them",
}
"""What is another value on purpose since 0.1.0, and why; tests of their own hold the new ones."""
MEANT_CODES = {
    # 1 and not 0 for the corpus of then has a torn file.
    "filter keeps all": (1, "a night with nothing to drop is a result, and no pipeline's end"),
}
"""The same of exit codes."""
EXACT_BYTES = dict.fromkeys(
    ("num_scored_bytes", "bits_per_byte"), "a character that was scored in part counts in part"
)
MEANT_COLUMNS = {"no prefix": EXACT_BYTES}
"""The same of the scores of a run that is begun today, by its rules."""


@pytest.mark.parametrize("name", cases.JSON)
def test_json_says_the_same(fixtures, name):
    found = broken(golden("json")[name], cases.ask(fixtures, cases.JSON[name]))
    assert not unmeant(found)


def test_exit_codes(fixtures):
    scoring.empty_run(fixtures)
    found = {name: cases.code_of(fixtures, words) for name, words in cases.CODES.items()}
    assert found == golden("codes") | {name: code for name, (code, _) in MEANT_CODES.items()}


@pytest.mark.parametrize("name", cases.REQUIREMENTS)
def test_the_next_night_has_the_same_verdict(fixtures, name):
    expected = golden("audits")[name]
    assert not broken(expected, cases.audit(fixtures, "audit", cases.REQUIREMENTS[name]))


def test_the_next_night_is_held_against_the_last_good_one(fixtures):
    said = cases.audit(fixtures, "audit", "none")["said"]
    assert said["baseline"]["night"] == "2026-01-05"
    assert said["reuse"]["run"] == f"{PLACE}/nights/2026-01-06", "the last one, good or not"
    assert said["reuse"]["num_rows"] == 51
    history = pl.read_parquet(fixtures / "nights/history.parquet")
    nights = history.filter(pl.col("by").is_null())
    assert nights["night"].dt.to_string().to_list() == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert nights["verdict"].to_list() == ["pass", "fail", "pass"]
    latest = json.loads((fixtures / "nights/latest.json").read_text())
    assert latest["night"] == cases.NEXT_NIGHT


def test_a_history_that_is_lost_is_made_of_the_verdicts_of_then(fixtures):
    path = fixtures / "nights/history.parquet"
    was = pl.read_parquet(path)
    path.unlink()
    cases.audit(fixtures, "audit", "none")
    now = pl.read_parquet(path).filter(pl.col("night").dt.to_string() != cases.NEXT_NIGHT)
    assert_frame_equal(now.select(was.columns), was)


def test_a_sampled_night_draws_the_same_rows(fixtures):
    assert not broken(golden("sampled"), cases.sampled(fixtures))


def test_the_same_rows_are_drawn_where_none_were_before(fixtures):
    shutil.rmtree(fixtures / "sampled_nights")
    assert scoring.sampled_night(fixtures, cases.NEXT_NIGHT).sample.num_drawn == 16
    assert cases.drawn_rows(fixtures) == golden("sampled")["drawn"]


@pytest.mark.parametrize("rules", scoring.RULES)
def test_scores_are_the_same_to_the_last_bit(fixtures, tmp_path, rules):
    """Whatever the machine: an nll is the exact sum of what the engine answered, rounded once.
    Only what is exp of it is a C library's, of which the last bit is nobody's promise."""
    now = scoring.fake_scores(fixtures, tmp_path / "run", rules, began_then=True)
    was = pl.read_parquet(GOLDEN / f"fake_scores {rules}.parquet")
    now = now.select(was.columns)
    assert_frame_equal(now.drop(EXPONENTIALS), was.drop(EXPONENTIALS), check_exact=True)
    assert_frame_equal(now, was, rel_tol=LAST_BITS, abs_tol=0)


@pytest.mark.parametrize("rules", scoring.RULES)
def test_scores_of_a_new_run_differ_in_what_is_meant(fixtures, tmp_path, rules):
    now = scoring.fake_scores(fixtures, tmp_path / "run", rules)
    was = pl.read_parquet(GOLDEN / f"fake_scores {rules}.parquet")
    meant = MEANT_COLUMNS.get(rules, {})
    different = [name for name in was.columns if not now[name].equals(was[name])]
    assert set(different) - set(EXPONENTIALS) == set(meant)
    if meant:
        fewer = was["num_scored_bytes"] - now["num_scored_bytes"]
        assert set(fewer) <= {0, 1, 2, 3}


def test_scores_of_the_real_engine(fixtures):
    """In float32. Bits are the same where the machine is: kernels add up in the order of their
    vector units and threads. Elsewhere a document's nll is within what rounding makes of it, about
    1e-7 (docs/numbers.md)."""
    then = golden("real_scores")
    was, now = pl.DataFrame(then["scores"]), scoring.real_scores(fixtures)
    exactly = scoring.kind_of_machine() == then["machine"]
    assert_frame_equal(now, was, check_exact=exactly, rel_tol=OTHER_MACHINE, abs_tol=0)


def test_scores_of_then_are_true(fixtures):
    """By a plain forward pass of the committed model, which shares nothing with an engine."""
    ended = winnow("verify", fixtures / "run", "--sample", "5", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["truth"]["num_documents"] == 5


@pytest.mark.parametrize("run", ["run", "first_run", "other_run", "given_up"])
def test_parts_of_then_are_read(fixtures, run):
    scores = read_scores(fixtures / run).collect()
    direct = pl.read_parquet(FIXTURES / run / "scores/*.parquet")
    assert_frame_equal(scores.select(direct.columns), direct)


def test_a_resumed_run_scores_what_was_given_up_and_no_more(fixtures):
    was = {path: path.stat().st_mtime_ns for path in (fixtures / "given_up/scores").iterdir()}
    rows = read_scores(fixtures / "given_up").collect()
    outcome = scoring.resume(fixtures)
    assert outcome.num_shards_scored == 1
    assert outcome.success is not None
    assert [one["file"] for one in outcome.failures] == ["torn.parquet"]
    assert {path: path.stat().st_mtime_ns for path in was} == was
    now = read_scores(fixtures / "given_up").collect()
    assert now.height == 51
    assert_frame_equal(now.join(rows, on=["file", "row"], how="semi"), rows, check_row_order=False)
    assert winnow("verify", fixtures / "given_up", "--sample", "0").code == 0


def test_a_new_run_takes_over_all_of_an_old_one(fixtures):
    """So the plan and the fingerprint of today are those of then."""
    arguments = cases.JSON["finished, again"].format(at=fixtures).split()
    arguments[3] = fixtures / "new_run"
    more = ["--shard-tokens", "250", "--reuse", fixtures / "run"]
    ended = winnow(*arguments, *more, "--json")
    assert ended.code == 1  # there is a torn file
    said = json.loads(ended.out)
    assert (said["num_shards_scored"], said["num_rows_reused"]) == (0, 51)


def test_the_report_follows_its_schema(fixtures):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(json.loads(winnow("report", fixtures / "run", "--json").out), schema)
    built = build_report(fixtures / "given_up", by="lang")
    jsonschema.validate(json.loads(built.model_dump_json()), schema)


def test_what_the_schema_promised_it_promises_still():
    was, now = golden("report_schema"), json.loads(SCHEMA.read_text())
    for name in ("", *was["$defs"]):
        then, today = (one["$defs"][name] if name else one for one in (was, now))
        assert set(then.get("required", [])) <= set(today.get("required", [])), name
        assert then.get("properties", {}).keys() <= today.get("properties", {}).keys(), name
