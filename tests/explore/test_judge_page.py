"""Judging on the page, in a real Chromium: by keys, after a restart, and what it then says."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.explore.bins import fill_bins, group_of
from pipeline.explore.judging import Judging
from pipeline.explore.rule import Asked, decide
from pipeline.explore.run import open_run
from pipeline.runs.judgements import Judgements
from tests.support.explored import Explored, exploring, why_no_browser
from tests.support.visits import Visit

REASON = why_no_browser()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")
CUT = "#metric=perplexity&by=source&high=5.2&at=high"
NUM = 40


@pytest.fixture
def run(scored, tmp_path) -> Path:
    """A run of one's own, to write beside."""
    return Path(shutil.copytree(scored.location, tmp_path / "run"))


def begin(found: Visit, server: Explored) -> Any:
    page = found.open(server.address + CUT)
    page.locator("#begin").click()
    page.locator("pre.drawn").wait_for()
    return page


def judge(page: Any, key: str) -> str:
    """Press a key; the place of the next document."""
    before = page.locator("#drawn p").inner_text()
    page.keyboard.press(key)
    page.wait_for_function(
        "was => document.querySelector('#drawn p')?.innerText !== was", arg=before
    )
    return before


def judge_by_text(page: Any, number: int) -> list[str]:
    """Documents of more than some length are good: whatever a person would see in them."""
    return [
        judge(page, "g" if len(page.locator("pre.drawn").text_content()) > 120 else "b")
        for _ in range(number)
    ]


def judge_by_request(server: Explored, number: int) -> None:
    """The same, without the page."""
    for _ in range(number):
        drawn = server.ask("next", metric=0, scope="all")
        said = "good" if len(drawn["text"]) > 120 else "bad"
        server.tell("judge", metric=0, at=drawn["at"], said=said, drawn="yes")


def said(page: Any) -> tuple[list[str], str]:
    page.locator("#quality:not(.old) dd").first.wait_for()
    return page.locator("#quality dd").all_inner_texts(), page.locator("#counts").inner_text()


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def test_judged_by_keys_and_after_a_restart(run, visit):
    with exploring(run, "--no-open") as server:
        found = visit()
        page = begin(found, server)
        places = judge_by_text(page, NUM)
        assert len(set(places)) == NUM
        # Taken back, and said again.
        was = judge(page, "u")
        assert page.locator("#drawn p").inner_text() == places[-1]
        assert was not in places
        judge_by_text(page, 1)
        assert page.locator("#drawn p").inner_text() == was
        before = said(page)
        assert before[1].startswith(f"{NUM} judgements of drawn documents count")
        page.close()  # it asks no more when there is nobody to answer
        server.process.kill()  # no time to save anything now
    saved = pl.read_parquet(run / "judgements.parquet")
    assert saved.height == NUM
    assert {f"{file}, row {row:,}" for file, row in saved.select("file", "row").rows()} == set(
        places
    )
    with exploring(run, "--no-open") as server:
        found = visit()
        page = found.open(server.address + CUT)
        assert said(page) == before
        page.locator("#begin").click()
        page.locator("pre.drawn").wait_for()
        assert page.locator("#drawn p").inner_text() == was
        page.close()
    # The same figures, computed here.
    opened = open_run(str(run))
    kept = Judgements.at(str(run / "judgements.parquet"))
    own = Judging(opened, kept, lambda name: fill_bins(opened, name, group_of(opened, None)))
    quality = own.standing(
        decide(opened, Asked("perplexity", "source", "value", None, 5.2))
    ).quality
    for text, figure in zip(before[0], (quality.recall, quality.precision), strict=True):
        lines = text.splitlines()
        assert lines[0] == percent(figure.value)
        assert lines[1] == f"95%: {percent(figure.low)} to {percent(figure.high)}"


def test_judged_by_buttons_near_the_cut(run, visit):
    with exploring(run, "--no-open") as server:
        page = begin(visit(), server)
        page.locator("pre.drawn").evaluate("one => { one.dataset.before = ''; }")
        page.get_by_label("near the cut").check()
        page.locator("pre.drawn:not([data-before])").wait_for()
        for name in ("good", "bad", "unsure"):
            page.locator(f"#{name}").click()
            page.get_by_text(f"Saved: {name}.").wait_for()
        saved = pl.read_parquet(run / "judgements.parquet")
        assert saved["is_good"].to_list() == [True, False, None]
        # Those the cut goes through, or between.
        assert saved["band"].max() - saved["band"].min() <= 1
        assert sorted(saved["draw"]) in ([1, 2, 3], [1, 1, 2])
        assert "score bands have no judged document yet: draw from all" in said(page)[1]


