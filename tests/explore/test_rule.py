"""What a page says a rule keeps is what `winnow filter` keeps, by command and by TOML."""

import json
import shlex

import polars as pl
import pytest

from jobs.explore.export import as_command, as_toml
from pipeline.errors import ConfigError
from pipeline.explore.bins import group_of
from pipeline.explore.rule import Asked, count_kept, decide, exported
from pipeline.explore.run import open_run

RULES = {
    "a band": Asked("perplexity", "source", "value", 4.8, 5.3),
    "up to": Asked("perplexity", "source", "value", None, 5.123456789012345),
    "from": Asked("bits_per_byte", None, "value", 2.3, None),
    "negative": Asked("min_k_logprob", "source", "value", -2.2, -2.0),
    "percentiles": Asked("perplexity", "source", "percentile", 10.0, 87.5),
    "one percentile": Asked("num_tokens", None, "percentile", None, 33.3),
    "within": Asked("perplexity", "source", "within", 10.0, 90.0),
    "a condition": Asked("perplexity", "source", "value", 4.8, None, 'source == "web"'),
    "a condition alone": Asked("perplexity", "source", "value", None, None, "num_tokens > 50"),
    "percentiles and a condition": Asked(
        "perplexity", "source", "within", 10.0, 90.0, 'not source == "books" and num_tokens > 9'
    ),
    "tiny": Asked("bits_per_byte", "source", "value", 5e-324, 1e300),
}


@pytest.mark.parametrize("form", ["command", "toml"])
@pytest.mark.parametrize("asked", RULES.values(), ids=RULES)
def test_what_is_taken_away_keeps_what_was_counted(scored, winnow, tmp_path, asked, form):
    run = open_run(scored.location)
    groups = group_of(run, asked.by).groups
    mix = count_kept(run, decide(run, asked), groups)
    settings = exported(run, asked)
    if form == "command":
        line = as_command(settings)
        assert line is not None
        program, *arguments = shlex.split(line)
        assert program == "winnow"
    else:
        file = tmp_path / "cut.toml"
        file.write_text(as_toml(settings))
        arguments = ["filter", "--config", str(file)]
    if asked.by is not None:
        arguments += ["--by", asked.by]
    code, out, err = winnow(*arguments, "--json", "--out", tmp_path / "kept")
    assert code == 0, err
    record = json.loads(out)
    assert record["before"] == mix.before.model_dump()
    assert record["after"] == mix.after.model_dump()
    assert record["unscored"] == mix.unscored
    assert pl.read_parquet(tmp_path / "kept/*.parquet").height == mix.after.documents
    told = {one["group"] or "(null)": one for one in record["groups"]}
    assert {name: after.model_dump() for name, (_, after) in mix.groups.items()} == {
        name: one["after"] for name, one in told.items()
    }


def test_before_anything_is_cut_off_all_that_has_a_score_stays(scored):
    run = open_run(scored.location)
    asked = Asked("perplexity", "source", "value", None, None)
    mix = count_kept(run, decide(run, asked), group_of(run, "source").groups)
    assert mix.after.documents == mix.before.documents - 1 == 241
    assert mix.unscored == {"null": 1}
    with pytest.raises(ConfigError, match="the rule keeps every document"):
        exported(run, asked)


def test_groups_that_are_not_told_apart_are_counted_together(scored):
    run = open_run(scored.location)
    asked = Asked("perplexity", "source", "value", None, 5.0)
    apart = count_kept(run, decide(run, asked), group_of(run, "source").groups).groups
    together = count_kept(run, decide(run, asked), ("web", "(all others)")).groups
    assert together["web"] == apart["web"]
    others = [after.documents for name, (_, after) in apart.items() if name != "web"]
    assert together["(all others)"][1].documents == sum(others)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked("perplexity", None, "value", 9.0, 2.0), "both at least 9 and at most 2"),
        (Asked("perplexity", None, "percentile", -1.0, 50.0), "percentile"),
        (Asked("perplexity", None, "value", float("nan"), None), "min"),
        (Asked("nothing", None, "value", 1.0, None), "no metric 'nothing'"),
    ],
)
def test_what_no_filter_takes_is_refused(scored, asked, said):
    with pytest.raises(ConfigError, match=said):
        decide(open_run(scored.location), asked)
