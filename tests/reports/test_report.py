"""A report's figures against sums done by hand, on runs whose score rows are made up."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ConfigError, RunError
from pipeline.filters.config import load_filter_config
from pipeline.filters.filtering import decide, is_metric
from pipeline.planning.plan import open_run
from pipeline.reports.distributions import HISTOGRAM_BINS
from pipeline.reports.figures import Figures
from pipeline.reports.groups import MOST_GROUP_VALUES, MOST_GROUPS_SHOWN, OTHERS, check_groupable
from pipeline.reports.output import to_markdown
from pipeline.reports.page import to_html
from pipeline.reports.report import Report, build_report
from pipeline.reports.requirements import Requirement
from pipeline.reports.terms import Columns
from pipeline.runs.manifest import Manifest, Success, Totals, add_totals
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.schema import DocumentScore
from pipeline.settings.config import ScoreConfig
from pipeline.statistics.quantile import weighted_quantiles

BIT = math.log(2)
"""In nats."""


def scored(tokens: int, bits_per_token: float, num_bytes: int, **columns: Any) -> dict[str, Any]:
    """A score row whose perplexity is 2 ** bits_per_token; `columns` are carried or override."""
    bits = tokens * bits_per_token
    scored_bytes = columns.get("num_scored_bytes", num_bytes)
    metrics = {
        "nll": bits * BIT,
        "perplexity": 2.0**bits_per_token,
        "bits_per_token": bits_per_token,
        "bits_per_byte": bits / scored_bytes,
    }
    sizes = {"num_tokens": tokens, "num_bytes": num_bytes, "num_scored_bytes": num_bytes}
    return {"status": "ok", **sizes, **metrics, **columns}


def unscored(status: str, num_bytes: int = 0, **columns: Any) -> dict[str, Any]:
    return {"status": status, "num_bytes": num_bytes, **columns}


class Run:
    """A run of which shard i has the rows `parts[i]`; None stands for a part not there yet."""

    def __init__(
        self,
        folder: Path,
        model: Path,
        parts: list[list[dict[str, Any]] | None],
        *,
        carry: tuple[str, ...] = (),
        kinds: dict[str, pa.DataType] | None = None,
        finish: bool = True,
    ) -> None:
        corpus = folder / "corpus"
        corpus.mkdir(parents=True)
        for i, rows in enumerate(parts):
            rows = rows or [{}]
            columns = {
                name: pa.array([row.get(name) for row in rows], (kinds or {}).get(name))
                for name in carry
            }
            table = pa.table({"text": ["text"] * len(rows), **columns})
            pq.write_table(table, corpus / f"{i}.parquet")
        config = ScoreConfig(
            corpus=str(corpus),
            model=str(model),
            out=str(folder / "run"),
            carry=carry,
            shard_tokens=1,
        )
        self.store = RunStore(config.out)
        self.manifest: Manifest = open_run(config, self.store, default_shard_tokens=1)[0]
        self.store.write_manifest(self.manifest)
        totals = [self.write(i, rows) for i, rows in enumerate(parts) if rows is not None]
        if finish and None not in parts:
            self.finish(add_totals(totals))

    def write(self, shard: int, rows: list[dict[str, Any]]) -> Totals:
        schema = self.manifest.arrow_schema()
        values = [
            {"file": f"{shard}.parquet", "row": i} | DocumentScore(status="ok")._asdict() | row
            for i, row in enumerate(rows)
        ]
        with self.store.writing_part(shard, schema) as part:
            part.write(pa.Table.from_pylist(values, schema=schema))
            return part.close(self.manifest.run_id, shard, self.manifest.fingerprint, seconds=2.0)

    def finish(self, totals: Totals) -> None:
        self.store.write_success(
            Success(
                run_id=self.manifest.run_id,
                finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
                num_shards=len(self.manifest.shards),
                num_unreadable_files=0,
                totals=totals,
                wall_seconds=3.0,
                tokens_per_second=1234.5,
            )
        )

    def report(self, *by: str, partial: bool = False) -> Report:
        return build_report(self.store, by=by, partial=partial)


@pytest.fixture
def make(tmp_path, tiny_model):
    """parts -> run."""

    def do(*parts: list[dict[str, Any]] | None, name: str = "a", **settings: Any) -> Run:
        return Run(tmp_path / name, tiny_model, list(parts), **settings)

    return do


SMALL = (
    # 10 bits of 20 bytes, 90 bits of 30 bytes; 100 bits of 40 tokens and 50 bytes in all.
    [scored(10, 1.0, 20), scored(30, 3.0, 30)],
    [unscored("null"), unscored("empty"), unscored("skipped", 500, error="too_long")],
)


# --- figures


def test_tokens_and_documents_weigh_differently(make):
    figures = make(*SMALL).report().overall
    assert (figures.num_documents, figures.num_scored) == (5, 2)
    assert (figures.num_tokens, figures.num_bytes) == (40, 550)
    assert figures.nll == pytest.approx(100 * BIT)
    # exp(sum / sum) and not a mean of perplexities, which would be 5.
    assert figures.corpus_perplexity == pytest.approx(2**2.5)
    assert figures.document_perplexity == pytest.approx(2**2.0)
    assert figures.bits_per_token == pytest.approx(2.5)
    assert figures.bits_per_byte == pytest.approx(2.0)


def test_quantiles_are_over_documents_and_interpolated(make):
    rows = [scored(1, float(bits), 10) for bits in range(11)]
    quantiles = make(rows[:4], rows[4:]).report().overall.quantiles
    assert list(quantiles["perplexity"]) == ["p1", "p5", "p25", "p50", "p75", "p95", "p99"]
    assert quantiles["perplexity"]["p50"] == 2**5
    assert quantiles["perplexity"]["p25"] == pytest.approx((2**2 + 2**3) / 2)
    assert quantiles["perplexity"]["p95"] == pytest.approx((2**9 + 2**10) / 2)
    assert quantiles["bits_per_byte"]["p50"] == pytest.approx(0.5)


def test_bits_per_byte_of_truncated_texts_are_of_the_bytes_that_were_scored(make):
    """The rest of the text has no bits: to divide by it would flatter the model."""
    rows = [scored(10, 4.0, 1000, num_scored_bytes=20, status="truncated")]
    figures = make(rows).report().overall
    assert figures.bits_per_byte == pytest.approx(2.0)
    assert figures.num_bytes == 1000


def test_rows_without_a_score_change_no_ratio(make):
    without, with_them = make(SMALL[0], name="a"), make(*SMALL, name="b")
    one, other = without.report().overall, with_them.report().overall
    for name in ("num_scored", "num_tokens", "corpus_perplexity", "document_perplexity"):
        assert getattr(one, name) == getattr(other, name)
    assert (one.bits_per_token, one.bits_per_byte) == (other.bits_per_token, other.bits_per_byte)
    for metric, quantiles in one.quantiles.items():
        assert quantiles == pytest.approx(other.quantiles[metric])


NOTHING = {
    "corpus_perplexity": None,
    "document_perplexity": None,
    "bits_per_token": None,
    "bits_per_byte": None,
    "quantiles": {"perplexity": {}, "bits_per_byte": {}},
    "nll": 0.0,
    "num_scored": 0,
    "num_tokens": 0,
}


def assert_nothing_scored(figures: Figures) -> None:
    assert {name: getattr(figures, name) for name in NOTHING} == NOTHING


def test_a_run_in_which_nothing_was_scored(make):
    report = make([unscored("empty", lang="en"), unscored("null")], carry=("lang",)).report("lang")
    assert_nothing_scored(report.overall)
    assert report.overall.num_documents == 2
    assert [group.value for group in report.groups["lang"]] == ["(null)", "en"]
    for group in report.groups["lang"]:
        assert_nothing_scored(group.figures)
    assert report.histograms == []
    assert report.coverage.statuses == {"empty": 1, "null": 1}


def test_a_run_without_any_part_yet(make):
    report = make(None, None, carry=("lang",)).report("lang", partial=True)
    assert_nothing_scored(report.overall)
    assert report.overall.num_documents == 0
    assert report.groups == {"lang": []}
    assert report.histograms == []
    assert not report.complete


def test_a_perplexity_beyond_floats_is_null_and_not_a_crash(make):
    """A broken checkpoint: the row itself has null there too."""
    row = scored(2, 1.0, 5) | {"nll": 4000.0, "perplexity": None}
    figures = make([row]).report().overall
    assert figures.corpus_perplexity is None
    assert figures.document_perplexity is None
    assert figures.bits_per_token == pytest.approx(2000 / BIT)


# --- groups


def test_groups_go_from_the_least_to_the_most_surprising(make):
    rows = [
        scored(10, 3.0, 10, source="web"),
        scored(10, 1.0, 10, source="books"),
        scored(10, 2.0, 10, source=None),
        scored(30, 3.0, 30, source="books"),
        unscored("null", source="web"),
    ]
    groups = make(rows[:2], rows[2:], carry=("source",)).report("source").groups["source"]
    # Documents weigh the same here: (1 + 3) / 2 bits for books.
    assert [group.value for group in groups] == ["(null)", "books", "web"]
    null, books, web = (group.figures for group in groups)
    assert null.document_perplexity == books.document_perplexity == pytest.approx(4)
    assert books.corpus_perplexity == pytest.approx(2**2.5)
    assert (web.num_documents, web.num_scored) == (2, 1)
    assert web.quantiles["perplexity"] == dict.fromkeys(web.quantiles["perplexity"], 8.0)


def test_groups_add_up_to_the_whole(make):
    rows = [scored(i + 1, 1.0 + i % 5, 10 + i, source=f"s{i % 7}") for i in range(50)]
    report = make(rows, carry=("source",)).report()
    groups = [group.figures for group in report.groups["source"]]
    for name in ("num_documents", "num_scored", "num_tokens", "num_bytes"):
        assert sum(getattr(figures, name) for figures in groups) == getattr(report.overall, name)
    assert math.fsum(figures.nll for figures in groups) == pytest.approx(report.overall.nll)


@pytest.mark.parametrize("count", [MOST_GROUPS_SHOWN, MOST_GROUPS_SHOWN + 1, 200])
def test_of_many_values_the_largest_are_shown_and_the_others_added_up(make, count):
    # Later values have more bytes, and fewer tokens: bytes decide.
    rows = [scored(300 - i, 1.0, 10 + i, source=f"{i:03}") for i in range(count)]
    report = make(rows, carry=("source",)).report("source")
    groups = {group.value: group.figures for group in report.groups["source"]}
    shown = {f"{i:03}" for i in range(count - MOST_GROUPS_SHOWN, count)}
    assert groups.keys() - {OTHERS} == shown
    others = count - MOST_GROUPS_SHOWN
    assert (OTHERS in groups) == (others > 0)
    if others:
        assert groups[OTHERS].num_documents == others
        assert groups[OTHERS].num_bytes == sum(10 + i for i in range(others))
    assert sum(figures.num_documents for figures in groups.values()) == count
    for histogram in report.histograms:
        assert set(histogram.documents) == set(groups)
        assert sum(map(sum, histogram.documents.values())) == count


@pytest.mark.parametrize(
    "values",
    [[1, 2, 1], [True, False, True], [0.5, 1.5, 0.5], ["", " ", ""], ["a\x00", "😀", "a\x00"]],
    ids=["integers", "booleans", "floats", "blanks", "odd"],
)
def test_values_of_any_scalar_type_make_groups(make, values):
    rows = [scored(1, 1.0 + i, 10, c=value) for i, value in enumerate(values)]
    groups = make(rows, carry=("c",)).report("c").groups["c"]
    assert [group.figures.num_documents for group in groups] == [2, 1] or [
        group.figures.num_documents for group in groups
    ] == [1, 2]
    wanted = {str(v).lower() if isinstance(v, bool) else str(v) for v in values}
    assert {group.value for group in groups} == wanted


def test_dictionary_columns_make_groups_even_without_being_asked_for(make):
    rows = [scored(1, 1.0, 1, c=value) for value in ("x", "y", "x")]
    kinds = {"c": pa.dictionary(pa.int8(), pa.string())}
    groups = make(rows, carry=("c",), kinds=kinds).report().groups["c"]
    assert {group.value: group.figures.num_documents for group in groups} == {"x": 2, "y": 1}


@pytest.mark.parametrize(
    "value",
    [["a", "b"], {"a": 1}, b"\xff", timedelta(seconds=1)],
    ids=["list", "struct", "bytes", "duration"],
)
def test_a_column_that_cannot_be_grouped_by_is_refused(make, value):
    run = make([scored(1, 1.0, 1, c=value)], carry=("c",))
    with pytest.raises(RunError, match="'c'"):
        run.report("c")


@pytest.mark.parametrize(
    ("carry", "asked", "hint"),
    [
        (("source", "lang"), "sorce", "did you mean 'source'?"),
        (("source", "lang"), "zzz", "this run carries source, lang; to use another column, carry"),
        ((), "source", "this run carries nothing; to use another column, carry it when scoring"),
        (("source",), "perplexity", "this run carries source; to use another column, carry it"),
    ],
    ids=["near", "far", "none carried", "a score column"],
)
def test_a_column_that_is_not_carried_is_refused(make, carry, asked, hint):
    run = make(
        [scored(1, 1.0, 1, source="a", lang="b") if carry else scored(1, 1.0, 1)], carry=carry
    )
    with pytest.raises(RunError, match=rf"no carried column '{asked}' \(by\)") as raised:
        run.report(asked)
    assert raised.value.hint.startswith(hint)


def test_columns_with_few_values_are_groups_by_default(make):
    count = MOST_GROUP_VALUES + 1
    rows = [
        scored(1, 1.0, 1, few=f"{i % 2}", many=f"{i}", one="x", year=2000 + i % 3, weight=i % 2 / 2)
        for i in range(count)
    ]
    run = make(rows, carry=("many", "one", "year", "few", "weight"))
    assert list(run.report().groups) == ["year", "few"]
    # What is asked for is shown, however many values it has.
    assert list(run.report("many", "one", "many").groups) == ["many", "one"]


@pytest.mark.parametrize(
    ("values", "is_group"),
    [
        ("abcdef", False),
        ("aabcde", False),
        ("aabbcd", True),
        ("aaaaaa", False),
        (["a", "a", None, None, "b", "c"], True),
    ],
    ids=["names", "nearly names", "half are single", "one value", "without a value"],
)
def test_a_column_that_names_documents_is_no_group_by_default(make, values, is_group):
    rows = [scored(1, 1.0, 1, uid=value, text=value) for value in values]
    run = make(rows, carry=("uid", "text"))
    assert list(run.report().groups) == (["uid"] if is_group else [])
    assert list(run.report("uid").groups) == ["uid"]


# --- histograms


def test_histogram_counts_add_up_to_the_scored_documents_and_tokens(make):
    rows = [scored(i + 1, 0.1 + i / 9, 10 + i, source="ab"[i % 2]) for i in range(80)]
    report = make(rows[:30], [unscored("null", source="a"), *rows[30:]], carry=("source",)).report()
    assert [histogram.metric for histogram in report.histograms] == ["perplexity", "bits_per_byte"]
    groups = {group.value: group.figures for group in report.groups["source"]}
    for histogram in report.histograms:
        assert histogram.by == "source"
        assert list(histogram.documents) == list(histogram.tokens) == list(groups)
        assert HISTOGRAM_BINS / 2 < len(histogram.edges) - 1 <= HISTOGRAM_BINS
        assert histogram.edges == sorted(set(histogram.edges))
        for name, figures in groups.items():
            assert len(histogram.documents[name]) == len(histogram.edges) - 1
            assert sum(histogram.documents[name]) == figures.num_scored == 40
            assert sum(histogram.tokens[name]) == figures.num_tokens


def test_every_document_is_in_the_bin_between_whose_edges_it_lies(make):
    bits = [1.0, 1.03, 2.5, 7.77, 11.0]
    report = make([scored(1, value, 1) for value in bits]).report()
    histogram = report.histograms[0]
    assert (histogram.metric, histogram.by) == ("perplexity", None)
    # Bins begin where those of the sketch do, a hundredth below the smallest value at most.
    assert 2 * 0.99 < histogram.edges[0] <= 2
    assert histogram.edges[-1] > 2**11
    expected = [0] * (len(histogram.edges) - 1)
    for value in bits:
        inside = [i for i, low in enumerate(histogram.edges[:-1]) if low <= 2**value]
        expected[inside[-1]] += 1
    assert histogram.documents == histogram.tokens == {"all": expected}


def test_a_histogram_of_equal_values(make):
    histograms = make([scored(1, 2.0, 1)] * 5).report().histograms
    for histogram in histograms:
        assert sum(histogram.documents["all"]) == 5
        assert histogram.edges == sorted(set(histogram.edges))


def test_a_document_without_any_surprise_is_left_out_of_log_axes_only(make):
    """Its bits per byte are 0, of which there is no logarithm."""
    report = make([scored(5, 0.0, 5), scored(5, 1.0, 5)]).report()
    perplexity, bits_per_byte = report.histograms
    assert sum(perplexity.documents["all"]) == 2
    assert sum(bits_per_byte.documents["all"]) == 1
    assert report.overall.num_scored == 2


# --- coverage and provenance


def test_a_finished_run(make):
    run = make(*SMALL)
    report = run.report()
    assert report.complete
    coverage = report.coverage
    assert (coverage.num_rows_planned, coverage.num_shards, coverage.num_shards_done) == (5, 2, 2)
    assert coverage.statuses == {"ok": 2, "null": 1, "empty": 1, "skipped": 1}
    assert coverage.errors == {"too_long": 1}
    assert report.provenance.run_id == run.manifest.run_id
    assert report.provenance.tokens_per_second == 1234.5
    assert report.provenance.rules == run.manifest.rules
    assert report.provenance.estimated_tokens == run.manifest.estimated_tokens
    assert report.provenance.scored_tokens is not None


def test_an_unfinished_run_is_marked_and_reports_what_is_done(make):
    report = make(SMALL[0], None).report(partial=True)
    assert not report.complete
    assert (report.coverage.num_shards, report.coverage.num_shards_done) == (2, 1)
    assert report.overall.num_documents == 2
    assert report.provenance.finished_at is None
    assert report.provenance.tokens_per_second is None
    assert report.provenance.scored_tokens is None


def test_every_part_there_but_no_success_is_unfinished_too(make):
    assert not make(*SMALL, finish=False).report().complete


def test_what_was_given_up_is_in_the_report(make):
    run = make(SMALL[0], None)
    run.store.write_failure("00001", {"shard": 1, "reason": "out of memory"})
    assert run.report().coverage.given_up == [{"shard": 1, "reason": "out of memory"}]


def test_a_folder_that_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"is not a run directory: it has no manifest\.json"):
        build_report(RunStore(str(tmp_path)))


def test_a_report_comes_back_from_json_as_it_went(make):
    rows = [scored(1, 1.0 + i, 10, source=f"{i}") for i in range(3)]
    report = make(rows, carry=("source",)).report()
    assert Report.model_validate_json(report.model_dump_json()) == report


# --- which rows are read


def test_rows_come_in_the_order_of_the_plan(make):
    run = make(*([scored(i + 1, 1.0, 1), scored(i + 1, 2.0, 1)] for i in range(12)))
    rows = scan_scores(run.store, run.manifest).collect()
    assert rows["num_tokens"].to_list() == [i + 1 for i in range(12) for _ in range(2)]


def test_only_parts_of_the_plan_are_read_and_counted(make):
    run = make(*SMALL)
    scores = Path(run.store.location) / "scores"
    (scores / "part-00099.parquet").write_bytes((scores / "part-00000.parquet").read_bytes())
    (scores / ".tmp-1-part-00001.parquet").write_bytes(b"half")
    (scores / "notes.txt").write_text("mine")
    report = run.report()
    assert report.overall.num_documents == 5
    assert report.coverage.num_shards_done == 2


@pytest.mark.parametrize("name", ["a b", "100%", "a[1]", "what?*", "ü#=", "{x}"])
def test_a_run_may_have_any_name(make, name):
    run = make(*SMALL, name=name)
    assert scan_scores(run.store, run.manifest).select(pl.len()).collect().item() == 5
    assert run.report().overall.num_documents == 5


def test_a_page_has_one_value_of_a_quantile(make, monkeypatch):
    """However coarse the sketch: what a requirement asks for is exact, in the table too, and how
    far the others may be off is said."""
    monkeypatch.setattr("pipeline.statistics.sketches.FINE_ROWS", 0)
    monkeypatch.setattr("pipeline.statistics.sketches.COARSE", 1)
    bits = [1 + (i * 37 % 101) / 50 for i in range(101)]
    run = make([scored(10, one, 20) for one in bits])
    exact = float(np.quantile([2.0**one for one in bits], 0.75))
    plain = build_report(run.store, text=False)
    sketched = plain.overall.quantiles["perplexity"]["p75"]
    assert sketched != pytest.approx(exact, rel=1e-6), "or this test shows nothing"
    assert abs(sketched / exact - 1) < plain.overall.quantile_error
    report = build_report(run.store, text=False, fail_if="p75(perplexity) > 1")
    shown = report.overall.quantiles["perplexity"]
    assert shown["p75"] == report.requirements[0].values["p75(perplexity)"]
    assert shown["p75"] == pytest.approx(exact, rel=1e-12)
    assert shown["p5"] == plain.overall.quantiles["perplexity"]["p5"]
    page, markdown = to_html(report), to_markdown(report)
    for text in (page, markdown):
        assert "quantiles in requirements are exact" in text
    monkeypatch.undo()
    assert "Quantiles come from histograms" not in to_markdown(build_report(run.store, text=False))


# --- names and missing values


ODD = ("^src$", "src", "*")


def odd_names(make, **settings: Any) -> Run:
    """`src` is one value for all: whoever takes `^src$` for a pattern shows it."""
    rows = [
        scored(10, 1.0 + i % 2, 20, **{"^src$": "ab"[i % 2], "src": "x", "*": i % 3})
        for i in range(12)
    ]
    return make(rows, carry=ODD, **settings)


@pytest.mark.parametrize(("name", "sizes"), [("^src$", {"a": 6, "b": 6}), ("src", {"x": 12})])
def test_a_name_that_looks_like_a_pattern_is_a_name(make, name, sizes):
    groups = odd_names(make).report(name).groups
    assert {one.value: one.figures.num_documents for one in groups[name]} == sizes
    assert list(groups) == [name]


def test_columns_with_names_like_patterns_are_grouped_by_without_being_asked_for(make):
    groups = odd_names(make).report().groups
    assert {name: len(own) for name, own in groups.items()} == {"^src$": 2, "*": 3}


def test_labels_of_a_column_with_a_name_like_a_pattern(make):
    separation = build_report(odd_names(make).store, separate="^src$=b").separation
    assert separation is not None
    assert separation.together.auc["perplexity"] == 1


def test_a_nan_is_no_value(make):
    """Neither above nor below anything, and in the group of what is missing."""
    values = [0.2, 0.7, 0.9, math.nan, None, math.nan]
    run = make([scored(10, 1.0, 20, quality=value) for value in values], carry=("quality",))
    wanted = ["share(quality > 0.5)", "share(quality <= 0.5)", "mean(quality)", "p100(quality)"]
    report = build_report(run.store, by="quality", fail_if=[f"{one} >= 1" for one in wanted])
    found = [next(iter(one.values.values())) for one in report.requirements]
    assert found == [pytest.approx(value) for value in (2 / 6, 1 / 6, 0.6, 0.9)]
    sizes = {one.value: (one.kind, one.figures.num_documents) for one in report.groups["quality"]}
    assert sizes["(null)"] == ("null", 3)
    assert len(sizes) == 4


FAR = {
    "a date of the year 10183": (pa.date32(), 3_000_000),
    "the last date there is": (pa.date32(), 2**31 - 1),
    "a date before Christ": (pa.date32(), -800_000),
    "a time stamp of the year 10183": (pa.timestamp("ms"), 86_400_000 * 3_000_000),
    "the last time stamp there is": (pa.timestamp("us", "UTC"), 2**63 - 1),
    "one that is of year 10000 elsewhere": (pa.timestamp("ms", "Asia/Tokyo"), 253402300799000),
}


def dated(make, kind: pa.DataType, value: int) -> Run:
    stored = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    run = make([scored(10, 1.0, 20), scored(10, 2.0, 20)], carry=("at",), kinds={"at": kind})
    schema = run.manifest.arrow_schema()
    part = pl.read_parquet(run.store.root.full(run.store.part_name(0))).drop("at").to_arrow()
    at = pa.array([0, value], stored).view(kind)
    rows = part.append_column("at", at).select(schema.names).cast(schema)
    with run.store.writing_part(0, schema) as writer:
        writer.write(rows)
        run.finish(writer.close(run.manifest.run_id, 0, run.manifest.fingerprint, seconds=2.0))
    return run


@pytest.mark.parametrize(("kind", "value"), FAR.values(), ids=FAR)
def test_dates_of_no_calendar_are_no_groups_and_are_compared(make, kind, value):
    run = dated(make, kind, value)
    with pytest.raises(RunError, match="cannot group by 'at': it has dates before year 1 or after"):
        run.report("at")
    config = {"run": run.store.location, "percentile": "0:50"}
    for how in ({"within": "at"}, {}):
        rules = load_filter_config(None, config | how)
        with pytest.raises(RunError, match="cannot group by 'at'"):
            decide(rules, by=None if how else "at")
    later = 'share(at > "1990-01-01")'
    report = build_report(run.store, fail_if=f"{later} >= 1")
    assert report.requirements[0].values == {later: 0.5 if value > 0 else 0.0}


def test_the_last_date_of_the_calendar_is_a_group(make):
    run = dated(make, pa.timestamp("ms", "UTC"), 253402300799999)
    assert len(run.report("at").groups["at"]) == 2
    rules = load_filter_config(None, {"run": run.store.location, "percentile": "0:50"})
    assert len(decide(rules, by="at").record().groups) == 2


@pytest.mark.parametrize(
    "kind", [pa.decimal256(76, 38), pa.dictionary(pa.int8(), pa.duration("s"))]
)
def test_types_that_are_no_groups(kind):
    """Runs of 0.1.0 may carry them."""
    with pytest.raises(RunError, match="cannot group by 'price': its values are d"):
        check_groupable("price", kind)


def test_a_decimal_wider_than_can_be_read_is_no_figure_and_no_metric():
    [term] = Requirement.read("mean(price) > 1").terms.values()
    columns = Columns("mean(price) > 1", {"price": pl.Decimal(76, 38)}, None)
    with pytest.raises(ConfigError, match="too many digits to be read"):
        columns.figure(term.figure)
    assert not is_metric(pa.field("price", pa.decimal256(76, 38)))
    assert is_metric(pa.field("price", pa.decimal128(38, 38)))


# --- weights


def test_percentiles_and_distributions_by_tokens_and_by_bytes(make):
    rows = [scored(i + 1, 1.0 + i / 20, 200 - i, source=f"s{i % 2}") for i in range(60)]
    run = make(rows, carry=("source",))
    values = np.array([one["perplexity"] for one in rows])
    for weight, column in (("tokens", "num_tokens"), ("bytes", "num_bytes")):
        report = build_report(run.store, by="source", weight=weight)
        counts = np.array([one[column] for one in rows], float)
        found = report.overall.quantiles["perplexity"]
        expected = weighted_quantiles(values, counts, [0.05, 0.5, 0.95])
        assert [found[name] for name in ("p5", "p50", "p95")] == pytest.approx(expected.tolist())
        own = report.groups["source"][0].figures.quantiles["perplexity"]["p50"]
        assert own == pytest.approx(weighted_quantiles(values[::2], counts[::2], [0.5])[0])
        (histogram, _) = report.histograms
        counted = histogram.counts(weight)
        assert sum(map(sum, counted.values())) == counts.sum()
        # Halfway by weight is where the distribution functions of both say so.
        middle = float(weighted_quantiles(values[::2], counts[::2], [0.5])[0])
        at = np.searchsorted(report.ecdfs[0].at, middle)
        assert report.ecdfs[0].below["s0"][at] == pytest.approx(0.5, abs=0.08)
        page = to_html(report)
        assert f"Quantiles over {weight}" in page
        assert f"90% of the {weight} lie between" in page
        assert report.weight == weight
    whole = build_report(run.store, by="source")
    assert whole.overall.quantiles["perplexity"]["p50"] == pytest.approx(np.median(values))
    assert whole.overall.corpus_perplexity == report.overall.corpus_perplexity
