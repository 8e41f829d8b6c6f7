import pyarrow as pa
import pytest

from pipeline.corpus.identity import check_texts, differing_facts, is_trusted
from pipeline.errors import CorpusChangedError
from pipeline.runs.manifest import PlannedFile
from pipeline.scoring.fold import measure

TEXTS = ["one", None, "", "zwölf \u0000 日本", "one", "x" * 5000]
KINDS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.large_string()),
]


def scored(texts: list[str | None]) -> pa.Array:
    """The hashes that scoring writes: of another module."""
    return pa.array([measure(text)["text_hash"] for text in texts], pa.int64())


def column(texts: list[str | None], kind: pa.DataType) -> pa.Array:
    made = pa.array(texts, pa.string())
    if pa.types.is_dictionary(kind):
        made = made.dictionary_encode()
    return made.cast(kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_scored_texts_pass(kind: pa.DataType):
    texts, hashes = column(TEXTS, kind), scored(TEXTS)
    check_texts("a.parquet", 0, texts, hashes)
    check_texts("a.parquet", 2, texts[2:5], hashes[2:5])
    check_texts("a.parquet", 6, texts[:0], hashes[:0])
    check_texts("a.parquet", 1, texts[1:2], hashes[1:2])


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    ("row", "text"), [(0, "onf"), (0, None), (1, ""), (1, "new"), (2, None), (5, "x" * 4999)]
)
def test_another_text_is_named_by_file_and_row(kind: pa.DataType, row: int, text: str | None):
    edited = [*TEXTS[:row], text, *TEXTS[row + 1 :]]
    with pytest.raises(CorpusChangedError, match=rf"^a\.parquet, row {70 + row}: the text is not"):
        check_texts("a.parquet", 70, column(edited, kind), scored(TEXTS))


@pytest.mark.parametrize("kind", KINDS[:3], ids=str)
def test_bytes_that_are_not_utf8_have_no_hash(kind: pa.DataType):
    """What scoring writes of such a row is that there was no text."""
    raw = pa.array([b"one", b"a\xffb", None], pa.binary())
    binary = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    texts = raw.cast(binary.get(kind, pa.binary_view())).view(kind)
    hashes = scored(["one", None, None])
    check_texts("a.parquet", 0, texts, hashes)
    with pytest.raises(CorpusChangedError, match="row 1:"):
        check_texts("a.parquet", 0, texts, scored(["one", "a\ufffdb", None]))
    with pytest.raises(CorpusChangedError, match="row 1:"):
        check_texts("a.parquet", 0, column(["one", "mended", None], kind), hashes)


FACTS = PlannedFile(path="a", size_bytes=10, mtime_ns=5, num_rows=1, footer_digest="d")


@pytest.mark.parametrize(
    ("then", "now", "differ"),
    [
        ({"size_bytes": 11}, {}, ["size"]),
        ({}, {"mtime_ns": 6}, ["time"]),
        ({"footer_digest": "e"}, {}, ["footer"]),
        ({"footer_digest": None}, {}, []),
        ({"mtime_ns": 0}, {"mtime_ns": 0}, []),
        ({"size_bytes": 1, "mtime_ns": 1}, {"footer_digest": "f"}, ["size", "footer", "time"]),
    ],
    ids=["size", "time", "footer", "unknown footer", "unknown time", "all"],
)
def test_a_file_is_trusted_only_if_size_footer_and_time_agree(then, now, differ):
    before, after = FACTS.model_copy(update=then), FACTS.model_copy(update=now)
    assert not is_trusted(before, after)
    assert differing_facts(before, after) == differ
    assert is_trusted(FACTS, FACTS.model_copy())
