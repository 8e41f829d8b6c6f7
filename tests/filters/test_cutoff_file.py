"""pipeline/filters/cutoff_file.py, rules/cutoffs.py: what a dry run wrote, read again."""

import json
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import build_report, filter_run
from pipeline.errors import ConfigError, RunError
from pipeline.filters.config import load_filter_config
from pipeline.filters.selection import Selection
from tests.filters.test_selection import SCHEMA, scores_of
from tests.support.runs import score_corpus

LANGS = ("en", "de", None)


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora, the second of other texts, and a run of each."""
    folder = tmp_path_factory.mktemp("cutoffs")
    for name, offset in (("one", 0), ("two", 3)):
        (folder / f"{name}_data").mkdir()
        texts = [f"{'ab ' * (i % 5 + offset)}text {i * i}" for i in range(30)]
        langs = [LANGS[i % 3] for i in range(30)]
        table = pa.table({"text": texts, "lang": langs, "number": [i % 2 for i in range(30)]})
        pq.write_table(table, folder / f"{name}_data/0.parquet")
        score_corpus(folder / f"{name}_data", folder / name, tiny_model, carry=("lang", "number"))
    return folder


def written(made: Path, path: Path, **rules) -> Path:
    """A dry run's record, as --json prints it."""
    record = filter_run(made / "one", **rules)
    path.write_text(json.dumps({"out": None, **record.model_dump()}))
    return path


@pytest.mark.parametrize("within", ["lang", "number", None])
def test_a_run_is_cut_where_another_was(made, tmp_path, within):
    options = {} if within is None else {"within": within}
    file = written(made, tmp_path / "c.json", percentile=(20, 70), **options)
    again = filter_run(made / "one", cutoffs=file, by="lang", **options)
    direct = filter_run(made / "one", percentile=(20, 70), by="lang", **options)
    assert (again.after, again.groups) == (direct.after, direct.groups)
    assert again.cutoffs == direct.cutoffs
    assert again.words == direct.words
    other = filter_run(made / "two", cutoffs=file, out=tmp_path / "out", **options)
    assert [(c.group, c.low, c.high) for c in other.cutoffs] == [
        (c.group, c.low, c.high) for c in direct.cutoffs
    ]
    own = filter_run(made / "two", percentile=(20, 70), **options)
    assert other.after != own.after
    # What it wrote is such a file, too.
    third = filter_run(made / "two", cutoffs=tmp_path / "out/_filter.json", **options)
    assert third.after == other.after


def test_buckets_of_another_run(made, tmp_path):
    rules = {"buckets": ("head", "middle", "tail"), "within": "lang"}
    file = written(made, tmp_path / "c.json", **rules)
    found = filter_run(made / "two", cutoffs=file, **rules)
    assert [c.head for c in found.cutoffs] == [
        c.head for c in filter_run(made / "one", **rules).cutoffs
    ]
    with pytest.raises(ConfigError, match="has a value for low or high"):
        filter_run(made / "two", cutoffs=file, within="lang", max={"nll": 9e9})
    band = written(made, tmp_path / "band.json", percentile=(0, 90), within="lang")
    with pytest.raises(ConfigError, match="no value for head or middle in some group"):
        filter_run(made / "two", cutoffs=band, **rules)


def table(path: Path, *groups: dict, **changes) -> Path:
    content = {"metric": "perplexity", "rules": {"within": "lang"}, "cutoffs": groups, **changes}
    path.write_text(json.dumps(content))
    return path


BOTH = [{"group": "en", "low": 1.0}, {"group": "de", "high": 9e9}]


def test_a_table_by_hand_and_bounds_that_are_none(made, tmp_path):
    file = table(tmp_path / "c.json", *BOTH, {"group": None, "high": 0.5})
    found = filter_run(made / "one", cutoffs=file, within="lang", by="lang")
    assert {g.group: g.after.documents for g in found.groups} == {"en": 10, "de": 10, None: 0}
    assert found.words == (
        "(null): perplexity to 0.5",
        "de: perplexity to 9e+09",
        "en: perplexity from 1",
    )


