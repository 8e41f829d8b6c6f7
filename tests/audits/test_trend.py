"""One page of all nights: bounds and failures drawn, hostile names as text."""

import re
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.audits.config import AuditConfig
from pipeline.audits.history import rows_of
from pipeline.audits.nights import Nights
from pipeline.audits.record import Reused
from pipeline.audits.require import Require
from pipeline.audits.trend import AXIS_TITLES, CHARTS, HEIGHT, to_html, trend_svg, write_trend
from tests.audits.test_checks import part
from tests.audits.test_history import groups
from tests.audits.test_nights import HOSTILE
from tests.nights.test_webhook import make_record


def history(num_nights: int) -> pl.DataFrame:
    rows = []
    for i in range(num_nights):
        night = (date(2026, 1, 1) + timedelta(days=i)).isoformat()
        record = make_record(
            night=night,
            verdict="fail" if i % 5 == 4 else "pass",
            overall=part(10.0 + i % 7),
            groups=groups(),
            reasons=[HOSTILE] if i % 5 == 4 else [],
        )
        rows.append(rows_of(record))
    return pl.concat(rows)


def test_the_page(tmp_path: Path):
    nights = Nights(str(tmp_path))
    asked = AuditConfig(
        runs="r",
        require=(
            Require(metric="corpus_perplexity", max=14.5),
            Require(metric="corpus_perplexity", by="source", max=20),
        ),
    )
    page = to_html(history(15), asked, HOSTILE)
    assert "<script" not in page
    assert "\x1b" not in page
    assert "{{" in page  # what somebody else wrote, as text
    assert page.count("<figure") == 5
    assert "stroke-dasharray" in page
    assert page.index("2026-01-15/report.html") < page.index("2026-01-14/report.html")
    write_trend(nights, history(1), asked)
    assert "2026-01-01" in nights.root.read_bytes("trend.html").decode()


def test_a_night_without_any_score():
    record = make_record(night="2026-01-01", overall=part(None, 0))
    page = to_html(rows_of(record), AuditConfig(runs="r"), "runs")
    assert "2026-01-01" in page


def test_a_bound_that_is_far_off_is_not_drawn():
    pages = [
        to_html(
            history(3),
            AuditConfig(runs="r", require=(Require(metric="corpus_perplexity", max=bound),)),
            "runs",
        )
        for bound in (13.0, 1000.0)
    ]
    assert ["stroke-dasharray" in page for page in pages] == [True, False]


def svg_texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.parametrize("num_nights", [1, 2, 3, 11, 40])
def test_a_date_stands_once_below_a_chart(num_nights):
    whole = history(num_nights).filter(pl.col("by").is_null())
    texts = svg_texts(trend_svg(whole, "corpus_perplexity", "corpus perplexity", []))
    dates = [text for text in texts if text.startswith("20")]
    assert len(dates) == len(set(dates))
    assert 0 < len(dates) <= 10
    assert set(dates) <= set(whole["night"].dt.to_string())


def test_documents_are_counted_in_whole_numbers():
    whole = history(3).filter(pl.col("by").is_null())
    whole = whole.with_columns(num_documents=pl.Series([1, 2, 2], dtype=pl.Int64))
    texts = svg_texts(trend_svg(whole, "num_documents", "documents", []))
    numbers = [text for text in texts if re.fullmatch(r"[\d.,]+", text)]
    assert numbers
    assert all(re.fullmatch(r"\d+", text) for text in numbers)
    assert len(numbers) == len(set(numbers))


def test_an_axis_title_fits_beside_its_chart():
    whole = history(3).filter(pl.col("by").is_null())
    for name, label in CHARTS.items():
        if whole[name].drop_nulls().len():
            texts = svg_texts(trend_svg(whole, name, label, []))
            (title,) = {AXIS_TITLES.get(name, label)} & set(texts)
            assert len(title) * 6.5 < HEIGHT


def test_the_page_says_what_was_reused():
    reused = Reused(run="/runs/2026-01-01", num_shards=3, num_rows=1234)
    page = to_html(history(2), AuditConfig(runs="r"), "r", reused)
    assert "Reused the scores of 1,234 documents (3 shards) from /runs/2026-01-01." in page
    assert "Reused" not in to_html(history(2), AuditConfig(runs="r"), "r")
    one = Reused(run="r", num_shards=1, num_rows=1)
    assert one.in_words() == "Reused the scores of 1 document (1 shard) from r."
