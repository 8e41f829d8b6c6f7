"""pipeline/verification/integrity.py: every kind of damage to a run is found and named."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.runs.store import RunStore
from pipeline.verification.integrity import check_integrity
from tests.support.edits import edit_unseen, recompress, touch, write_plain
from tests.support.parts import rewrite
from tests.support.runs import make_run, score_corpus

TEXTS = [f"document {i} " + "and so on " * (i % 4) for i in range(14)] + [None, ""]


@pytest.fixture
def store(tmp_path: Path, tiny_model: Path) -> RunStore:
    return make_run(tmp_path, tiny_model, TEXTS)


def verdicts(store: RunStore) -> dict[str, tuple[bool, str]]:
    checks = check_integrity(store, store.require_manifest())
    return {check.name: (check.passed, check.detail) for check in checks}


def failed(store: RunStore) -> dict[str, str]:
    return {name: detail for name, (passed, detail) in verdicts(store).items() if not passed}


def first_part(store: RunStore) -> Path:
    return Path(store.root.full(store.part_name(0)))


def test_a_sound_run_passes(store):
    found = verdicts(store)
    assert all(passed for passed, _ in found.values()), found
    assert found.keys() == {"finished", "parts", "rows", "totals", "corpus"}
    assert "16 rows" in found["rows"][1]


def test_files_that_were_given_up_are_named(store):
    manifest = store.require_manifest()
    torn = {f"{name}.parquet": "no Parquet" for name in "abcd"}
    checks = check_integrity(store, manifest.model_copy(update={"unreadable": torn}))
    found = next(check for check in checks if check.name == "corpus")
    assert found.passed
    assert found.detail.endswith(
        "; given up as unreadable, and not scored: a.parquet: no Parquet; b.parquet: no Parquet; "
        "c.parquet: no Parquet and 1 more"
    )


def test_unfinished(store):
    store.root.remove("_SUCCESS")
    assert failed(store) == {"finished": "the run is not finished"}


def test_a_part_is_missing(store):
    first_part(store).unlink()
    assert "1 parts are missing" in failed(store)["parts"]


def test_a_part_too_many(store):
    target = Path(store.root.full(store.part_name(999)))
    target.write_bytes(first_part(store).read_bytes())
    assert "1 do not belong to the run" in failed(store)["parts"]


def test_a_flipped_bit_in_a_page(store):
    part = first_part(store)
    content = bytearray(part.read_bytes())
    metadata = pq.read_metadata(part)
    column = metadata.row_group(0).column(metadata.schema.names.index("nll"))
    content[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    part.write_bytes(content)
    assert "damaged" in failed(store)["rows"]


def test_rows_in_another_order(store):
    rewrite(first_part(store), lambda table: table.take(list(reversed(range(table.num_rows)))))
    assert "does not have the input rows in order" in failed(store)["rows"]


def test_a_row_too_few(store):
    rewrite(first_part(store), lambda table: table.slice(1))
    assert "its footer says num_rows = 3, the rows add up to 2" in failed(store)["rows"]


@pytest.mark.parametrize("column", ["nll", "perplexity", "bits_per_token", "bits_per_byte"])
def test_a_metric_that_contradicts_the_others(store, column):
    def change(table: pa.Table) -> pa.Table:
        index = table.schema.get_field_index(column)
        return table.set_column(index, table.schema.field(index), pc.multiply(table[column], 1.001))

    rewrite(first_part(store), change)
    found = "its footer says nll" if column == "nll" else "metrics contradict each other"
    assert found in failed(store)["rows"]


def test_a_footer_that_says_other_totals(store):
    totals = store.footer(0).totals.model_dump()
    rewrite(first_part(store), totals=totals | {"num_tokens": totals["num_tokens"] + 1})
    assert "num_tokens" in failed(store)["rows"]


def test_a_part_of_another_fingerprint(store, tmp_path, tiny_model):
    other = make_run(tmp_path / "other", tiny_model, TEXTS, window_tokens=99)
    first_part(store).write_bytes(first_part(other).read_bytes())
    detail = failed(store)["rows"]
    assert "another fingerprint" in detail
    assert "window_tokens 511 -> 99" in detail


def test_totals_that_do_not_add_up(store):
    success = json.loads(store.root.read_bytes("_SUCCESS"))
    success["totals"]["nll"] += 0.5
    store.root.write_bytes("_SUCCESS", json.dumps(success).encode())
    assert "_SUCCESS says nll" in failed(store)["totals"]


# --- the corpus


def test_a_corpus_is_trusted_where_size_footer_and_time_agree(store):
    said = "the texts of 2 files are those that were scored: "
    trusted = "2 trusted by size, footer and time, 0 by comparing texts"
    assert verdicts(store)["corpus"] == (True, said + trusted)


@pytest.mark.parametrize(
    ("change", "facts"),
    [(touch, "time"), (recompress, "size and footer and time")],
    ids=["touched", "recompressed"],
)
def test_the_same_texts_in_another_file_pass(store, tmp_path, change, facts):
    change(tmp_path / "corpus" / "1.parquet")
    passed, detail = verdicts(store)["corpus"]
    assert passed
    assert detail.endswith(f"1 by comparing texts (1.parquet has another {facts})")


def test_other_row_groups_with_the_same_texts_pass(store, tmp_path):
    file = tmp_path / "corpus" / "1.parquet"
    pq.write_table(pq.read_table(file), file, row_group_size=4)
    assert verdicts(store)["corpus"][0]


def test_a_run_planned_without_digests_is_compared(store):
    manifest = store.require_manifest()
    files = tuple(file.model_copy(update={"footer_digest": None}) for file in manifest.files)
    store.write_manifest(manifest.model_copy(update={"files": files}))
    passed, detail = verdicts(store)["corpus"]
    assert passed
    assert "0 trusted by size, footer and time, 2 by comparing texts" in detail
    assert "0.parquet has no recorded footer" in detail


def test_another_text_is_named_by_file_and_row(tiny_model, tmp_path):
    (tmp_path / "corpus").mkdir()
    write_plain(tmp_path / "corpus" / "a.parquet", [f"text {i}" for i in range(8)])
    store = score_corpus(tmp_path / "corpus", tmp_path / "run", tiny_model)
    edit_unseen(tmp_path / "corpus" / "a.parquet", "text 5", "text X", keep_time=False)
    detail = failed(store)["corpus"]
    assert "1 files differ: a.parquet, row 5: the text is not the one that was scored" in detail


def test_files_that_are_gone_torn_or_shorter(store, tmp_path):
    (tmp_path / "corpus" / "0.parquet").unlink()
    file = tmp_path / "corpus" / "1.parquet"
    pq.write_table(pq.read_table(file).slice(0, 5), file)
    assert "0.parquet is gone; 1.parquet has 5 rows, had 8" in failed(store)["corpus"]
    file.write_bytes(b"")
    assert "1.parquet cannot be read: not a readable Parquet file" in failed(store)["corpus"]