def test_one_group_too_many_is_said_and_one_too_few_refused(made, tmp_path):
    many = [*BOTH, {"group": None}, {"group": "fi", "low": 1.0}]
    found = filter_run(made / "one", cutoffs=table(tmp_path / "c.json", *many), within="lang")
    assert found.words == (
        "fi: no document has this group; its cut-offs are unused",
        "de: perplexity to 9e+09",
        "en: perplexity from 1",
    )
    few = table(tmp_path / "few.json", {"group": "en", "low": 1.0}, {"group": "dee", "low": 1.0})
    with pytest.raises(
        ConfigError, match=r"(?m)cutoffs has no cut-offs for '\(null\)', and 1 more group$"
    ):
        filter_run(made / "one", cutoffs=few, within="lang")
    near = table(tmp_path / "near.json", *BOTH[:1], {"group": None}, {"group": "dee", "low": 1.0})
    with pytest.raises(ConfigError, match=r"(?m)cutoffs has no cut-offs for 'de'$") as raised:
        filter_run(made / "one", cutoffs=near, within="lang")
    assert raised.value.hint == (
        'add an entry to the file, as {"group": "de", "low": 10, "high": 100}, or without low and '
        "high to keep all; did you mean 'dee'?"
    )
    # What the hint says is enough.
    mended = table(tmp_path / "m.json", *BOTH[:1], {"group": None}, {"group": "de", "high": 100})
    assert filter_run(made / "one", cutoffs=mended, within="lang").cutoffs


def test_a_long_table_is_not_listed_whole_but_looked_through(made, tmp_path):
    others = [{"group": f"x{i}", "low": 1.0} for i in range(30)]
    for last, hint in (
        ("den", "did you mean 'den'?"),
        ("zz", f"known: {', '.join(f'x{i}' for i in range(20))}, ..."),
    ):
        groups = [*others, {"group": None}, {"group": "en"}, {"group": last}]
        with pytest.raises(ConfigError, match=r"(?m)has no cut-offs for 'de'$") as raised:
            filter_run(made / "one", cutoffs=table(tmp_path / "c.json", *groups), within="lang")
        assert raised.value.hint is not None
        assert raised.value.hint.endswith(f" to keep all; {hint}")


def test_a_column_of_another_name_is_not_two_errors_that_name_each_other(made, tmp_path):
    with pytest.raises(ConfigError) as raised:
        filter_run(made / "one", cutoffs=table(tmp_path / "c.json", *BOTH), within="number")
    assert raised.value.hint == (
        "give within lang; or, if 'number' has the same groups, write it as within in the file"
    )


BAD = {
    "another metric": (
        {"metric": "nll"},
        {},
        "was written for nll, and this filter is for perplexity",
    ),
    "another column": (
        {"rules": {"within": "number"}},
        {},
        "was written for each group of 'number', and this filter is for each group of 'lang'",
    ),
    "of everything": ({"rules": {}}, {}, "was written for all documents together, and this filter"),
    "within nothing": (
        {},
        {"within": None},
        "was written for each group of 'lang', and this filter is for all documents together",
    ),
    "no metric": ({"metric": None}, {}, "has no cut-offs per group"),
    "of nothing": ({"cutoffs": []}, {}, "has no cut-offs per group"),
    "twice": ({"cutoffs": BOTH * 2}, {}, "has the group '.*' more than once"),
    "not a number": (
        {"cutoffs": [{"group": "en", "low": "x"}]},
        {},
        r"cutoffs: .* is damaged: cutoffs.0.low",
    ),
    "no table": ({"cutoffs": 3}, {}, r"cutoffs: .* is damaged: cutoffs"),
}


@pytest.mark.parametrize(("changes", "options", "message"), BAD.values(), ids=BAD)
def test_a_file_that_is_not_of_this(made, tmp_path, changes, options, message):
    file = table(tmp_path / "c.json", *BOTH, **changes)
    settings = {"within": "lang", **options}
    with pytest.raises(ConfigError, match=message):
        filter_run(made / "one", cutoffs=file, **{k: v for k, v in settings.items() if v})


