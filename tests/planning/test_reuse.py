"""What a run takes over from another: exactly the shards whose inputs are as they were."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from jobs.run.score import finish_run
from pipeline.corpus.files import Footer
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.planning.plan import open_run
from pipeline.planning.reuse import covered_groups, merge_shards, take_over
from pipeline.planning.sharding import make_shards
from pipeline.runs.manifest import Manifest, Totals
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.schema import Shard, Span
from pipeline.scoring.shard import score_shard
from pipeline.settings.config import ScoreConfig
from pipeline.verification.integrity import check_integrity
from tests.support.edits import edit_unseen, recompress, touch, write_plain
from tests.support.fakes import FakeEngine
from tests.support.runs import planned_by_0_1_0

FILES = {
    f"{letter}.parquet": [f"{letter} {row} " * (row + 1) for row in range(6)] for letter in "abcd"
}


def write(file: Path, texts: list[str]) -> None:
    pq.write_table(pa.table({"text": texts}), file, row_group_size=3)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, texts in FILES.items():
        write(folder / name, texts)
    return folder


def plan(corpus: Path, out: Path, model: Path, **settings) -> tuple[RunStore, Manifest]:
    values = {"dtype": "float32", "shard_tokens": 10, **settings}
    config = ScoreConfig(corpus=str(corpus), out=str(out), model=str(model), **values)
    store = RunStore(config.out)
    manifest, is_new = open_run(config, store, default_shard_tokens=10)
    assert is_new
    store.write_manifest(manifest)
    return store, manifest


def finish(store: RunStore, manifest: Manifest, model: Path) -> int:
    """Take over, score the rest; how many shards were scored."""
    take_over(store, manifest)
    left = {shard.id for shard in manifest.shards} - store.done()
    for shard in manifest.shards:
        if shard.id in left:
            score_shard(
                manifest.task(shard.id),
                manifest,
                engine=FakeEngine(),
                tokenizer=HubTokenizer(str(model)),
                store=store,
            )
    assert finish_run(store, manifest, Totals(), 1.0, 1.0) is not None
    return len(left)


@pytest.fixture
def first(corpus: Path, tiny_model: Path, tmp_path: Path) -> RunStore:
    store, manifest = plan(corpus, tmp_path / "first", tiny_model)
    assert len(manifest.shards) > len(FILES)
    finish(store, manifest, tiny_model)
    return store


def rows(store: RunStore):
    return scan_scores(store, store.require_manifest()).collect()


def test_an_unchanged_corpus_costs_nothing(first, corpus, tiny_model, tmp_path):
    store, manifest = plan(corpus, tmp_path / "second", tiny_model, reuse=first.location)

    assert finish(store, manifest, tiny_model) == 0
    assert_frame_equal(rows(store), rows(first))
    success = store.success()
    assert success is not None
    assert success.num_shards_reused == len(manifest.shards)
    assert success.num_rows_reused == manifest.num_rows
    parts = Path(first.location, "scores"), Path(store.location, "scores")
    for part in parts[0].iterdir():
        assert part.samefile(parts[1] / part.name), "linked, not copied"


def test_bytes_counted_otherwise_are_not_taken_over(corpus, tiny_model, tmp_path, caplog):
    store, manifest = plan(corpus, tmp_path / "first", tiny_model, prefix="none")
    old = planned_by_0_1_0(manifest)
    store.write_manifest(old)
    finish(store, old, tiny_model)
    again, manifest = plan(
        corpus, tmp_path / "second", tiny_model, prefix="none", reuse=store.location
    )
    assert finish(again, manifest, tiny_model) == len(manifest.shards)
    said = "rows are reused from {}; the others are scored: scored_bytes not set -> exact"
    assert said.format(store.location) in caplog.text


def test_changed_added_and_removed_files(first, corpus, tiny_model, tmp_path):
    write(corpus / "b.parquet", ["another text"] * 4)
    write(corpus / "aa.parquet", ["a new file"] * 5)
    (corpus / "d.parquet").unlink()

    store, manifest = plan(corpus, tmp_path / "second", tiny_model, reuse=first.location)
    scored = finish(store, manifest, tiny_model)

    assert 0 < scored < len(manifest.shards)
    fresh, fresh_manifest = plan(corpus, tmp_path / "fresh", tiny_model)
    finish(fresh, fresh_manifest, tiny_model)
    # In the order of the corpus, whatever was taken over.
    assert_frame_equal(rows(store), rows(fresh))
    assert all(check.passed for check in check_integrity(store, manifest))
    success = store.success()
    assert success is not None
    kept = {f.path for f in manifest.files} & {"a.parquet", "c.parquet"}
    assert success.num_rows_reused == sum(f.num_rows for f in manifest.files if f.path in kept)


def test_nothing_is_said_where_only_old_rows_are_left_out(
    first, corpus, tiny_model, tmp_path, caplog
):
    """All rows that there are are reused: no others are scored."""
    (corpus / "d.parquet").unlink()
    _, manifest = plan(corpus, tmp_path / "second", tiny_model, reuse=first.location)
    assert manifest.reuse is not None
    assert "gone (d.parquet)" in manifest.reuse.reason
    assert len(manifest.reuse.shards) == len(manifest.shards)
    assert "the others are scored" not in caplog.text


def test_small_files_that_share_a_part_are_told_of(corpus, tiny_model, tmp_path, caplog):
    """All four files in one part: one of them changed, and nothing can be taken over."""
    first, manifest = plan(corpus, tmp_path / "first", tiny_model, shard_tokens=10_000)
    assert len(manifest.shards) == 1
    finish(first, manifest, tiny_model)
    write(corpus / "b.parquet", ["another text"] * 4)

    _, second = plan(corpus, tmp_path / "2", tiny_model, reuse=first.location, shard_tokens=10_000)

    assert second.reuse is not None
    assert second.reuse.shards == {}
    assert second.reuse.reason.startswith(
        "of 24 rows there, 6 are in files that changed (b.parquet); 18 of other files share a part"
    )
    assert (
        f"of 0 of 22 rows are reused from {first.location}; the others are scored: of 24 "
        in caplog.text
    )


def test_why_some_rows_are_not_taken_over(first, corpus, tiny_model, tmp_path):
    for name in ("a.parquet", "b.parquet"):
        (corpus / name).unlink()
    write(corpus / "c.parquet", ["another text"] * 4)
    next(iter(sorted(Path(first.location, "scores").iterdir(), reverse=True))).unlink()
    _, manifest = plan(corpus, tmp_path / "second", tiny_model, reuse=first.location)
    assert manifest.reuse is not None
    kept = sum(shard.num_rows for shard in manifest.shards if shard.id in manifest.reuse.shards)
    assert 0 < kept < manifest.num_rows
    assert manifest.reuse.reason == (
        "of 24 rows there, 3 have no scores; 6 are in files that changed (c.parquet); "
        "12 are in files that are gone (a.parquet, b.parquet)"
    )


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"window_tokens": 64}, "window_tokens 511 -> 64"), ({"limit": 5}, "limit")],
    ids=["another fingerprint", "a limit"],
)
def test_runs_that_do_not_match_share_nothing(
    first, corpus, tiny_model, tmp_path, settings, reason, caplog
):
    store, manifest = plan(corpus, tmp_path / "b", tiny_model, reuse=first.location, **settings)
    assert finish(store, manifest, tiny_model) == len(manifest.shards)
    assert reason in caplog.text


def test_a_part_that_is_gone_or_damaged_is_scored_anew(first, corpus, tiny_model, tmp_path):
    whole = rows(first)
    parts = sorted(Path(first.location, "scores").iterdir())
    store, manifest = plan(corpus, tmp_path / "second", tiny_model, reuse=first.location)
    parts[0].unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:100])

    assert finish(store, manifest, tiny_model) == 2
    assert_frame_equal(rows(store), whole)


def test_an_unfinished_run_is_good_for_what_it_has(first, corpus, tiny_model, tmp_path):
    Path(first.location, "_SUCCESS").unlink()
    sorted(Path(first.location, "scores").iterdir())[0].unlink()
    store, manifest = plan(corpus, tmp_path / "second", tiny_model, reuse=first.location)
    assert finish(store, manifest, tiny_model) == 1


def test_a_corpus_that_was_moved_is_the_same(first, corpus, tiny_model, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(corpus, moved)  # keeps the times
    store, manifest = plan(moved, tmp_path / "second", tiny_model, reuse=first.location)
    assert finish(store, manifest, tiny_model) == 0


@pytest.mark.parametrize("change", [touch, recompress], ids=["touched", "recompressed"])
def test_the_same_documents_in_another_file_are_taken_over(
    first, corpus, tiny_model, tmp_path, caplog, change
):
    change(corpus / "b.parquet")
    store, manifest = plan(corpus, tmp_path / "second", tiny_model, reuse=first.location)
    assert "reading 1 file to check" in caplog.text
    assert finish(store, manifest, tiny_model) == 0
    assert_frame_equal(rows(store), rows(first))


def test_a_run_planned_without_digests_is_compared_once(
    first, corpus, tiny_model, tmp_path, caplog
):
    old = first.require_manifest()
    files = tuple(file.model_copy(update={"footer_digest": None}) for file in old.files)
    first.write_manifest(old.model_copy(update={"files": files}))
    store, manifest = plan(corpus, tmp_path / "second", tiny_model, reuse=first.location)
    assert f"reading {len(FILES)} files" in caplog.text
    assert finish(store, manifest, tiny_model) == 0
    caplog.clear()
    plan(corpus, tmp_path / "third", tiny_model, reuse=store.location)
    assert "comparing" not in caplog.text


def test_another_text_behind_the_same_footer_is_scored_anew(corpus, tiny_model, tmp_path):
    write_plain(corpus / "b.parquet", [f"text {i}" for i in range(6)])
    first, manifest = plan(corpus, tmp_path / "first", tiny_model)
    finish(first, manifest, tiny_model)
    edit_unseen(corpus / "b.parquet", "text 4", "text X", keep_time=False)
    store, manifest = plan(corpus, tmp_path / "second", tiny_model, reuse=first.location)
    assert finish(store, manifest, tiny_model) > 0
    assert taken_over(manifest) == {"a.parquet", "c.parquet", "d.parquet"}
    fresh, fresh_manifest = plan(corpus, tmp_path / "fresh", tiny_model)
    finish(fresh, fresh_manifest, tiny_model)
    assert_frame_equal(rows(store), rows(fresh))


def test_another_value_of_a_carried_column_is_scored_anew(corpus, tiny_model, tmp_path):
    """The part holds it, and would go on holding what it was."""
    for name, texts in FILES.items():
        table = {"text": texts, "lang": ["en"] * 6, "n": [float("nan"), 1.0] * 3}
        pq.write_table(pa.table(table), corpus / name, row_group_size=3)
    settings = {"carry": ("lang", "n")}
    first, manifest = plan(corpus, tmp_path / "first", tiny_model, **settings)
    finish(first, manifest, tiny_model)
    for name in ("a.parquet", "b.parquet"):
        table = pq.read_table(corpus / name)
        lang = ["en"] * 5 + ["de" if name == "b.parquet" else "en"]
        table = table.set_column(1, "lang", pa.array(lang))
        pq.write_table(table, corpus / name, row_group_size=3)
    store, manifest = plan(
        corpus, tmp_path / "second", tiny_model, reuse=first.location, **settings
    )
    finish(store, manifest, tiny_model)
    assert taken_over(manifest) == {"a.parquet", "c.parquet", "d.parquet"}


def taken_over(manifest: Manifest) -> set[str]:
    """Files that are in shards which were taken over."""
    assert manifest.reuse is not None
    shards = [manifest.shards[shard] for shard in manifest.reuse.shards]
    return {manifest.files[span.file].path for shard in shards for span in shard.spans}


@given(st.data())
def test_every_row_group_is_in_one_shard_in_order(data):
    """Whatever is kept, kept and new shards cover the corpus once, in its order."""
    sizes = data.draw(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), max_size=6))
    footers = [
        Footer(f"{i}", None, None, tuple((rows, 10 * rows) for rows in groups))  # type: ignore[arg-type]
        for i, groups in enumerate(sizes)
    ]
    old = list(make_shards(footers, data.draw(st.integers(1, 200)), None))
    kept = [shard for shard in old if data.draw(st.booleans())]

    made = list(make_shards(footers, data.draw(st.integers(1, 200)), None, covered_groups(kept)))
    shards, origin = merge_shards(kept, made)

    def cells(spans: tuple[Span, ...]) -> list[tuple[int, int, int]]:
        found = []
        for span in spans:
            assert span.num_rows == sum(sizes[span.file][group] for group in span.row_groups)
            assert span.first_row == sum(sizes[span.file][: span.row_groups[0]])
            found += [(span.file, group, sizes[span.file][group]) for group in span.row_groups]
        return found

    everything = [cell for shard in shards for cell in cells(shard.spans)]
    expected = [(f, g, n) for f, groups in enumerate(sizes) for g, n in enumerate(groups)]
    assert everything == expected
    assert [shard.id for shard in shards] == list(range(len(shards)))
    by_old = {shard.id: shard for shard in kept}
    for new, was in origin.items():
        assert shards[new] == Shard(new, *by_old[was][1:])
    assert len(origin) == len(kept)
