"""Two runs on the page in a real Chromium: the lines of the scatter, and the outline."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.runs.store import RunStore
from tests.explore.conftest import OtherEngine
from tests.support.explored import (
    Explored,
    explored_run,
    exploring,
    make_texts,
    why_no_browser,
)
from tests.support.reports import HOSTILE
from tests.support.runs import score_corpus
from tests.support.visits import Visit, agrees, drag, rests, serious

REASON = why_no_browser()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")


@pytest.fixture(scope="module")
def pair(scored: RunStore, other: RunStore) -> Iterator[Explored]:
    with exploring(scored.location, other.location, "--no-open") as explored:
        yield explored


@pytest.fixture(scope="module")
def apart(
    scored: RunStore, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Explored]:
    """The run, and one of another corpus."""
    night = explored_run(tmp_path_factory.mktemp("night"), tiny_model, make_texts(90))
    with exploring(scored.location, night.location, "--no-open") as explored:
        yield explored


def drawn(page: Any) -> Any:
    """The scatter, once it is there."""
    page.locator("#scatter canvas[aria-label]").wait_for()
    return page.locator("#scatter")


def pull(page: Any, handle: str, across: float, up: float) -> None:
    """Drag a line's handle by so many pixels."""
    page.locator(handle).scroll_into_view_if_needed()
    grip = page.locator(handle).bounding_box()
    x, y = grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + across, y - up, steps=8)
    page.mouse.up()


def value(page: Any, end: str) -> float:
    return float(page.locator(f"#{end}").input_value())


def inked(page: Any, x: float, y: float) -> bool:
    """Whether anything is drawn at a place of the scatter, from 0 to 1."""
    return page.evaluate(
        """([x, y]) => { const canvas = document.querySelector("#scatter canvas");
        const pen = canvas.getContext("2d"), size = canvas.clientWidth - 58;
        const pixel = pen.getImageData(46 + x * size, (1 - y) * size, 1, 1);
        return pixel.data[3] > 0; }""",
        [x, y],
    )


@pytest.mark.parametrize(("metric", "second"), [("difference", "--minus"), ("ratio", "--over")])
def test_lines_are_dragged_by_the_pointer(pair, other, visit, filtered, metric, second):
    found = visit()
    page = found.open(f"{pair.address}#metric={metric}&by=source")
    drawn(page)
    assert found.kept() == 241
    with found.uncounted():
        pull(page, "#scatter-high", -140, 140)
        assert page.locator("#exactly").inner_text().startswith("Estimated")
    pull(page, "#scatter-low", 140, -140)
    rests(found)
    assert 0 < found.kept() < 241
    low, high = value(page, "low"), value(page, "high")
    assert low < high
    line = page.locator("#command").inner_text()
    assert f"{second}={other.location}" in line
    assert f"--min={metric}={low!r}" in line
    assert f"--max={metric}={high!r}" in line
    agrees(found, filtered(line))
    # Along a line the value is the same.
    pull(page, "#scatter-high", 30, 30)
    assert value(page, "high") == pytest.approx(high, abs=0.02)
    pull(page, "#scatter-low", -600, 600)
    assert page.locator("#low").input_value() == ""


def test_any_other_metric_is_upright_and_outlined(pair, visit, filtered):
    found = visit()
    page = found.open(f"{pair.address}#metric=perplexity&by=source")
    drawn(page)
    pull(page, "#scatter-high", -300, 77)
    high = value(page, "high")
    pull(page, "#scatter-high", 0, 50)
    assert value(page, "high") == high
    rests(found)
    line = page.locator("#command").inner_text()
    assert "--minus" not in line
    agrees(found, filtered(line))


def test_lines_are_moved_by_the_keyboard_and_typed(pair, visit, filtered):
    found = visit()
    page = found.open(f"{pair.address}#metric=difference&by=source")
    drawn(page)
    line = page.locator("#scatter-high")
    line.focus()
    for key in ("PageDown", "Shift+ArrowLeft", "ArrowLeft", "ArrowRight", "PageDown"):
        page.keyboard.press(key)
    moved = value(page, "high")
    assert line.get_attribute("aria-valuetext") == f"{moved!r} difference"
    assert line.get_attribute("aria-label") == "Upper line"
    rests(found)
    agrees(found, filtered(page.locator("#command").inner_text()))
    page.locator("#low").fill("-0.05")
    page.locator("#low").press("Enter")
    rests(found)
    assert page.locator("#scatter-low").get_attribute("aria-valuetext") == "-0.05 difference"
    agrees(found, filtered(page.locator("#command").inner_text()))
    other = visit()
    again = other.open(page.url)
    assert other.kept() == found.kept()
    assert again.locator("#metric").input_value() == "difference"
    line.focus()
    page.keyboard.press("End")
    assert page.locator("#high").input_value() == ""


