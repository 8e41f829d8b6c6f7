"""The benchmark's run is a real one: every side of it works on a small one."""

import pytest

from pipeline.reports.report import build_report
from tests.benchmarks.bench_reports import SIDES, make_run


@pytest.mark.parametrize("side", SIDES)
def test_every_side_runs(tmp_path, side):
    SIDES[side](make_run(tmp_path, 3000))


def test_the_run_has_what_a_report_looks_for(tmp_path):
    report = build_report(make_run(tmp_path, 3000))
    assert report.complete
    assert report.overall.num_documents == 3000
    assert set(report.coverage.statuses) == {"ok", "error"}
    assert len(report.groups["source"]) > 5
    assert len(report.lengths) > 5
    assert any(one.excerpt is None for one in report.examples)
