"""pipeline/comparisons/matching.py against plain loops over documents, and through a comparison.

The loops know nothing of hashes, keys or sorting: a document is a tuple, and a text is a text.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.comparisons import matching
from pipeline.comparisons.compare import compare_runs
from pipeline.comparisons.matching import match
from pipeline.comparisons.page import to_html, to_markdown
from pipeline.comparisons.samples import Sample, read_ids
from pipeline.comparisons.tables import sections
from pipeline.schema import COUNTS
from pipeline.statistics.bootstrap import ROW_BITS
from tests.support.made_runs import row, unscored, write_run

FEW = 200


@dataclass(frozen=True)
class Document:
    """A row of a run."""

    file: int
    row: int
    text: int
    """0: none."""
    doc_id: int
    """0: none."""
    scored: bool


def sample_of(documents: list[Document]) -> tuple[Sample, np.ndarray]:
    documents = sorted(documents, key=lambda one: (one.file, one.row))
    num = len(documents)
    sample = Sample(
        key=np.array([d.file << ROW_BITS | d.row for d in documents], np.int64),
        text_hash=np.array([d.text for d in documents], np.int64),
        nll=np.array([1.0 if d.scored else np.nan for d in documents]),
        num_tokens=np.ones(num, np.uint32),
        num_scored_bytes=np.ones(num, np.uint32),
        num_scored_words=np.ones(num, np.uint32),
    )
    return sample, np.array([d.doc_id for d in documents], np.int64)


def by_hand(before: list[Document], after: list[Document], *, has_ids: bool, same_corpus: bool):
    """(pairs compared, counts by locator, id, text and edited), by nested loops."""
    left = (
        sorted(before, key=lambda d: (d.file, d.row)),
        sorted(after, key=lambda d: (d.file, d.row)),
    )
    seen = [Counter(d.doc_id for d in side) for side in left]
    pairs = []

    def is_named(d):
        return has_ids and d.doc_id and seen[0][d.doc_id] <= 1 and seen[1][d.doc_id] <= 1

    def same_place(a, b):
        return (a.file, a.row) == (b.file, b.row)

    def same_id(a, b):
        return is_named(a) and is_named(b) and a.doc_id == b.doc_id

    def both_named(a, b):
        own = [has_ids and d.doc_id and seen[i][d.doc_id] == 1 for i, d in enumerate((a, b))]
        return all(own)

    def take(is_pair):
        count = 0
        for b in list(left[1]):
            for a in left[0]:
                if is_pair(a, b):
                    left[0].remove(a)
                    left[1].remove(b)
                    count += 1
                    if a.text == b.text and a.scored and b.scored:
                        pairs.append(((a.file, a.row), (b.file, b.row)))
                    break
        return count

    places = take(lambda a, b: same_place(a, b) and a.text == b.text)
    ids = take(lambda a, b: same_id(a, b) and a.text == b.text)
    texts = take(lambda a, b: a.text == b.text)
    edited = take(same_id)
    if same_corpus and places >= ids + texts:
        edited += take(lambda a, b: same_place(a, b) and not both_named(a, b))
    return sorted(pairs, key=lambda pair: pair[1]), (places, ids, texts, edited)


def documents():
    places = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), unique=True, max_size=12)
    return places.flatmap(
        lambda found: st.tuples(
            *(
                st.builds(
                    Document,
                    st.just(file),
                    st.just(number),
                    st.integers(0, 4),
                    st.integers(0, 6),
                    st.booleans(),
                )
                for file, number in found
            )
        ).map(list)
    )


@given(documents(), documents(), st.booleans(), st.booleans())
def test_pairs_are_those_of_plain_loops(before, after, has_ids, same_corpus):
    (one, own), (two, others) = sample_of(before), sample_of(after)
    for chunk in (3, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matching, "CHUNK", chunk)
            found = match(
                one,
                two,
                ids=(lambda: (own.copy(), others.copy())) if has_ids else None,
                same_corpus=same_corpus,
            )
        pairs, counts = by_hand(before, after, has_ids=has_ids, same_corpus=same_corpus)
        keys = zip(one.key[found.in_baseline], two.key[found.in_run], strict=True)
        located = [
            tuple((int(key) >> ROW_BITS, int(key) & ((1 << ROW_BITS) - 1)) for key in pair)
            for pair in keys
        ]
        assert located == pairs
        by = found.paired_by
        assert (by.locator, by.doc_id, by.text_hash, found.num_texts_changed) == counts


def test_many_documents_in_any_order_are_all_found():
    random = np.random.default_rng(5)
    num = 50_000
    texts = random.integers(-(2**63), 2**63 - 1, num)
    texts[: num // 10] = texts[num // 10 : num // 5]  # copies
    order = random.permutation(num)
    both = []
    for own in (texts, texts[order]):
        ones = np.ones(num, np.uint32)
        key = np.arange(num, dtype=np.int64)
        both.append(Sample(key=key, text_hash=own, nll=ones * 1.0, **dict.fromkeys(COUNTS, ones)))
    found = match(*both)
    assert found.num_matched == len(found.in_run) == num
    assert np.array_equal(both[0].text_hash[found.in_baseline], both[1].text_hash[found.in_run])
    assert len(np.unique(found.in_baseline)) == num


def test_ids_are_read_in_the_order_of_the_rows():
    files = ["a", "b"]
    rows = pl.LazyFrame(
        {"file": ["b", "a", "a", "b"], "row": [0, 1, 0, 1], "doc_id": ["x", None, "y", "x"]}
    )
    found = read_ids(rows, files)
    assert found[1] == 0
    assert found[2] == found[3] != found[0] != 0
    numbers = rows.with_columns(doc_id=pl.Series([7, 8, 9, 7]))
    texts = rows.with_columns(doc_id=pl.Series(["7", "8", "9", "7"]))
    assert np.array_equal(read_ids(numbers, files), read_ids(texts, files)), "as text"


# --- through a comparison: 400 documents, some without a score, copies among them


def corpus_rows(num: int = 400, *, with_ids: bool = True) -> list[dict]:
    random = np.random.default_rng(1)
    rows = []
    for i in range(num):
        text = {"text_hash": 1_000 + (i if i % 20 else i // 40)}  # every twentieth is a copy
        own = {"doc_id": f"id{i}"} if with_ids else {}
        if i % 15 == 0:
            rows.append(unscored(**text, **own))
        else:
            rows.append(row(10, float(random.gamma(20, 1)), 40, **text, **own))
    return rows


def moved(rows: list[dict]) -> list[dict]:
    """The same documents under another model."""
    return [
        one if one["status"] != "ok" else one | {"nll": one["nll"] * 1.05 + 0.1} for one in rows
    ]


def files_of(rows: list[dict], names: tuple[str, ...]) -> dict[str, list[dict]]:
    size = -(-len(rows) // len(names))
    return {name: rows[i * size : (i + 1) * size] for i, name in enumerate(names)}


def shuffled(rows: list[dict]) -> list[dict]:
    return [rows[i] for i in np.random.default_rng(9).permutation(len(rows))]


@pytest.fixture
def compare(tmp_path):
    """(files before, files after, settings) -> the comparison and its only shift."""

    def do(before, after, *, model="b" * 64, corpus="/elsewhere", **settings):
        stores = [
            write_run(tmp_path / "one", before),
            write_run(tmp_path / "two", after, weights=model, corpus=corpus),
        ]
        comparison = compare_runs(stores, resamples=FEW, **settings)
        return comparison, comparison.shifts[0]

    return do


ONE = ("a.parquet", "b.parquet")
LAYOUTS = {
    "as it was": (ONE, False),
    "renamed": (("x.parquet", "y.parquet"), False),
    "one file of two renamed": (("a.parquet", "y.parquet"), False),
    "more files": (("a.parquet", "b.parquet", "c.parquet"), False),
    "shuffled": (ONE, True),
    "shuffled into others": (("z.parquet",), True),
}


@pytest.mark.parametrize(("names", "mixed"), LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("with_ids", [True, False], ids=["ids", "no ids"])
def test_the_same_documents_are_paired_wherever_they_are(compare, names, mixed, with_ids):
    rows = corpus_rows(with_ids=with_ids)
    scored = sum(one["status"] == "ok" for one in rows)
    after = shuffled(moved(rows)) if mixed else moved(rows)
    comparison, shift = compare(files_of(rows, ONE), files_of(after, names))
    found = shift.pairing
    assert found.num_matched == 400
    assert (found.num_only_in_baseline, found.num_only_in_run, found.num_texts_changed) == (0, 0, 0)
    assert sum(found.paired_by.model_dump().values()) == 400
    if with_ids:
        assert (found.num_compared, found.num_not_scored) == (scored, 400 - scored)
        assert found.num_rose == scored
    assert not [note for note in comparison.notes if "differ in model and in text" in note]
    if with_ids and names != ONE:
        assert found.paired_by.doc_id >= 100
    if not with_ids and mixed:
        assert found.paired_by.text_hash > 300


def test_intervals_are_those_of_pairs_in_any_order(compare, tmp_path):
    """As narrow as of the same documents in the same order; unrelated ones are far wider."""
    rows = [one for one in corpus_rows() if one["status"] == "ok"]
    one = write_run(tmp_path / "first", files_of(rows, ONE))
    widths = {}
    mixed = shuffled(moved(rows))
    others = [one | {"text_hash": -i, "doc_id": None} for i, one in enumerate(mixed, 1)]
    for name, after, settings in (
        ("in order", moved(rows), {}),
        ("shuffled", mixed, {"corpus": "/other"}),
        ("unrelated", others, {"corpus": "/third"}),
    ):
        two = write_run(tmp_path / name, files_of(after, ONE), weights="b" * 64, **settings)
        (shift,) = compare_runs([one, two], resamples=500).shifts
        interval = shift.overall.changes["bits_per_byte"].interval
        widths[name] = interval.high - interval.low
    assert widths["shuffled"] == pytest.approx(widths["in order"], rel=0.2)
    assert widths["unrelated"] > 5 * widths["in order"]


def test_edited_texts_are_counted_and_not_compared(compare):
    rows = corpus_rows()
    after = moved(rows)
    for i in range(1, 400, 50):
        after[i] = after[i] | {"text_hash": -i}
    for names, mixed in LAYOUTS.values():
        now = shuffled(after) if mixed else after
        _, shift = compare(files_of(rows, ONE), files_of(now, names))
        assert shift.pairing.num_texts_changed == 8
        assert shift.pairing.num_matched == 400


def test_unrelated_corpora_are_not_paired(compare):
    rows = corpus_rows(with_ids=False)
    other = [one | {"text_hash": -i} for i, one in enumerate(rows, 1)]
    comparison, shift = compare(files_of(rows, ONE), files_of(other, (*ONE, "c")))
    assert shift.pairing is None
    assert any("differ in model and in text" in note for note in comparison.notes)


def test_what_is_shared_is_said_beside_what_is_not(compare):
    rows = corpus_rows(with_ids=False)
    comparison, shift = compare(files_of(rows[:300], ONE), files_of(moved(rows[100:]), ("c",)))
    compared = shift.pairing.num_compared
    (note,) = [one for one in comparison.notes if "differ in model and in text" in one]
    assert f"{compared} documents have the same text in both" in note
    assert 150 < compared <= 200


def test_every_output_says_what_paired_and_what_is_unpaired(compare):
    rows = corpus_rows()
    comparison, shift = compare(files_of(rows, ONE), files_of(shuffled(moved(rows)), ("c",)))
    by = shift.pairing.paired_by
    said = f"{by.doc_id} by doc_id"
    assert by.doc_id > 300
    for content in (to_markdown(comparison).replace("\\", ""), to_html(comparison)):
        assert said in content
        assert "unpaired p" in content
    shown = {section.key: section for section in sections(comparison)}
    cells = dict(zip(shown["pairs"].columns, shown["pairs"].rows[0], strict=True))
    assert (cells["in both"], cells["compared"]) == ("400", str(shift.pairing.num_compared))
    assert shift.overall.distances["bits_per_byte"].paired is False
