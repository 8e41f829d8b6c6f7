"""pipeline/reports/sorting.py and scripts.py: planted confounds are found, shuffled labels not."""

import math
import shlex

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.filters.config import FilterConfig
from pipeline.reports import scripts
from pipeline.reports.output import to_markdown
from pipeline.reports.page import to_html
from pipeline.reports.report import build_report
from pipeline.reports.scripts import script_of
from pipeline.reports.sorting import share_between, sorts_by
from pipeline.statistics.hashing import hash_bytes
from pipeline.statistics.variance import Moments, between_groups
from tests.support.made_runs import row, write_run

GREEK = "Όλοι οι άνθρωποι"  # noqa: RUF001
LEVELS = {"en": 2.0, "hi": 1.7, "sw": 4.4, "fi": 4.0}


def scores_of(nats, tokens=None, **columns) -> pl.LazyFrame:
    tokens = np.full(len(nats), 100) if tokens is None else tokens
    frame = {"nll": nats * tokens, "num_tokens": tokens, **columns}
    return pl.DataFrame(frame).lazy()


@pytest.fixture(scope="module")
def planted():
    """Nats per token by language; length says nothing, and nor does the shard."""
    random = np.random.default_rng(0)
    lang = random.choice(list(LEVELS), 3000)
    nats = np.array([LEVELS[one] for one in lang]) + random.normal(0, 0.8, 3000)
    tokens = random.integers(20, 900, 3000)
    return scores_of(nats, tokens, lang=lang, shard=random.integers(0, 9, 3000).astype(str))


def test_a_planted_confound_is_found_and_what_to_type(planted):
    found = sorts_by(planted, ["shard", "lang"], run="my runs/first")
    best = found.factors[0]
    frame = planted.collect()
    nats = (frame["nll"] / frame["num_tokens"]).to_numpy()
    own = [nats[frame["lang"].to_numpy() == one] for one in LEVELS]
    within = sum(((one - one.mean()) ** 2).sum() for one in own) / (3000 - 4)
    assert best.name == "lang"
    assert best.share == pytest.approx(1 - within / nats.var(ddof=1), rel=1e-9)
    assert best.interval.low < best.share < best.interval.high
    at = frame["lang"].replace_strict({one: i for i, one in enumerate(LEVELS)}).to_numpy()
    around = nats - 3
    powers = Moments(*(np.bincount(at, around**power) for power in range(5)))
    interval = between_groups(powers).interval
    assert best.interval.low == pytest.approx(interval.low)
    assert best.interval.high == pytest.approx(interval.high)
    assert share_between(planted, "lang") == pytest.approx(best.share, rel=1e-9)
    assert [one.value for one in best.groups] == ["hi", "en", "fi", "sw"]
    assert best.groups[0].perplexity == pytest.approx(math.exp(own[1].mean()))
    assert best.groups[0].spread == pytest.approx(own[1].std(ddof=1))
    assert found.verdict.startswith(f"{100 * best.share:.0f}% of the differences in log perplexity")
    assert "are between languages: filter within lang." in found.verdict
    words = shlex.split(found.command)
    assert words[:3] == ["winnow", "filter", "my runs/first"]
    assert FilterConfig(run=words[2], percentile=(10, 90), within=words[6])
    assert words[3:] == ["--percentile", "10:90", "--within", "lang", "--out", "FILTERED"]
    assert not any(one.matters for one in found.factors[1:])


def test_shuffled_labels_are_not_found(planted):
    random = np.random.default_rng(1)
    frame = planted.collect()
    for _ in range(20):
        labels = pl.Series(random.permutation(frame["lang"].to_numpy()))
        found = sorts_by(frame.with_columns(lang=labels).lazy(), ["lang"])
        assert found.command is None
        assert found.verdict.startswith("No known property of the documents explains their scores")