def test_what_to_give_instead(made, tmp_path):
    for rules, options, hint in (
        ({"within": "lang"}, {}, "give within lang"),
        ({}, {"within": "lang"}, "leave out within"),
        ({"within": "lang"}, {"within": "lang", "metric": "nll"}, "give metric perplexity"),
    ):
        file = table(tmp_path / "c.json", *BOTH, rules=rules)
        with pytest.raises(ConfigError) as raised:
            filter_run(made / "one", cutoffs=file, **options)
        assert raised.value.hint == hint


def of_rows(tmp_path: Path, rows: list, groups: list[dict]) -> tuple[list[bool], list[str]]:
    """What a table by hand keeps of made-up rows, and its lines."""
    settings = {"run": "x", "within": "lang", "cutoffs": str(table(tmp_path / "c.json", *groups))}
    scores = pl.LazyFrame(scores_of(rows), schema=SCHEMA)
    found = Selection.of(load_filter_config(None, settings)).find(scores)
    return found.decide(scores).collect()["keep"].to_list(), list(found.words())


def test_a_group_without_a_score_needs_no_cutoffs(tmp_path):
    rows = [("a", "en", "ok", 2.0, 1), ("a", "de", "error", None, 1)]
    kept, _ = of_rows(tmp_path, rows, [{"group": "en", "low": 1.0}])
    assert kept == [True, False]


def test_both_ends_are_kept_and_a_band_of_one_value_is_a_band(tmp_path):
    rows = [("a", "en", "ok", value, 1) for value in (1.0, 2.0, 3.0, 4.0)]
    kept, words = of_rows(tmp_path, rows, [{"group": "en", "low": 2.0, "high": 3.0}])
    assert (kept, words) == ([False, True, True, False], ["en: perplexity from 2 to 3"])
    kept, words = of_rows(tmp_path, rows, [{"group": "en", "low": 2.0, "high": 2.0}])
    assert (kept, words) == ([False, True, False, False], ["en: perplexity from 2 to 2"])


@pytest.mark.parametrize(
    "rules", [{"max": {"perplexity": 1e9}}, {"budget_tokens": 900}], ids=["bound", "budget"]
)
def test_the_record_of_a_filter_without_cutoffs(made, tmp_path, rules):
    file = written(made, tmp_path / "c.json", **rules)
    with pytest.raises(ConfigError, match=r"c\.json has no cut-offs per group") as raised:
        filter_run(made / "one", cutoffs=file)
    assert "give a file that winnow filter wrote with percentiles" in str(raised.value.hint)


def test_cutoffs_that_nothing_lies_between_are_not_shown_as_a_band(made, tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"metric": "nll", "cutoffs": [{"group": null, "low": 9, "high": 1}]}')
    record = filter_run(made / "one", cutoffs=path, metric="nll", force=True)
    assert record.words == ("nll: none is kept, the low cut-off exceeds the high one",)


def test_no_file(made, tmp_path):
    for path in (tmp_path / "nowhere.json", tmp_path / "no/where.json"):
        with pytest.raises(ConfigError, match=r"cutoffs: there is no file .*where\.json"):
            filter_run(made / "one", cutoffs=path)
    with pytest.raises(ConfigError, match="cutoffs: "):
        filter_run(made / "one", cutoffs=tmp_path)


def test_an_output_goes_on_only_with_the_same_table(made, tmp_path):
    file = table(tmp_path / "c.json", *BOTH, {"group": None})
    rules = {"within": "lang", "out": tmp_path / "out"}
    filter_run(made / "one", cutoffs=file, **rules)
    assert filter_run(made / "one", cutoffs=file, **rules).after.documents == 30
    table(file, {"group": "en", "low": 2.0}, *BOTH[1:], {"group": None})
    with pytest.raises(RunError, match="holds the output of another filter: cut-offs"):
        filter_run(made / "one", cutoffs=file, **rules)


