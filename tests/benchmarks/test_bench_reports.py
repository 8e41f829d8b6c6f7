"""The benchmarks' runs are real ones: every side works on a small one."""

import polars as pl
import pytest

from pipeline.reports.report import build_report
from tests.benchmarks import bench_rewrite
from tests.benchmarks.bench_reports import SIDES, make_run


@pytest.mark.parametrize("side", SIDES)
def test_every_side_runs(tmp_path, side):
    SIDES[side](make_run(tmp_path, 3000))


def test_both_ways_to_write_a_corpus_again_write_about_as_many_rows(tmp_path):
    make_run(tmp_path, 2000, rows_a_part=700, write_file=bench_rewrite.write_texts)
    rows = {}
    for side, write in bench_rewrite.SIDES.items():
        write(tmp_path, tmp_path / side)
        rows[side] = pl.scan_parquet(tmp_path / side / "*.parquet").select(pl.len()).collect()
    kept = {side: found.item() for side, found in rows.items()}
    assert kept["polars, all"] == 2000
    for side in ("winnow filter", "polars, filtered"):
        assert kept[side] == pytest.approx(2000 * bench_rewrite.KEPT_PERCENT / 100, rel=0.1)


def test_the_run_has_what_a_report_looks_for(tmp_path):
    report = build_report(make_run(tmp_path, 3000))
    assert report.complete
    assert report.overall.num_documents == 3000
    assert set(report.coverage.statuses) == {"ok", "error"}
    assert len(report.groups["source"]) > 5
    assert len(report.lengths) > 5
    assert any(one.excerpt is None for one in report.examples)
