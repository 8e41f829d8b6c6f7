"""The file of judgements: what is saved is there, whole, and of the text that was judged."""

import os
from pathlib import Path

import polars as pl
import pytest

from pipeline.errors import ConfigError
from pipeline.runs.judgements import NAME, Judgement, Judgements, Key
from pipeline.storage.filesystem import open_root

KEYS = [
    Key("a.parquet", 3, -(2**63)),
    Key("b's ü.parquet", 2**40, 2**63 - 1),
    Key("a.parquet", 3, 7),
]
DRAWN = Judgement(False, "bands", "perplexity", 4, 1000, 12)


def kept(folder: Path) -> Judgements:
    return Judgements(open_root(str(folder)))


def said(judgements: Judgements) -> dict[Key, Judgement]:
    return {key: one._replace(judged_at=None) for key, one in judgements.items()}


@pytest.fixture
def judged(tmp_path) -> Path:
    own = kept(tmp_path)
    for key, one in zip(KEYS, (Judgement(True), DRAWN, Judgement(None)), strict=True):
        own.put(key, one)
    return tmp_path


def test_they_survive_a_restart(judged):
    expected = dict(zip(KEYS, (Judgement(True), DRAWN, Judgement(None)), strict=True))
    assert said(kept(judged)) == expected
    assert all(one.judged_at is not None for _, one in kept(judged).items())
    assert [path.name for path in judged.iterdir()] == [NAME]


def test_the_file_is_for_others_to_read(judged):
    table = pl.read_parquet(judged / NAME)
    assert table.columns[:4] == ["file", "row", "text_hash", "is_good"]
    assert table.filter(pl.col("bands").is_not_null()).select(
        "band", "band_documents", "draw"
    ).rows() == [(4, 1000, 12)]


def test_said_again_and_taken_back(judged):
    own = kept(judged)
    own.put(KEYS[0], Judgement(False))
    own.put(KEYS[2], None)
    assert said(kept(judged)) == {KEYS[0]: Judgement(False), KEYS[1]: DRAWN}


def test_another_text_in_the_same_place_is_not_judged(judged):
    assert kept(judged).get(KEYS[0]._replace(text_hash=8)) is None


def test_two_at_once_lose_nothing(judged):
    one, other = kept(judged), kept(judged)
    one.put(Key("c", 1, 1), Judgement(True))
    other.put(Key("c", 2, 2), Judgement(True))
    assert len(kept(judged)) == 5


def test_it_is_on_disk_before_the_answer(judged, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda _: done.append("fsync"))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda *paths: (done.append("rename"), replace(*paths))[1])
    kept(judged).put(KEYS[0], Judgement(False))
    assert done == ["fsync", "rename", "fsync"]


def test_a_file_that_fails_midway_leaves_the_old_one(judged, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    own, before = kept(judged), (judged / NAME).read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"the judgement is not saved: .*No space left"):
        own.put(KEYS[0], Judgement(False))
    assert (judged / NAME).read_bytes() == before
    assert own.get(KEYS[0]).is_good is True
    assert [path.name for path in judged.iterdir()] == [NAME]


def test_every_flipped_bit_is_found_or_changes_nothing(judged):
    whole = (judged / NAME).read_bytes()
    expected, found = said(kept(judged)), 0
    for at in range(0, len(whole), 3):
        (judged / NAME).write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            own = said(kept(judged))
        except ConfigError:
            found += 1
        else:
            assert own == expected
    assert found > 100


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 1000])
def test_a_damaged_file_is_said_and_left(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ConfigError, match="damaged, or no Parquet") as raised:
        kept(tmp_path)
    assert "judgements" in (raised.value.hint or "")
    assert (tmp_path / NAME).read_bytes() == content


def test_one_that_is_damaged_meanwhile_is_not_replaced(judged):
    own = kept(judged)
    (judged / NAME).write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="damaged"):
        own.put(KEYS[0], Judgement(False))
    assert (judged / NAME).read_bytes() == b"damaged"


def test_another_table_is_none_of_ours(tmp_path):
    pl.DataFrame({"file": ["a"]}).write_parquet(tmp_path / NAME)
    with pytest.raises(ConfigError, match="other columns"):
        kept(tmp_path)


def test_where_nothing_may_be_written(tmp_path):
    (tmp_path / "run").write_text("a file, not a folder")
    own = kept(tmp_path / "run")
    with pytest.raises(ConfigError, match="the judgement is not saved") as raised:
        own.put(KEYS[0], Judgement(True))
    assert "judgements" in (raised.value.hint or "")
    assert len(own) == 0


def test_a_file_that_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Judgements.at("mine.parquet").put(KEYS[0], Judgement(True))
    assert len(Judgements.at(str(tmp_path / "mine.parquet"))) == 1
    with pytest.raises(ConfigError, match="is a folder"):
        Judgements.at("mine/")
