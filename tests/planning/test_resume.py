"""`winnow score` again, over a corpus that was touched, written again or edited meanwhile."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.run.score import finish_run
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.errors import CorpusError
from pipeline.planning.plan import open_run
from pipeline.runs.manifest import Manifest, Totals
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.scoring.shard import score_shard
from pipeline.settings.config import ScoreConfig
from tests.support.edits import edit_unseen, recompress, touch, write_plain
from tests.support.fakes import FakeEngine
from tests.support.runs import planned_by_0_1_0

ROWS = 9
FILES = ("a.parquet", "b.parquet")


class Resumed:
    """A run of two files that was stopped halfway through: the first file is scored."""

    def __init__(
        self,
        folder: Path,
        model: Path,
        *,
        planned: Callable[[Manifest], Manifest] = lambda manifest: manifest,
        **settings: object,
    ) -> None:
        self.corpus = folder / "corpus"
        self.corpus.mkdir()
        for name in FILES:
            write_plain(self.corpus / name, [f"{name} text {i}" for i in range(ROWS)])
        self.config = ScoreConfig(
            corpus=str(self.corpus),
            out=str(folder / "run"),
            model=str(model),
            dtype="float32",
            shard_tokens=10,
            **settings,  # type: ignore[arg-type]
        )
        self.model = model
        self.store = RunStore(self.config.out)
        manifest = planned(open_run(self.config, self.store, default_shard_tokens=10)[0])
        self.store.write_manifest(manifest)
        of_first = [shard for shard in manifest.shards if shard.spans[-1].file == 0]
        assert 0 < len(of_first) < len(manifest.shards)
        self.score(manifest, [shard.id for shard in of_first])

    def score(self, manifest: Manifest, shards: list[int]) -> None:
        for shard in shards:
            score_shard(
                manifest.task(shard),
                manifest,
                engine=FakeEngine(),
                tokenizer=HubTokenizer(str(self.model)),
                store=self.store,
            )

    def resume(self) -> Manifest:
        """Open the run again and score what is left."""
        manifest, is_new = open_run(self.config, self.store, default_shard_tokens=10)
        assert not is_new
        left = {shard.id for shard in manifest.shards} - self.store.done()
        self.score(manifest, sorted(left))
        assert finish_run(self.store, manifest, Totals(), 1.0, 1.0) is not None
        return manifest


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Resumed:
    return Resumed(tmp_path, tiny_model)


def test_an_untouched_corpus_is_not_read(run, caplog, monkeypatch):
    monkeypatch.setattr("pipeline.planning.resume.compare_documents", None)
    run.resume()
    assert "comparing" not in caplog.text


@pytest.mark.parametrize("change", [touch, recompress], ids=["touched", "recompressed"])
def test_the_same_documents_go_on_and_it_is_said(run, caplog, change):
    for name in FILES:
        change(run.corpus / name)
    with caplog.at_level(logging.WARNING):
        manifest = run.resume()
    [said] = [one.message for one in caplog.records if "scored in" in one.message]
    assert said.startswith("reading 2 files to check"), "a size of 0.0 GB says nothing"
    assert scan_scores(run.store, manifest).collect().height == 2 * ROWS


def test_a_corpus_copied_over_itself_goes_on(run, tmp_path):
    shutil.copytree(run.corpus, tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(run.corpus)
    (tmp_path / "copy").rename(run.corpus)
    run.resume()


def test_a_finished_run_too_may_be_touched(run):
    run.resume()
    touch(run.corpus / "b.parquet")
    run.resume()
    edit_unseen(run.corpus / "b.parquet", "b.parquet text 8", "b.parquet text 9", keep_time=False)
    with pytest.raises(CorpusError, match=r"b\.parquet, row 8: the text is not the one"):
        run.resume()


def test_another_text_in_a_scored_row_is_refused_by_file_and_row(run):
    edit_unseen(run.corpus / "a.parquet", "a.parquet text 7", "a.parquet text X", keep_time=False)
    with pytest.raises(
        CorpusError, match=r"changed since this run was planned: a\.parquet, row 7: the text"
    ) as raised:
        run.resume()
    assert raised.value.exit_code == 2
    assert raised.value.hint == "choose a new out to score the corpus as it is now"


def test_another_text_in_a_row_that_is_not_scored_yet_is_scored(run):
    edit_unseen(run.corpus / "b.parquet", "b.parquet text 7", "b.parquet text X", keep_time=False)
    run.resume()


@pytest.mark.parametrize("name", FILES, ids=["scored", "not yet"])
def test_row_groups_that_are_not_as_planned_are_refused(run, name):
    write_plain(run.corpus / name, [f"{name} text {i}" for i in range(ROWS)], rows_per_group=4)
    with pytest.raises(CorpusError, match=rf"(?m){name} has other row groups$"):
        run.resume()


def test_a_column_that_is_gone_is_refused(run):
    file = run.corpus / "a.parquet"
    pq.write_table(pq.read_table(file).rename_columns(["body"]), file)
    with pytest.raises(CorpusError, match=r"a\.parquet cannot be read: no column 'text'"):
        run.resume()


def test_a_run_planned_by_0_1_0_goes_on_once_compared(run, caplog):
    content = (Path(run.config.out) / "manifest.json").read_text()
    manifest = run.store.require_manifest()
    for file in manifest.files:
        content = content.replace(f', "footer_digest": "{file.footer_digest}"', "")
    assert "footer_digest" not in content
    (Path(run.config.out) / "manifest.json").write_text(content)
    run.resume()
    assert "reading 2 files" in caplog.text


def test_under_a_limit_a_group_may_hold_more(tmp_path, tiny_model):
    run = Resumed(tmp_path, tiny_model, limit=ROWS + 4)
    for name in FILES:
        touch(run.corpus / name)
    manifest = run.resume()
    assert scan_scores(run.store, manifest).collect().height == ROWS + 4


@pytest.mark.parametrize("how", [{"prefix": "none"}, {"long_documents": "truncate"}], ids=str)
def test_a_run_of_0_1_0_goes_on_by_its_rules(tmp_path, tiny_model, how):
    """Bytes that were counted by whole characters still are: one run, one meaning."""
    run = Resumed(tmp_path, tiny_model, planned=planned_by_0_1_0, window_tokens=10, **how)
    before = run.store.require_manifest()
    manifest = run.resume()
    assert manifest.rules == before.rules
    assert manifest.rules.counts_whole_characters
    assert "scored_bytes" not in manifest.fingerprint


def test_a_run_of_today_goes_on_by_its_own(tmp_path, tiny_model):
    manifest = Resumed(tmp_path, tiny_model, prefix="none").resume()
    assert manifest.fingerprint["scored_bytes"] == "exact"
    assert not manifest.rules.counts_whole_characters


def test_where_all_is_scored_the_fingerprint_is_that_of_0_1_0(run):
    assert "scored_bytes" not in run.resume().fingerprint