def test_a_group_for_each_document_is_not_all_there_is():
    nats = np.random.default_rng(2).normal(3, 1, 3000)
    url = [str(i) for i in range(3000)]
    pairs = [str(i // 2) for i in range(3000)]
    found = {
        one.name: one
        for one in sorts_by(scores_of(nats, url=url, pair=pairs), ["url", "pair"]).factors
    }
    assert found["url"].share is None
    assert found["url"].num_groups == 3000
    assert found["pair"].eta_squared > 0.45
    assert not found["pair"].is_certain


def test_many_small_groups_that_differ_are_told_and_no_reason_to_cut():
    random = np.random.default_rng(3)
    site = np.arange(3000) // 3
    nats = random.normal(3, 1, 1000)[site] + random.normal(0, 0.3, 3000)
    found = sorts_by(scores_of(nats, site=site), ["site"])
    assert found.factors[0].matters
    assert found.command is None
    assert "too few documents each to filter within" in found.verdict


def test_length_is_looked_at_always():
    random = np.random.default_rng(4)
    tokens = random.integers(10, 1000, 2000)
    nats = 6 - 0.5 * np.log(tokens) + random.normal(0, 0.3, 2000)
    lang = random.choice(["en", "de"], 2000)
    nats += 0.5 * (lang == "de")
    found = sorts_by(scores_of(nats, tokens, lang=lang), ["lang"])
    assert [one.name for one in found.factors] == ["length", "lang"]
    assert "are explained by document length" in found.verdict
    assert "add --min num_tokens=N and --max num_tokens=N." in found.verdict
    assert "filter within lang" in found.verdict
    assert found.factors[0].groups[0].value == "666 to 1,096 tokens"


def test_groups_of_one_score_are_named():
    nats = np.random.default_rng(5).normal(3, 1, 600)
    source = np.array(["web"] * 500 + ["licence"] * 60 + ["few"] * 9 + ["null"] * 31)
    nats[500:569] = 1.25
    values = pl.Series(source).replace("null", None)
    (found,) = (
        one
        for one in sorts_by(scores_of(nats, source=values), ["source"]).factors
        if one.kind == "column"
    )
    assert (found.num_constant, found.constant) == (1, ["licence"])
    assert {one.value for one in found.groups} == {"web", "licence", "few", "(null)"}


def test_how_many_documents_make_a_group_that_is_judged():
    """Ten, for constant scores and for filtering within groups; nine are too few."""
    random = np.random.default_rng(10)
    nats = np.concatenate([random.normal(3, 1, 300), np.full(10, 1.5), np.full(9, 4.5)])
    source = ["web"] * 300 + ["ten"] * 10 + ["nine"] * 9
    (found,) = (
        one for one in sorts_by(scores_of(nats, s=source), ["s"]).factors if one.name == "s"
    )
    assert found.constant == ["ten"]
    level = random.normal(0, 2, 40)
    for num, is_enough in ((10, True), (9, False)):
        site = np.repeat(np.arange(40), num)
        told = sorts_by(
            scores_of(level[site] + random.normal(3, 0.5, len(site)), site=site), ["site"]
        )
        assert told.factors[0].can_be_cut_within is is_enough
        assert (told.command is not None) is is_enough


def test_groups_of_constant_scores_are_named_three_at_most():
    random = np.random.default_rng(11)
    for num in (0, 1, 3, 4):
        names = [f"c{i}" for i in range(num) for _ in range(20)]
        nats = np.concatenate([random.normal(3, 1, 500), np.full(20 * num, 2.5)])
        told = sorts_by(scores_of(nats, source=["web"] * 500 + names), ["source"]).in_words()
        said = ", ".join(f"c{i}" for i in range(min(num, 3))) + (", ..." if num > 3 else "")
        assert ("nearly constant" in told) is (num > 0)
        assert (f"do not rank documents, in: {said} (source)." in told) is (num > 0)
        assert "To apply this" not in told


def test_of_very_many_groups_the_largest_are_shown():
    random = np.random.default_rng(12)
    site = np.repeat(np.arange(80), np.arange(80) + 20)
    constant = site < 70
    nats = np.where(constant, 2.0 + site / 100, random.normal(6, 3, len(site)))
    (found,) = (
        one for one in sorts_by(scores_of(nats, site=site), ["site"]).factors if one.name == "site"
    )
    assert {one.value for one in found.groups} == {str(i) for i in range(30, 80)}
    assert found.num_constant == 70
    assert found.constant == [str(i) for i in range(69, 19, -1)]


def test_one_document_has_no_spread_and_what_overflows_is_the_largest():
    frame = scores_of(np.array([1.0, 2.0, 900.0]), g=["a", "a", "b"])
    (found,) = (one for one in sorts_by(frame, ["g"]).factors if one.name == "g")
    by_value = {one.value: one for one in found.groups}
    assert by_value["b"].spread is None
    assert by_value["a"].spread == pytest.approx(math.sqrt(0.5))
    assert by_value["b"].perplexity == pytest.approx(np.finfo(float).max)


def test_what_was_not_scored_does_not_count():
    frame = pl.DataFrame(
        {"nll": [5.0, None, 0.0], "num_tokens": [1, 4, 0], "g": ["a", "a", "a"]}
    ).lazy()
    assert {one.num_scored for one in sorts_by(frame, ["g"]).factors} == {1}


def test_bands_of_length_are_named_by_their_tokens():
    tokens = np.array([1] * 20 + [2] * 20 + [10] * 20)
    nats = np.random.default_rng(13).normal(3, 1, 60)
    (found,) = sorts_by(scores_of(nats, tokens), []).factors
    assert {one.value for one in found.groups} == {"1 token", "2 tokens", "8 to 12 tokens"}


def test_a_share_too_small_to_act_on_is_told_from_one_by_chance():
    random = np.random.default_rng(14)
    tokens = random.integers(50, 900, 4000)
    half = np.array(["x", "y"] * 2000)
    weak = random.normal(3, 1, 4000) + 0.3 * (half == "y")
    told = sorts_by(scores_of(weak, tokens, half=half, one=["a"] * 4000), ["half", "one"])
    assert [one.name for one in told.factors] == ["half", "length", "one"]
    assert 0.01 < told.factors[0].share < 0.05
    assert told.command is None
    assert told.verdict.endswith("by half, is too small to act on.")
    none = sorts_by(scores_of(random.normal(3, 1, 4000), tokens, half=half), ["half"])
    assert none.verdict.endswith("could be chance.")


def test_a_large_share_that_chance_can_make_is_no_reason_to_cut():
    nats = np.array([2.0, 3.0, 4.0, 3.5, 4.5, 2.9, 4.1, 3.2, 5.2, 3.9] * 2)
    told = sorts_by(scores_of(nats, g=["a", "b"] * 10), ["g"])
    (found,) = (one for one in told.factors if one.name == "g")
    assert found.share > 0.05
    assert not found.matters
    assert told.command is None


def test_whatever_the_case_of_a_name_it_holds_languages(planted):
    frame = planted.rename({"lang": "Lang"})
    assert "between languages: filter within Lang." in sorts_by(frame, ["Lang"]).verdict
    other = planted.rename({"lang": "site"})
    assert "between groups of site: filter within site." in sorts_by(other, ["site"]).verdict


def test_only_the_largest_share_is_said_if_it_can_be_cut_within(planted):
    frame = planted.with_columns(copy=pl.when(pl.col("shard") == "0").then(None).otherwise("lang"))
    told = sorts_by(frame, ["copy", "lang"])
    assert [one.matters for one in told.factors[:2]] == [True, True]
    assert told.verdict.count("differences in log perplexity") == 1
    low, high = (
        f"{100 * end:.0f}%" for end in (told.factors[0].interval.low, told.factors[0].interval.high)
    )
    assert f"(95% interval {low} to {high})" in told.verdict


def test_labels_that_are_all_one_and_scores_that_are():
    nats = np.random.default_rng(6).normal(3, 1, 100)
    for frame in (
        scores_of(nats, lang=["en"] * 100),
        scores_of(np.full(100, 2.5), lang=["a", "b"] * 50),
    ):
        found = sorts_by(frame, ["lang"])
        assert [one.share for one in found.factors] == [None, None]
        assert found.command is None
        assert found.verdict.startswith("There are no two groups")


def test_a_name_is_no_pattern():
    """`src` is one value for all: whoever takes `^src$` for a pattern finds no groups."""
    nats = np.random.default_rng(8).normal(3, 1, 400)
    columns = {
        "src": ["x"] * 400,
        "^src$": (nats > 3).astype(str),
        "*": [f"{i % 3}" for i in range(400)],
    }
    found = sorts_by(scores_of(nats, **columns), list(columns))
    shares = {one.name: one.share for one in found.factors}
    assert shares["^src$"] > 0.4
    assert shares["src"] is None
    assert shares["*"] < 0.05
    assert "--within '^src$'" in found.command


def test_a_million_groups():
    random = np.random.default_rng(9)
    site = np.arange(2_000_000) // 2
    nats = random.normal(3, 1, 1_000_000)[site] + random.normal(0, 1, 2_000_000)
    (best, _) = sorts_by(scores_of(nats, site=site), ["site"]).factors
    assert best.num_groups == 1_000_000
    assert best.share == pytest.approx(0.5, abs=0.01)
    assert best.interval.low < 0.5 < best.interval.high
    assert len(best.groups) == 50
    assert not best.can_be_cut_within


def test_nothing_scored():
    frame = pl.DataFrame(
        {"nll": [None], "num_tokens": [0], "lang": ["en"]}, schema_overrides={"nll": pl.Float64}
    )
    found = sorts_by(frame.lazy(), ["lang"])
    assert [(one.num_scored, one.groups) for one in found.factors] == [(0, []), (0, [])]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("All human beings are born free", "Latin"),
        ("Все люди рождаются свободными", "Cyrillic"),  # noqa: RUF001
        ("人人生而自由,在尊严和权利上一律平等", "Han"),
        ("すべての人間は、生まれながらにして自由であり", "Kana"),
        ("모든 인간은 태어날 때부터 자유로우며", "Hangul"),
        ("सभी मनुष्यों को गौरव और अधिकारों", "Devanagari"),
        ("มนุษย์ทั้งหลายเกิดมามีอิสระ", "Thai"),
        ("Hello, мир и люди всей земли", "Cyrillic"),
        ("GREEK: Όλοι οι άνθρωποι", "Greek"),  # noqa: RUF001
        ("人" * 9 + "の", "Kana"),
        ("人" * 19 + "の", "Han"),
        ("1a" + "2345678 " * 9, "Latin"),
        ("a" * 251 + "я" * 900, "Latin"),
        ("1234 !? 567", "no letters"),
        ("", "no letters"),
    ],
)
def test_scripts(text, script):
    assert script_of(text) == script