def test_a_line_is_where_the_documents_of_its_value_are(pair, visit):
    """Documents on the one side of the line are kept, those on the other removed."""
    found = visit()
    page = found.open(f"{pair.address}#metric=difference&by=&low=0&at=low")
    drawn(page)
    across, up = page.evaluate(
        """() => { const [box, grip] = ["scatter", "scatter-low"].map(
          (id) => document.getElementById(id).getBoundingClientRect());
        const size = box.height - 24;
        return [(grip.x + 22 - box.x - 46) / size, 1 - (grip.y + 22 - box.y) / size]; }"""
    )
    assert across == pytest.approx(up, abs=0.01)  # 0 is the diagonal
    assert inked(page, 0.5, 0.5)
    page.get_by_role("heading", name="Removed, just below it").wait_for()
    values = [float(text.split()[0]) for text in page.locator("button.open").all_inner_texts()]
    assert max(values[10:]) < 0 <= min(values[:10])
    page.locator("button.open").first.click()
    page.locator("#document th", has_text=re.compile("^bits_per_byte in ")).wait_for()
    told = {
        row.locator("th").inner_text().partition(" in ")[0::2]: row.locator("td").inner_text()
        for row in page.locator("#document tr").all()
    }
    [one, two] = (float(told[key]) for key in told if key[0] == "bits_per_byte")
    assert abs(one - two) == pytest.approx(values[0], abs=0.002)


def test_another_corpus_is_an_outline(apart, visit, filtered):
    found = visit()
    page = found.open(apart.address)
    assert page.locator("#metric").input_value() == "perplexity"
    assert page.locator("#said").inner_text().startswith("The outline is ")
    assert not page.locator("#scatter").is_visible()
    assert "difference" not in page.locator("#metric option").all_inner_texts()
    dark = page.evaluate(
        """() => { const canvas = document.querySelector("#chart canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let dark = 0;
        for (let i = 0; i < data.length; i += 4)
          dark += data[i + 3] > 200 && data[i] < 60 && data[i + 2] < 60;
        return dark; }"""
    )
    assert dark > 100
    drag(page, "#handle-high", 0.6)
    rests(found)
    agrees(found, filtered(page.locator("#command").inner_text()))
    page.locator("#metric").select_option("min_k_logprob")
    page.get_by_text("Documents by min_k_logprob").wait_for()
    rests(found)
    page.locator("#where").fill('source == "web"')
    page.locator("#where").press("Enter")
    rests(found)


def test_what_two_tokenizers_do_not_share_is_said(scored, tiny_model, tmp_path, visit):
    def planned(manifest):
        keys = {**manifest.fingerprint, "tokenizer": "u" * 64, "model_config": "d" * 64}
        return manifest.model_copy(update={"fingerprint": keys})

    corpus = Path(scored.require_manifest().corpus)
    score_corpus(corpus, tmp_path / "run", tiny_model, engine=OtherEngine(), planned=planned)
    with exploring(scored.location, tmp_path / "run", "--no-open") as server:
        found = visit()
        page = found.open(f"{server.address}#metric=perplexity")
        page.get_by_text("nothing is drawn for").wait_for()
        assert "different tokenizers" in page.locator("#said").inner_text()
        assert not page.locator("#scatter").is_visible()
        page.locator("#metric").select_option("difference")
        page.locator("#scatter").wait_for()
        drawn(page)
        page.close()  # it asks no more when there is nobody to answer


def test_the_same_run_twice_is_a_diagonal(scored, visit):
    with exploring(scored.location, scored.location, "--no-open") as server:
        for metric in ("difference", "ratio"):
            found = visit()
            page = found.open(f"{server.address}#metric={metric}")
            drawn(page)
            assert "Both are the same run" in page.locator("#said").inner_text()
            pull(page, "#scatter-high", -100, 100)
            rests(found)
            assert found.kept() == 241
            page.close()


def test_a_hostile_corpus_changes_nothing(tiny_model, tmp_path, visit):
    rows = [(text, text, text) for text in HOSTILE for _ in range(2)]
    store = explored_run(tmp_path / "<b>one", tiny_model, rows)
    corpus = tmp_path / "<b>one/corpus"
    engine = OtherEngine()
    score_corpus(corpus, tmp_path / "<img src=x>", tiny_model, engine=engine, carry=("source",))
    options = (str(tmp_path / "<img src=x>"), "--no-open", "--by", "source")
    with exploring(store.location, *options) as server:
        found = visit()
        page = found.open(server.address)
        drawn(page)
        assert page.locator("img, b").count() == 0
        assert "<img src=x>" in page.locator("#said").inner_text()
        pull(page, "#scatter-high", -100, 100)
        rests(found)
        assert not re.search("[\u202e\u2066\x1b]", page.locator("main").inner_text())
        page.close()


def test_without_a_second_run_nothing_is_said_of_one(scored, visit):
    with exploring(scored.location, "--no-open") as server:
        page = visit().open(server.address)
        assert not page.locator("#two").is_visible()
        page.close()


@pytest.mark.parametrize("which", ["pair", "apart"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(request, browser, axe, which, scheme, width):
    found = Visit(browser, color_scheme=scheme, viewport={"width": width, "height": 844})
    page = found.open(request.getfixturevalue(which).address)
    if which == "pair":
        drawn(page)
        grips = [page.locator(f"#scatter-{side}").bounding_box() for side in ("low", "high")]
        assert min(grip["width"] for grip in grips) >= 44
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(axe)
    assert serious(page) == []
    found.context.close()


def test_the_lines_are_reached_by_tab_and_have_names(pair, visit):
    page = visit().open(pair.address)
    drawn(page)
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"scatter-low", "scatter-high"} <= reached
    tree = page.locator("main").aria_snapshot()
    for name in ("Lower line", "Upper line", "Documents by bits_per_byte in"):
        assert name in tree
