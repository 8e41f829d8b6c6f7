"""What a page says a rule keeps is what `winnow filter` keeps, by command and by TOML."""

import json
import shlex
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.explore.export import as_command, as_toml
from pipeline.errors import ConfigError
from pipeline.explore.bins import fill_bins, group_of
from pipeline.explore.counting import Kept, count
from pipeline.explore.rule import Asked, Decision, decide, exported
from pipeline.explore.run import ExploredRun, open_run
from pipeline.reports.groups import OTHERS, Grouping, label_expr
from tests.support.explored import make_texts
from tests.support.runs import score_corpus

EACH = (
    ("web", (4.8, 5.123456789012345)),
    ("books", (None, 5.0)),
    ("code", (None, None)),
    ("(null)", (1.0, 1e300)),
)
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
    "each its own": Asked("perplexity", "source", "each", None, None, None, EACH),
    "each its own and a condition": Asked(
        "perplexity", "source", "each", None, None, 'not source == "code"', EACH
    ),
    "each, of which none has any": Asked(
        "perplexity", "source", "each", None, None, "num_tokens > 50", (("web", (None, None)),)
    ),
    "tiny": Asked("bits_per_byte", "source", "value", 5e-324, 1e300),
}


def counted(run: ExploredRun, asked: Asked, groups: Grouping) -> tuple[Decision, Kept]:
    """As a page has it."""
    bins = fill_bins(run, asked.metric, groups)
    decision = decide(run, asked, bins)
    return decision, count(run, decision, bins)


@pytest.mark.parametrize("form", ["command", "toml"])
@pytest.mark.parametrize("asked", RULES.values(), ids=RULES)
def test_what_is_taken_away_keeps_what_was_counted(
    scored, winnow, tmp_path, monkeypatch, asked, form
):
    run = open_run(scored.location)
    groups = group_of(run, asked.by)
    decision, kept = counted(run, asked, groups)
    settings = exported(run, asked)
    if asked.file is not None:
        monkeypatch.chdir(tmp_path)
        Path(asked.file).write_text(decision.table.model_dump_json(exclude_defaults=True))
    if form == "command":
        line = as_command(settings)
        assert line is not None
        program, *arguments = shlex.split(line)
        assert program == "winnow"
        place = arguments.index("--out")
        del arguments[place : place + 2]  # a placeholder, for the reader to change
    else:
        file = tmp_path / "cut.toml"
        file.write_text(as_toml(settings))
        arguments = ["filter", "--config", str(file)]
    if asked.by is not None:
        arguments += ["--by", asked.by]
    code, out, err = winnow(*arguments, "--json", "--out", tmp_path / "kept")
    assert code == 0, err
    record = json.loads(out)
    assert record["before"] == kept.before.model_dump()
    assert record["after"] == kept.after.model_dump()
    assert sum(record["unscored"].values()) == kept.num_unscored
    assert pl.read_parquet(tmp_path / "kept/*.parquet").height == kept.after.documents
    if asked.by is not None:
        told = {one["group"] or "(null)": one for one in record["groups"]}
        assert len(told) == len(groups.groups)
        for name, (before, after) in zip(groups.groups, kept.groups, strict=True):
            assert before == list(told[name]["before"].values())
            assert after == list(told[name]["after"].values())


def test_before_anything_is_cut_off_all_that_has_a_score_stays(scored):
    run = open_run(scored.location)
    asked = Asked("perplexity", "source", "value", None, None)
    _, kept = counted(run, asked, group_of(run, "source"))
    assert kept.after.documents == kept.before.documents - 1 == 241
    assert kept.num_unscored == 1
    with pytest.raises(ConfigError, match="the rule keeps every document"):
        exported(run, asked)


def test_groups_that_are_not_told_apart_are_counted_together(scored):
    run = open_run(scored.location)
    asked = Asked("perplexity", "source", "value", None, 5.0)
    apart, together = (
        counted(run, asked, Grouping("source", ("web", "books", *rest)))[1].groups
        for rest in (("code", "(null)"), (OTHERS,))
    )
    assert together[:2] == apart[:2]
    for at in (0, 1):
        both = zip(apart[2][at], apart[3][at], strict=True)
        assert together[2][at] == [one + other for one, other in both]


def test_groups_that_are_not_told_apart_share_a_band(scored):
    run = open_run(scored.location)
    bands = (("web", (None, 5.0)), ("books", (None, None)), (OTHERS, (5.1, None)))
    kept = decide(run, Asked("perplexity", "source", "each", None, None, None, bands)).kept(
        run.rows()
    )
    rows = run.rows().with_columns(kept.collect()["keep"]).collect()
    value, source = pl.col("perplexity"), pl.col("source")
    own = pl.when(source == "web").then(value <= 5.0).when(source == "books").then(True)
    wanted = own.otherwise(value >= 5.1) & value.is_not_null()
    assert rows["keep"].equals(rows.select(wanted.fill_null(False).alias("keep"))["keep"])


KINDS = {
    "yes": [True, False, None],
    "share": [0.5, float("nan"), None],
    "day": [date(2020, 1, 1), date(1999, 12, 31), None],
    "at": [datetime(2020, 1, 1, 5), datetime(2020, 1, 1), None],
    "number": [-3, 7, None],
    "word": ["(null)", '"(null)"', None],
}


@pytest.fixture(scope="module")
def of_any_kind(tiny_model, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "data").mkdir()
    columns = {name: values * 6 for name, values in KINDS.items()}
    texts = [" ".join(text for _, _, text in make_texts(60)[i::18]) for i in range(18)]
    pq.write_table(pa.table({"text": texts, **columns}), folder / "data/0.parquet")
    return score_corpus(folder / "data", folder / "run", tiny_model, carry=tuple(KINDS)).location


@pytest.mark.parametrize("by", KINDS)
def test_groups_of_any_kind_have_bands_of_their_own(of_any_kind, winnow, tmp_path, monkeypatch, by):
    """A page calls some of them otherwise than a record does."""
    run = open_run(of_any_kind)
    grouping = group_of(run, by)
    groups = grouping.groups
    rows = run.rows().collect()
    assert len(groups) == rows[by].n_unique()
    middle = rows["perplexity"].median()
    bands = tuple((name, (middle, None) if i else (None, middle)) for i, name in enumerate(groups))
    asked = Asked("perplexity", by, "each", None, None, None, bands)
    decision, kept_there = counted(run, asked, grouping)
    assert sum(before[0] for before, _ in kept_there.groups) == kept_there.before.documents == 18
    assert sum(after[0] for _, after in kept_there.groups) == kept_there.after.documents
    is_first = label_expr(by) == groups[0]
    value = pl.col("perplexity")
    wanted = pl.when(is_first).then(value <= middle).otherwise(value >= middle)
    kept = decision.kept(run.rows()).collect()["keep"]
    assert kept.to_list() == rows.select(wanted).to_series().to_list()
    monkeypatch.chdir(tmp_path)
    Path(asked.file).write_text(decision.table.model_dump_json(exclude_defaults=True))
    line = shlex.split(as_command(exported(run, asked)))
    code, out, err = winnow(*line[1:], "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["after"] == kept_there.after.model_dump()


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