@pytest.fixture(scope="module")
def odd(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose groups Python and Polars write in two ways."""
    folder = tmp_path_factory.mktemp("odd")
    columns = {
        "text": [f"{'ab ' * (i % 5)}text {i * i}" for i in range(30)],
        "is_web": [(True, False, None)[i % 3] for i in range(30)],
        "seen": [datetime(2026, 1, 1 + i % 2, 12) for i in range(30)],
        "rate": [(1e-7, 0.5)[i % 2] for i in range(30)],
    }
    (folder / "data").mkdir()
    pq.write_table(pa.table(columns), folder / "data/0.parquet")
    return Path(
        score_corpus(
            folder / "data", folder / "run", tiny_model, carry=("is_web", "seen", "rate")
        ).root.location
    )


@pytest.mark.parametrize("column", ["is_web", "seen", "rate"])
def test_a_group_has_one_name_in_filters_and_reports(odd, tmp_path, column):
    reported = {
        None if group.kind == "null" else group.value
        for group in build_report(odd, by=(column,)).groups[column]
    }
    record = filter_run(odd, percentile=(20, 80), within=column, by=column)
    assert {one.group for one in record.groups} == reported
    assert {one.group for one in record.cutoffs} == reported
    said = {line.rpartition(": ")[0] for line in record.words}
    assert said == {"(null)" if name is None else name for name in reported}
    shares = {"(null)" if name is None else name: 1 for name in reported}
    parts = filter_run(odd, budget_tokens=100, within=column, shares=shares).budgets
    assert {one.group for one in parts} == reported


@pytest.mark.parametrize("column", ["is_web", "seen", "rate"])
def test_a_file_that_names_groups_as_python_does_cuts_as_it_did(odd, tmp_path, column):
    record = filter_run(odd, percentile=(20, 80), within=column, by=column)
    values = pl.read_parquet(odd.parent / "data/0.parquet")[column].unique()
    written = dict(zip(values.cast(pl.String), map(str, values), strict=True)) | {None: None}
    earlier = record.model_dump()
    for one in earlier["cutoffs"]:
        one["group"] = written[one["group"]]
    assert earlier["cutoffs"] != record.model_dump()["cutoffs"]
    file = tmp_path / "earlier.json"
    file.write_text(json.dumps(earlier))
    again = filter_run(odd, cutoffs=file, within=column, by=column)
    assert (again.groups, again.cutoffs, again.words) == (
        record.groups,
        record.cutoffs,
        record.words,
    )
    shares = {written[one.group] or "(null)": 1 for one in record.cutoffs}
    budget = {"budget_tokens": 100, "within": column}
    now = {one.group or "(null)": 1 for one in record.cutoffs}
    parts = [filter_run(odd, **budget, shares=named).budgets for named in (shares, now)]
    assert parts[0] == parts[1]


def test_cut_offs_of_another_model_are_marked(made, tmp_path):
    record = filter_run(made / "one", percentile=(20, 80), within="lang").model_dump()
    file = tmp_path / "c.json"
    file.write_text(json.dumps(record))
    same = filter_run(made / "two", cutoffs=file, within="lang")
    assert not any("another model" in line for line in same.words)
    record["fingerprint"] |= {"tokenizer": "0" * 64, "text_column": "body"}
    file.write_text(json.dumps(record))
    other = filter_run(made / "two", cutoffs=file, within="lang", out=tmp_path / "out")
    assert other.cutoffs == same.cutoffs
    [said] = [line for line in other.words if "another model" in line]
    assert said.startswith(
        f"{file} is of a run that was scored with another model or settings, so that perplexity "
        "differs by that alone: tokenizer 000000000000… -> "
    )
    assert "text_column" not in said
    # What a file says of its own run is no other rule: the output goes on.
    del record["fingerprint"]
    file.write_text(json.dumps(record))
    again = filter_run(made / "two", cutoffs=file, within="lang", out=tmp_path / "out")
    assert again.after == other.after