@pytest.fixture
def unlabelled(tmp_path):
    """A run over Latin and Greek, without a column that says so; a file of it was edited since."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    random, files = np.random.default_rng(7), {}
    for name in ("a.parquet", "b.parquet", "edited.parquet"):
        greek = random.random(400) < 0.5
        texts = [f"{GREEK if one else 'all human beings'} {i}" for i, one in enumerate(greek)]
        pq.write_table(pa.table({"text": texts}), corpus / name, row_group_size=400)
        files[name] = [
            row(10, float(10 * (2 + 3 * one + random.normal(0, 0.3))), 40, source="web")
            | {"text_hash": hash_bytes(text.encode()) + (name == "edited.parquet")}
            for text, one in zip(texts, greek, strict=True)
        ]
    return write_run(tmp_path / "run", files, corpus=str(corpus))


def test_a_script_is_guessed_of_a_sample_where_no_column_says_it(unlabelled):
    report = build_report(unlabelled)
    best = report.sorts_by.factors[0]
    assert (best.name, best.kind) == ("script", "script")
    assert best.share > 0.9
    assert [one.value for one in best.groups] == ["Latin", "Greek"]
    # The texts of one file are not those that were scored: they say nothing.
    assert best.num_scored == 800
    assert "guessed from the letters of a sample of 800 documents" in report.sorts_by.verdict
    for shown in (to_markdown(report), to_html(report)):
        assert "What this score sorts by" in shown
        assert "script, guessed for 800" in shown
    assert {one.name for one in build_report(unlabelled, text=False).sorts_by.factors} == {"length"}


def test_scripts_are_not_guessed_where_a_column_names_the_language(unlabelled, monkeypatch):
    monkeypatch.setattr(scripts, "LANGUAGES", frozenset(["source"]))
    assert "script" not in {one.name for one in build_report(unlabelled).sorts_by.factors}
