"""Corpora as people have them, scored from end to end: damage, drift, odd names, odd numbers.

No Ray: what an actor does with a shard is the same function. Faults of processes and machines are
test_faults.py's.
"""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from jobs.run.score import finish_run
from pipeline.errors import CorpusError, RunError, UnreadableFileError
from pipeline.planning.plan import open_run
from pipeline.runs.manifest import Totals
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.schema import Window, WindowScore
from pipeline.settings.config import ScoreConfig
from pipeline.storage.filesystem import Root
from pipeline.verification.integrity import check_integrity
from tests.support.fakes import FakeEngine
from tests.support.runs import score_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    return folder


def write(path: Path, texts: list[str | None], **columns: pa.Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"text": pa.array(texts, pa.string()), **columns})
    pq.write_table(table, path, write_page_checksum=True)


def scored(corpus: Path, model: Path, tmp_path: Path, **settings) -> pl.DataFrame:
    store = score_corpus(corpus, tmp_path / "run", model, **settings)
    checks = check_integrity(store, store.require_manifest())
    assert all(check.passed for check in checks), checks
    return scan_scores(store, store.require_manifest()).collect()


def test_damaged_files_beside_sound_ones(corpus, tiny_model, tmp_path):
    write(corpus / "sound.parquet", ["one", "two"])
    whole = (corpus / "sound.parquet").read_bytes()
    (corpus / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (corpus / "empty.parquet").write_bytes(b"")
    (corpus / "footer.parquet").write_bytes(whole[:-8] + b"\xff" * 4 + whole[-4:])
    (corpus / "text.parquet").write_text("this is no Parquet\n" * 100)

    scores = scored(corpus, tiny_model, tmp_path)

    assert scores["file"].to_list() == ["sound.parquet", "sound.parquet"]
    unreadable = RunStore(str(tmp_path / "run")).require_manifest().unreadable
    assert sorted(unreadable) == ["cut.parquet", "empty.parquet", "footer.parquet", "text.parquet"]
    assert all(why.startswith("not a readable Parquet file") for why in unreadable.values())


def test_a_flipped_bit_in_a_page_names_its_file_and_leaves_no_part(corpus, tiny_model, tmp_path):
    table = pa.table({"text": [f"a document of some length, number {n}" for n in range(400)]})
    pq.write_table(
        table,
        corpus / "a.parquet",
        write_page_checksum=True,
        use_dictionary=False,
        compression="none",
    )
    content = bytearray((corpus / "a.parquet").read_bytes())
    column = pq.read_metadata(corpus / "a.parquet").row_group(0).column(0)
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    (corpus / "a.parquet").write_bytes(content)

    with pytest.raises(UnreadableFileError, match=r"a\.parquet"):
        score_corpus(corpus, tmp_path / "run", tiny_model)
    assert not list((tmp_path / "run" / "scores").glob("*"))


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_text_of_another_type_in_each_file(corpus, tiny_model, tmp_path, kind):
    write(corpus / "a.parquet", ["one", "two"])
    other = pa.array(["three", None]).cast(kind)
    pq.write_table(pa.table({"text": other}), corpus / "b.parquet")
    pq.write_table(pa.table({"body": other}), corpus / "c.parquet")

    scores = scored(corpus, tiny_model, tmp_path)

    assert scores["num_bytes"].to_list() == [3, 3, 5, 0]
    assert scores["status"].to_list() == ["ok", "ok", "ok", "null"]
    unreadable = RunStore(str(tmp_path / "run")).require_manifest().unreadable
    assert unreadable == {"c.parquet": "no column 'text'; it has body"}


def test_a_carried_column_that_drifts_is_promoted_or_refused(corpus, tiny_model, tmp_path):
    write(corpus / "a.parquet", ["one"], n=pa.array([1], pa.int32()))
    write(corpus / "b.parquet", ["two"], n=pa.array([2**40], pa.int64()))
    write(corpus / "c.parquet", ["three"])

    scores = scored(corpus, tiny_model, tmp_path, carry=("n",))
    assert scores["n"].to_list() == [1, 2**40, None]
    assert scores.schema["n"] == pl.Int64

    write(corpus / "d.parquet", ["four"], n=pa.array(["5"], pa.string()))
    with pytest.raises(CorpusError, match="'n' has incompatible types") as caught:
        score_corpus(corpus, tmp_path / "other", tiny_model, carry=("n",))
    assert "d.parquet" in str(caught.value)


def test_odd_paths(corpus, tiny_model, tmp_path):
    odd = [
        "a b.parquet",
        "100%.parquet",
        "lang=de/p=1.parquet",
        "naïve 😀/ü.parquet",
        "-rf.parquet",
    ]
    for name in odd:
        write(corpus / name, [name])
    for hidden in ("_temporary/x.parquet", ".hidden.parquet", "sub/_x.parquet", "_SUCCESS"):
        write(corpus / hidden, ["never"])

    scores = scored(corpus, tiny_model, tmp_path)

    assert scores["file"].to_list() == sorted(odd)
    assert scores["num_bytes"].to_list() == [len(name.encode()) for name in sorted(odd)]


def test_two_thousand_small_files_share_shards(corpus, tiny_model, tmp_path):
    write(corpus / "00000.parquet", ["a document"])
    for number in range(1, 2000):
        os.link(corpus / "00000.parquet", corpus / f"{number:05d}.parquet")

    scores = scored(corpus, tiny_model, tmp_path, shard_tokens=1000)

    assert scores["file"].to_list() == [f"{number:05d}.parquet" for number in range(2000)]
    assert len(list((tmp_path / "run" / "scores").iterdir())) < 100


def test_ids_that_are_there_twice_are_kept(corpus, tiny_model, tmp_path):
    ids = pa.array([7, 7, None, 7])
    write(corpus / "a.parquet", ["same", "same", "c", "other"], id=ids)

    scores = scored(corpus, tiny_model, tmp_path)

    assert scores["doc_id"].to_list() == [7, 7, None, 7]
    assert scores["row"].to_list() == [0, 1, 2, 3]
    assert scores["text_hash"].n_unique() == 3


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_a_number_that_is_none_is_an_error_row_and_in_no_json(corpus, tiny_model, tmp_path, value):
    class Broken(FakeEngine):
        def _answer(self, entry: tuple[int, Window]) -> WindowScore:
            answer = super()._answer(entry)
            if len(answer.logprobs) == 3:
                answer.logprobs[1] = value
            return answer

    write(corpus / "a.parquet", ["four", "bad", "five!"])

    scores = scored(corpus, tiny_model, tmp_path, engine=Broken())

    assert scores["status"].to_list() == ["ok", "error", "ok"]
    assert scores["error"].to_list() == [None, "nonfinite", None]
    assert scores["nll"].is_null().to_list() == [False, True, False]

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    success = (tmp_path / "run" / "_SUCCESS").read_text()
    assert json.loads(success, parse_constant=refuse)["totals"]["statuses"] == {"error": 1, "ok": 2}


def test_twenty_thousand_parts_are_recognised_without_opening_one(
    corpus, tiny_model, tmp_path, monkeypatch
):
    num_parts = 20_000
    # One file and one part, linked as often as the plan says there are.
    write(corpus / "00000.parquet", ["a document"])
    store = score_corpus(corpus, tmp_path / "run", tiny_model, shard_tokens=1)
    [shard], [file] = store.require_manifest().shards, store.require_manifest().files
    manifest = store.require_manifest().model_copy(
        update={
            "num_rows": num_parts,
            "files": tuple(
                file.model_copy(update={"path": f"{n:05d}.parquet"}) for n in range(num_parts)
            ),
            "shards": tuple(
                shard._replace(id=n, spans=(shard.spans[0]._replace(file=n),))
                for n in range(num_parts)
            ),
        }
    )
    store.write_manifest(manifest)
    (tmp_path / "run" / "_SUCCESS").unlink()
    for number in range(1, num_parts):
        os.link(corpus / "00000.parquet", corpus / f"{number:05d}.parquet")
        os.link(store.root.full(store.part_name(0)), store.root.full(store.part_name(number)))
    opened: list[str] = []
    open_input, open_stream = Root.open_input, fs.LocalFileSystem.open_input_stream
    monkeypatch.setattr(
        Root, "open_input", lambda self, name: opened.append(name) or open_input(self, name)
    )
    monkeypatch.setattr(
        Root,
        "read_bytes",
        lambda self, name: (
            opened.append(name) or open_stream(self.filesystem, self.full(name)).read()
        ),
    )
    config = ScoreConfig(
        corpus=str(corpus),
        out=str(tmp_path / "run"),
        model=str(tiny_model),
        dtype="float32",
        shard_tokens=1,
    )

    again, is_new = open_run(config, store, default_shard_tokens=1)
    left = {shard.id for shard in again.shards} - store.done()

    assert (is_new, left) == (False, set())
    # No part: a listing says which there are. A file of the corpus is trusted by its footer, too.
    assert [name for name in opened if name.startswith("scores/")] == []
    assert sorted(name for name in opened if name.endswith(".parquet")) == [
        file.path for file in manifest.files
    ]
    opened.clear()

    # The end takes the totals from footers, each read once: these are of one shard.
    with pytest.raises(RunError, match="has the scores of another shard, 0"):
        finish_run(store, again, Totals(), 0.0, 0.0)
    parts = [name for name in opened if name.startswith("scores/")]
    assert len(parts) == len(set(parts)) > 1
