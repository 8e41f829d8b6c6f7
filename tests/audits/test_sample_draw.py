"""The sample of a corpus: whose rows, how many, always the same, written once."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.audits.sample_draw import draw_sample, read_sample_record, sampled_config
from pipeline.errors import CorpusError, RunError
from pipeline.settings.config import ScoreConfig
from pipeline.storage.filesystem import open_root


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    for name, size in (("a.parquet", 500), ("deep/b.pq", 300), ("few.PARQ", 1)):
        sources = ["rare" if i % 50 == 0 else "web" if i % 3 else None for i in range(size)]
        table = {
            "id": pa.array([f"{name} {i}" for i in range(size)]),
            "text": pa.array(
                [None if i % 7 == 0 else f"text {i} of {name}" for i in range(size)], pa.string()
            ),
            "source": pa.array(sources).dictionary_encode(),
            "unused": [i * 1.5 for i in range(size)],
        }
        pq.write_table(pa.table(table), folder / name, row_group_size=64)
    return folder


def make_config(corpus: Path, **settings) -> ScoreConfig:
    return ScoreConfig(
        **{"corpus": str(corpus), "out": "o", "model": "m", "carry": ("source",), **settings}
    )


def rows_of(folder: Path) -> list[dict]:
    files = sorted(str(path) for path in folder.rglob("*.[pP]*[qQ]*") if path.is_file())
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_rows_are_those_of_the_corpus(corpus, tmp_path):
    target = tmp_path / "sample"
    config = make_config(corpus)
    record = draw_sample(config, open_root(str(target)), rows=100, by="source", seed=1)
    drawn = rows_of(target)
    assert len(drawn) == record.num_drawn == 100
    assert record.num_rows == 801
    for row in drawn:
        original = pq.read_table(corpus / row["source_file"]).to_pylist()[row["source_row"]]
        assert row["id"] == original["id"]
        assert row["text"] == original["text"]
        assert row["source"] == original["source"]
        assert set(row) == {"id", "text", "source", "source_file", "source_row"}
    assert len({row["id"] for row in drawn}) == 100
    sources = Counter(str(row["source"]) for row in drawn)
    whole = Counter(
        str(row)
        for row in ds.dataset(corpus, exclude_invalid_files=True).to_table()["source"].to_pylist()
    )
    for one in record.strata:
        name = "None" if one.value == "(null)" else one.value
        assert (sources[name], whole[name]) == (one.num_drawn, one.num_rows)
        assert abs(one.num_drawn - 100 * one.num_rows / 801) < 2.5
    assert read_sample_record(open_root(str(target))) == record


def test_the_same_rows_every_night_and_nothing_written_again(corpus, tmp_path):
    target = open_root(str(tmp_path / "sample"))
    config = make_config(corpus)
    first = draw_sample(config, target, rows=60, by=None, seed=5)
    files = {
        p: p.stat().st_mtime_ns for p in (tmp_path / "sample").rglob("*.[pP]*[qQ]*") if p.is_file()
    }
    assert draw_sample(config, target, rows=60, by=None, seed=5) == first
    assert files == {path: path.stat().st_mtime_ns for path in files}
    before = rows_of(tmp_path / "sample")
    draw_sample(config, target, rows=60, by=None, seed=6)
    assert rows_of(tmp_path / "sample") != before


def test_a_file_that_is_gone_leaves_the_sample(corpus, tmp_path):
    target = open_root(str(tmp_path / "sample"))
    draw_sample(make_config(corpus), target, rows=100, by=None, seed=0)
    (corpus / "deep" / "b.pq").unlink()
    record = draw_sample(make_config(corpus), target, rows=100, by=None, seed=0)
    assert record.num_rows == 501
    assert {row["source_file"] for row in rows_of(tmp_path / "sample")} <= {
        "a.parquet",
        "few.PARQ",
    }


def test_more_rows_than_there_are(corpus, tmp_path):
    target = open_root(str(tmp_path / "s"))
    record = draw_sample(make_config(corpus), target, rows=10_000, by="source", seed=0)
    assert record.num_drawn == record.num_rows == 801
    files = {"a.parquet", "deep/b.pq", "few.PARQ"}  # named as in the corpus
    assert set(target.files(recursive=True)) == {*files, "_sample.json"}


def test_a_damaged_file_is_said(corpus, tmp_path):
    (corpus / "torn.parquet").write_bytes(b"no")
    content = bytearray((corpus / "a.parquet").read_bytes())
    content[200:900] = bytes(700)
    (corpus / "a.parquet").write_bytes(bytes(content))
    record = draw_sample(
        make_config(corpus), open_root(str(tmp_path / "s")), rows=50, by="source", seed=0
    )
    assert set(record.unreadable) == {"torn.parquet", "a.parquet"}
    assert {row["source_file"] for row in rows_of(tmp_path / "s")} <= {"deep/b.pq", "few.PARQ"}


def test_a_column_of_our_name(tmp_path):
    (tmp_path / "c").mkdir()
    pq.write_table(pa.table({"text": ["x"], "source_row": [1]}), tmp_path / "c" / "a.parquet")
    config = make_config(tmp_path / "c", carry=("*",))
    with pytest.raises(CorpusError, match="'source_row'"):
        draw_sample(config, open_root(str(tmp_path / "s")), rows=5, by=None, seed=0)


def test_a_record_that_is_lost(tmp_path):
    with pytest.raises(RunError, match=r"_sample\.json is missing"):
        read_sample_record(open_root(str(tmp_path)))


def test_scoring_it_instead(corpus, tmp_path):
    config = make_config(corpus)
    found = sampled_config(config, open_root(str(tmp_path / "s")))
    assert found.corpus == (str(tmp_path / "s"),)
    assert found.carry == ("source", "source_file", "source_row")
    every = sampled_config(make_config(corpus, carry=("*",)), open_root(str(tmp_path / "s")))
    assert every.carry == ("*",)


def test_types_are_those_of_the_whole_corpus(tmp_path):
    """Else a group may be called 1 here and 1.0 in the scores."""
    folder = tmp_path / "c"
    folder.mkdir()
    for name, kind, size in (("a", pa.int64(), 400), ("z", pa.float64(), 2)):
        level = pa.array([i % 2 for i in range(size)], kind)
        texts = [f"{name}{i}" for i in range(size)]
        pq.write_table(pa.table({"text": texts, "level": level}), folder / f"{name}.parquet")
    target = open_root(str(tmp_path / "s"))
    config = make_config(folder, carry=("level",))
    record = draw_sample(config, target, rows=8, by="level", seed=2)
    assert [one.value for one in record.strata] == ["0.0", "1.0"]
    assert set(target.files()) == {"a.parquet", "_sample.json"}, "nothing of the other file"
    assert pq.read_schema(tmp_path / "s" / "a.parquet").field("level").type == pa.float64()


@pytest.mark.parametrize(("largest", "is_held"), [(2**53, True), (2**53 + 1, False)])
def test_an_integer_among_floats_is_what_it_was_or_is_refused(tmp_path, largest, is_held):
    folder = tmp_path / "c"
    folder.mkdir()
    for name, values in (("a", pa.array([largest] * 4)), ("b", pa.array([0.5] * 4))):
        table = pa.table({"text": ["x"] * 4, "n": values, "id": values})
        pq.write_table(table, folder / f"{name}.parquet")
    target = open_root(str(tmp_path / "s"))
    config = make_config(folder, carry=("n",))
    if not is_held:
        with pytest.raises(CorpusError, match="double cannot hold every int64"):
            draw_sample(config, target, rows=8, by="n", seed=0)
        assert not (tmp_path / "s").exists()
        return
    record = draw_sample(config, target, rows=8, by="n", seed=0)
    assert (record.num_drawn, record.unreadable) == (8, {})
    rows = rows_of(tmp_path / "s")
    assert {row["n"] for row in rows} == {row["id"] for row in rows} == {float(2**53), 0.5}
