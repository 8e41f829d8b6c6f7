"""pipeline/corpus/location.py: where a corpus lies that was moved or renamed."""

import pytest

from pipeline.corpus.location import find_planned, locate, require_planned
from pipeline.errors import CorpusError


@pytest.fixture
def moved(tmp_path):
    (tmp_path / "new" / "deep").mkdir(parents=True)
    for name in ("a.parquet", "deep/b.parquet"):
        (tmp_path / "new" / name).write_text(name)
    return tmp_path / "new"


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}/**/*.parquet", "file://{}"])
def test_a_folder_or_a_glob(moved, spelling):
    names = ["a.parquet", "deep/b.parquet"]
    root = locate("/nowhere", names, spelling.format(moved))
    assert [root.read_bytes(name).decode() for name in names] == names
    require_planned(root, names)


def test_without_a_word_it_lies_where_it_was_scored(moved):
    assert locate(str(moved), ["a.parquet"], None).read_bytes("a.parquet") == b"a.parquet"


def test_one_file_may_have_another_name(moved):
    (moved / "a.parquet").rename(moved / "z.parquet")
    root = locate("/nowhere", ["a.parquet"], str(moved / "z.parquet"))
    assert root.read_bytes("a.parquet") == b"a.parquet"
    assert root.exists("a.parquet")
    assert list(find_planned(root, ["a.parquet"])) == ["a.parquet"]
    with root.open_input("a.parquet") as source:
        assert source.read() == b"a.parquet"


def test_many_files_are_not_one(moved):
    with pytest.raises(CorpusError, match="is one file, and the corpus of the run has 2") as raised:
        locate("/nowhere", ["a.parquet", "b.parquet"], str(moved / "a.parquet"))
    assert raised.value.hint == "give the folder that holds all of them"


def test_a_place_that_is_not_there(tmp_path):
    with pytest.raises(CorpusError, match="no such file or folder") as raised:
        locate("/nowhere", ["a.parquet"], str(tmp_path / "new"))
    assert "corpus" in raised.value.settings


def test_a_file_that_is_missing_is_named(moved):
    root = locate(str(moved), [], None)
    with pytest.raises(
        CorpusError, match=rf"{moved}/c\.parquet is no longer in the corpus \(and 1 more\)"
    ) as raised:
        require_planned(root, ["a.parquet", "c.parquet", "d.parquet"])
    assert "corpus" in raised.value.settings
