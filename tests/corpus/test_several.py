"""Several locations as one corpus: the names are those of their nearest folder."""

from pathlib import Path

import pytest

from pipeline.corpus.several import find_corpus
from pipeline.errors import CorpusError, UsageError
from tests.corpus.test_files import write


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("data/a", "data/b", "data/en/c", "data/en/d", "other/e"):
        write(tmp_path / f"{name}.parquet")
    (tmp_path / "data/_SUCCESS").touch()
    return tmp_path


def found(folder: Path, *names: str) -> tuple[str, list[str]]:
    root, files = find_corpus([str(folder / name) for name in names])
    for name in files:
        assert Path(root.full(name)).is_file()
    return str(Path(root.location).relative_to(folder)), list(files)


def test_what_a_shell_puts_for_a_glob_is_what_the_glob_finds(folder):
    for pattern in ("data/*.parquet", "data/en/*", "*/*.parquet"):
        names = sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))
        assert len(names) > 1
        assert found(folder, *names) == found(folder, pattern)
    everything = sorted(f"data/{path.name}" for path in (folder / "data").iterdir())
    assert "data/_SUCCESS" in everything
    assert found(folder, *everything) == found(folder, "data")


def test_folders_files_and_globs_together_each_file_once(folder):
    corpora = ("data/en", "data/en/c.parquet", "data/*.parquet", "other/e.parquet", "data/en/")
    expected = ["data/a.parquet", "data/b.parquet", "data/en/c.parquet", "data/en/d.parquet"]
    assert found(folder, *corpora) == (".", [*expected, "other/e.parquet"])


def test_one_is_what_it_is_alone(folder):
    assert found(folder, "data/a.parquet") == ("data", ["a.parquet"])
    assert found(folder, "data/a.parquet", "data/a.parquet") == ("data", ["a.parquet"])


def test_paths_that_go_up(folder):
    corpora = ("other/../data/a.parquet", "data/b.parquet")
    assert found(folder, *corpora) == ("data", ["a.parquet", "b.parquet"])


def test_folders_below_the_root_of_the_disk(tmp_path, monkeypatch):
    """Of "/a" and "/b", "/" is the nearest."""
    from pipeline.corpus import several

    assert several._shared(["/a/x", "/b"]) == "/"
    assert several._shared(["s3://one/a/x", "s3://one/ab"]) == "s3://one"


@pytest.mark.parametrize("hidden", ["_old.parquet", ".old", "_old/part"])
def test_a_hidden_name_among_others_is_refused(folder, hidden):
    """A glob in quotes would pass it over; whoever typed it means it."""
    write(folder / f"data/{hidden}" if "." in hidden[1:] else folder / f"data/{hidden}/x.parquet")
    name = f"data/{hidden.split('/')[0]}"
    with pytest.raises(CorpusError, match=rf"{name} is hidden \(") as raised:
        found(folder, "data/a.parquet", name)
    assert "quote the glob" in raised.value.hint


def test_one_that_is_not_there_or_without_parquet_is_named(folder):
    (folder / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"no such file or folder: .*gone"):
        found(folder, "data", "gone")
    with pytest.raises(CorpusError, match=r"no Parquet file in .*empty"):
        found(folder, "data", "empty")
    with pytest.raises(UsageError, match="a location is empty"):
        find_corpus([str(folder / "data"), ""])


def test_two_stores_are_no_corpus(folder, monkeypatch):
    from pipeline.corpus import several

    for one, other in (("s3://one/a", "s3://two/a"), (str(folder), "s3://one/a")):
        with pytest.raises(CorpusError, match="are not in the same store"):
            several._shared([one, other])
