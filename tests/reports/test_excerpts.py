"""Documents at the quantiles: the right ones, with the text that was scored or a reason."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.excerpts import EXCERPT_CHARACTERS, NUM_EXTREMES, Example
from pipeline.reports.report import build_report
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from tests.statistics.test_sketches import sketch_of
from tests.support.runs import make_run, score_corpus

TEXTS = [f"{'abcdefgh'[i % 8] * (i + 1)} tail" for i in range(40)]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model) -> RunStore:
    texts = ["", None, *TEXTS, "long " * 200, "tab\tnew\nline"]
    return make_run(tmp_path_factory.mktemp("run"), tiny_model, texts)


def examples(run: RunStore, *, text: bool = True) -> list[Example]:
    return build_report(run, text=text).examples


def text_of(corpus: Path, one: Example) -> str:
    return pq.read_table(corpus / one.file)["text"][one.row].as_py()


def test_places_are_ends_and_quantiles_in_order(run):
    found = examples(run)
    rows = scan_scores(run, run.manifest()).collect().drop_nulls("perplexity")
    in_order = rows.sort("perplexity", "file", "row")
    places = [one.place for one in found]
    quantiles = ["p1", "p5", "p25", "p50", "p75", "p95", "p99"]
    assert places == ["lowest"] * NUM_EXTREMES + quantiles + ["highest"] * NUM_EXTREMES
    lowest, highest = found[:NUM_EXTREMES], found[-NUM_EXTREMES:]
    locators = [(r["file"], r["row"]) for r in in_order.iter_rows(named=True)]
    assert [(one.file, one.row) for one in lowest] == locators[:NUM_EXTREMES]
    assert [(one.file, one.row) for one in highest] == locators[-NUM_EXTREMES:]
    for one in found[NUM_EXTREMES:-NUM_EXTREMES]:
        value = in_order["perplexity"].quantile(int(one.place[1:]) / 100, "linear")
        above = in_order.filter(in_order["perplexity"] >= value * (1 - 1e-12))
        assert one.perplexity == above["perplexity"][0]
        assert (one.file, one.row) == (above["file"][0], above["row"][0])


def test_excerpts_are_the_beginnings_of_the_texts(run):
    corpus = Path(run.manifest().corpus)
    for one in examples(run):
        text = text_of(corpus, one)
        assert one.excerpt == text[:EXCERPT_CHARACTERS]
        assert one.is_whole == (len(text) <= EXCERPT_CHARACTERS)
        assert one.missing is None


def test_texts_are_left_out_on_request(run):
    found = examples(run, text=False)
    assert len(found) == len(examples(run))
    assert {(one.excerpt, one.missing) for one in found} == {(None, None)}


def change_gone(file: Path) -> None:
    file.unlink()


def change_torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def change_shorter(file: Path) -> None:
    pq.write_table(pa.table({"text": ["one"]}), file)


def change_texts(file: Path) -> None:
    texts = [f"{text} other" for text in pq.read_table(file)["text"].to_pylist()]
    pq.write_table(pa.table({"text": texts}), file)


def change_column(file: Path) -> None:
    pq.write_table(pa.table({"body": pq.read_table(file)["text"]}), file)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_gone, "is no longer in the corpus"),
        (change_torn, "cannot be read"),
        (change_shorter, "no longer has that row|not the one that was scored"),
        (change_texts, "not the one that was scored"),
        (change_column, "cannot be read"),
    ],
    ids=["gone", "torn", "shorter", "other texts", "other column"],
)
def test_a_corpus_that_changed_is_said_and_the_report_is_made(tmp_path, tiny_model, change, reason):
    store = make_run(tmp_path, tiny_model, list(TEXTS))
    change(Path(store.manifest().corpus) / "0.parquet")
    found = examples(store)
    changed = [one for one in found if one.file == "0.parquet"]
    assert changed
    for one in changed:
        assert one.excerpt is None
        assert any(part in one.missing for part in reason.split("|"))
    others = [one for one in found if one.file == "1.parquet"]
    assert others
    assert all(one.excerpt for one in others)


def test_ids_that_are_bytes_are_shown_in_hexadecimal(tmp_path, tiny_model):
    ids = pa.array([bytes([200 + i]) * 16 for i in range(4)], pa.binary(16))
    table = pa.table({"text": TEXTS[:4], "id": ids})
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), ids)
    for name, one in (("bytes", table), ("uuids", table.set_column(1, "id", uuids))):
        (tmp_path / name).mkdir()
        pq.write_table(one, tmp_path / name / "a.parquet")
        found = examples(score_corpus(tmp_path / name, tmp_path / f"run {name}", tiny_model))
        assert {one.doc_id for one in found} == {value.as_py().hex() for value in ids}


def test_few_documents_are_not_shown_as_both_ends(tmp_path, tiny_model):
    found = examples(make_run(tmp_path, tiny_model, ["one", "three", "seventeen"]))
    assert [one.place for one in found].count("lowest") == 3
    assert [one.place for one in found].count("highest") == 0


def test_nothing_scored_has_no_examples(tmp_path, tiny_model):
    assert examples(make_run(tmp_path, tiny_model, ["", None])) == []


def test_copies_in_a_file_are_shown_once(tmp_path, tiny_model):
    found = examples(make_run(tmp_path, tiny_model, ["same"] * 30 + TEXTS[:10]))
    ends = [(one.file, one.row) for one in found if one.place in ("lowest", "highest")]
    assert len(ends) == len(set(ends))
    assert sum(one.excerpt == "same" for one in found if one.place == "lowest") <= 2


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_ranges_reach_from_the_quantile_to_the_end_of_its_bin(values, q):
    sketch = sketch_of(values)
    value = sketch.value_at(q)
    (low, near), (last, high) = sketch.above(value, 1)
    assert low == value
    assert near <= high == last
    assert last in values
