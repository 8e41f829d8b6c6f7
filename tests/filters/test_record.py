"""pipeline/filters/record.py: whose folder an output folder is."""

from pathlib import Path

import pytest

from pipeline.errors import RunError, UsageError
from pipeline.filters.record import FilterPlan, begin, check_apart
from pipeline.runs.manifest import PlannedFile
from pipeline.runs.store import FILTER_PLAN
from pipeline.storage.filesystem import open_root
from tests.support.plans import make_manifest


def manifest(corpus: Path, asked: str | list[str], *names: str):
    files = tuple(
        PlannedFile(path=name, size_bytes=1, mtime_ns=1, num_rows=1)
        for name in names or ("x.parquet",)
    )
    return make_manifest(corpus=str(corpus), request={"corpus": asked}, files=files)


@pytest.mark.parametrize("asked", ["{corpus}", "{corpus}/", "{corpus}/*/x.parquet"])
def test_inside_a_folder_or_a_glob_is_refused(tmp_path, asked):
    corpus = open_root(str(tmp_path))
    one = manifest(tmp_path, asked.format(corpus=tmp_path))
    with pytest.raises(UsageError, match=r"out .* is inside the corpus"):
        check_apart(one, str(tmp_path / "out"), None, corpus)
    with pytest.raises(UsageError, match=r"out .* is the corpus itself"):
        check_apart(one, str(tmp_path), None, corpus)


def test_beside_a_corpus_of_one_file_is_fine(tmp_path):
    corpus = open_root(str(tmp_path))
    one = manifest(tmp_path, str(tmp_path / "x.parquet"))
    check_apart(one, str(tmp_path / "out"), str(tmp_path / "rest"), corpus)
    with pytest.raises(UsageError, match="is the corpus itself"):
        check_apart(one, str(tmp_path), None, corpus)


def test_beside_the_folders_and_files_of_several_is_fine(tmp_path):
    """Their own folder is where a user works, as often as not."""
    corpus = open_root(str(tmp_path))
    asked = [f"{tmp_path}/a", f"{tmp_path}/b/*.pq", f"{tmp_path}/c/x.parquet"]
    several = manifest(tmp_path, asked, "a/1.parquet", "b/2.pq", "c/x.parquet")
    for fine in ("out", "c", "c/out", "ab"):
        check_apart(several, str(tmp_path / fine), None, corpus)
    for inside in ("a", "a/out", "b", "b/out"):
        with pytest.raises(UsageError, match="is inside the corpus"):
            check_apart(several, str(tmp_path / inside), None, corpus)
    with pytest.raises(UsageError, match="is the corpus itself"):
        check_apart(several, str(tmp_path), None, corpus)
    moved = open_root(str(tmp_path / "moved"))
    check_apart(several, str(tmp_path / "a"), None, moved)
    with pytest.raises(UsageError, match="is inside the corpus"):
        check_apart(several, str(tmp_path / "moved/a/out"), None, moved)


def test_a_link_in_a_loop_is_apart_and_is_refused_as_what_it_is(tmp_path):
    loop = tmp_path / "out"
    loop.symlink_to(loop)
    corpus = tmp_path / "corpus"
    check_apart(manifest(corpus, str(corpus)), str(loop), None, open_root(str(corpus)))
    with pytest.raises((OSError, RunError, UsageError), match="symbolic links"):
        begin(open_root(str(loop)), FilterPlan(identity={}, kept={}), "out")


def test_begin(tmp_path):
    root = open_root(str(tmp_path / "out"))
    plan = FilterPlan(identity={"run": "a", "max nll": 1.0}, kept={"x": (3,)})
    assert begin(root, plan, "out") is False
    assert begin(root, plan, "out") is False
    root.write_bytes("_filter.json", b"{}")
    assert begin(root, plan, "out") is True
    other = plan.model_copy(update={"identity": {"run": "b", "max nll": 1.0}})
    with pytest.raises(RunError, match="another filter: run a -> b"):
        begin(root, other, "--out")
    with pytest.raises(RunError, match="scores that have changed since"):
        begin(root, plan.model_copy(update={"kept": {"x": (4,)}}), "--out")
    root.write_bytes(FILTER_PLAN, b"{")
    with pytest.raises(RunError, match="is damaged"):
        begin(root, plan, "--out")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    root = open_root(str(tmp_path / "file" / "out"))
    with pytest.raises(UsageError, match="cannot write to"):
        begin(root, FilterPlan(identity={}, kept={}), "--out")