def test_an_example_is_judged_and_does_not_count(run, visit):
    with exploring(run, "--no-open") as server:
        page = visit().open(server.address + CUT)
        page.keyboard.press("g")
        page.get_by_text("Draw a document first, or go to one at the cut").wait_for()
        page.keyboard.press("j")
        page.keyboard.press("g")
        page.get_by_text("Saved: good.").wait_for()
        # It moved on by itself.
        assert page.locator("button.open").nth(1).evaluate("one => one === document.activeElement")
        first = page.locator("#examples li").first.locator(".said")
        assert [one.get_attribute("aria-pressed") for one in first.all()] == ["true", "false"]
        page.locator("#examples li").nth(2).get_by_text("bad").click()
        page.get_by_text("Saved: bad.").wait_for()
        assert said(page)[1].startswith("0 judgements of drawn documents count")
        assert "2 judgements of documents that you picked" in said(page)[1]
        saved = pl.read_parquet(run / "judgements.parquet")
        assert saved["bands"].to_list() == [None, None]
        page.reload()
        page.locator("#examples li").first.wait_for()
        assert first.first.get_attribute("aria-pressed") == "true"
        # Not while a number is typed.
        page.locator("#high").focus()
        page.keyboard.press("g")
        page.wait_for_timeout(300)
        assert pl.read_parquet(run / "judgements.parquet").height == 2


def test_a_cut_is_proposed_and_taken(run, visit):
    with exploring(run, "--no-open") as server:
        found = visit()
        page = begin(found, server)
        page.locator("#propose").click()
        page.get_by_text("score bands have no judged document yet").first.wait_for()
        found.complaints.clear()  # the answer's 422
        judge_by_request(server, NUM)
        page.reload()
        found.counted()
        page.locator("#share").fill("80")
        with page.expect_response("**/api/propose?*") as asked:
            page.locator("#propose").click()
        told = json.loads(asked.value.body())
        page.locator("#proposal strong").first.wait_for()
        assert told["likely"]["recall"]["value"] >= 0.8
        # From the moment that it is taken, what is said of the cut before is old.
        assert page.evaluate(
            "() => { document.querySelector('#proposal button').click();"
            " return document.getElementById('quality').classList.contains('old'); }"
        )
        figures = said(page)[0]
        assert float(page.locator("#high").input_value()) == told["likely"]["cut"]
        assert figures[0].splitlines()[0] == percent(told["likely"]["recall"]["value"])
        page.locator("#aim").select_option("precision")
        assert page.locator("#share").input_value() == "5"
        page.locator("#share").fill("five")
        page.locator("#propose").click()
        page.get_by_text("five is not a number").wait_for()


def test_where_nothing_may_be_written_it_is_said(scored, tmp_path, visit):
    (tmp_path / "file").write_text("in the way")
    with exploring(scored.location, "--judgements", str(tmp_path / "file/mine.parquet")) as server:
        found = visit()
        page = begin(found, server)
        before = page.locator("#drawn p").inner_text()
        page.keyboard.press("g")
        page.get_by_text("the judgement is not saved").wait_for()
        assert "--judgements FILE" in page.locator("#saved").inner_text()
        assert page.locator("#drawn p").inner_text() == before
        found.complaints.clear()  # the answer's 422


def test_without_texts_nothing_is_judged_blindly(scored, tmp_path, visit):
    shutil.copytree(scored.location, tmp_path / "run")
    corpus = scored.require_manifest().corpus
    aside = Path(corpus).rename(tmp_path / "gone")
    try:
        with exploring(tmp_path / "run", "--no-open") as server:
            page = visit().open(server.address + CUT)
            page.locator("#begin").click()
            page.locator("#drawn .note").wait_for()
            assert page.locator("pre.drawn").count() == 0
            page.keyboard.press("g")
            page.get_by_text("without its text").wait_for()
            assert not (tmp_path / "run/judgements.parquet").exists()
    finally:
        aside.rename(corpus)
