"""The page in a real Chromium: dragged, typed, read and taken away, under its real policy.

Skipped where there is no Chromium (apt-get install chromium) or no Playwright.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.explore.run import open_run
from pipeline.rendering.shading import EDGES
from pipeline.reports.sorting import sorts_by
from pipeline.runs.scores import read_scores
from pipeline.runs.store import RunStore
from pipeline.schema import LARGEST
from tests.support.explored import (
    ROOT,
    SOURCES,
    Explored,
    explored_run,
    exploring,
    make_texts,
    npm_package,
    why_no_browser,
)
from tests.support.fake_engine import LOAD_SECONDS, MODULE
from tests.support.made_runs import row, write_run
from tests.support.reports import HOSTILE
from tests.support.runs import score_corpus
from tests.support.visits import Visit, agrees, drag, rests, serious

REASON = why_no_browser()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")
CUT = "#metric=perplexity&by=source&low=4.8&high=5.3"


@pytest.fixture(scope="module")
def server(scored: RunStore) -> Iterator[Explored]:
    with exploring(scored.location, "--no-open") as explored:
        yield explored


def test_dragged_by_the_pointer(server, visit, filtered):
    found = visit()
    page = found.open(server.address)
    everything = found.kept()
    assert everything == 241
    with found.uncounted():
        drag(page, "#handle-high", 0.6)
        assert page.locator("#high").input_value() != ""
        about = page.locator("#exactly").inner_text()
        assert about.startswith("Estimated")
    drag(page, "#handle-low", 0.2)
    rests(found)
    assert 0 < found.kept() < everything
    low, high = (float(page.locator(name).input_value()) for name in ("#low", "#high"))
    line = page.locator("#command").inner_text()
    assert f"--min=perplexity={low!r}" in line
    assert f"--max=perplexity={high!r}" in line
    agrees(found, filtered(line))


def test_what_a_drag_shows_at_once_is_near_what_is_counted(server, visit):
    found = visit()
    page = found.open(server.address)
    with found.uncounted():
        drag(page, "#handle-high", 0.5)
        about = found.kept()
    page.locator("#handle-high").press("ArrowLeft")
    page.locator("#handle-high").press("ArrowRight")
    rests(found)
    assert abs(about - found.kept()) <= 5


def test_handles_do_not_cross(server, visit):
    found = visit()
    page = found.open(server.address)
    drag(page, "#handle-low", 0.5)
    drag(page, "#handle-high", 0.1)
    low, high = (float(page.locator(name).input_value()) for name in ("#low", "#high"))
    assert low == high
    rests(found)


def test_dragged_by_the_keyboard(server, visit, filtered):
    found = visit()
    page = found.open(server.address)
    high = page.locator("#handle-high")
    high.focus()
    for key in ("PageDown", "Shift+ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
    moved = float(page.locator("#high").input_value())
    assert high.get_attribute("aria-valuetext") == f"{moved!r} perplexity"
    rests(found)
    agrees(found, filtered(page.locator("#command").inner_text()))
    page.keyboard.press("ArrowLeft")
    assert float(page.locator("#high").input_value()) < moved
    page.keyboard.press("End")
    assert page.locator("#high").input_value() == ""
    page.locator("#handle-low").press("Home")
    rests(found)
    assert found.kept() == 241


@pytest.mark.parametrize("unit", ["value", "percentile", "within"])
def test_typed(server, visit, filtered, unit):
    found = visit()
    page = found.open(server.address)
    page.locator("#unit").select_option(unit)
    low, high = ("4.8", "5.3") if unit == "value" else ("10", "87.5")
    page.locator("#low").fill(high)  # the wrong way round
    page.locator("#low").press("Enter")
    page.locator("#high").fill(low)
    page.locator("#high").press("Enter")
    assert page.locator("#low").input_value() == low
    assert page.locator("#high").input_value() == high
    rests(found)
    record = filtered(page.locator("#command").inner_text())
    assert record["rules"]["within"] == ("source" if unit == "within" else None)
    agrees(found, record)


@pytest.mark.parametrize("unit", ["value", "within"])
def test_narrowed_down(server, visit, filtered, unit):
    found = visit()
    page = found.open(server.address)
    condition = 'not source == "books" and num_tokens > 100'
    page.locator("#where").fill(condition)
    page.locator("#where").press("Enter")
    rests(found)
    record = filtered(page.locator("#command").inner_text())
    assert record["rules"]["where"] == condition
    agrees(found, record)
    page.locator("#unit").select_option(unit)
    page.locator("#high").fill("5.2" if unit == "value" else "80")
    page.locator("#high").press("Enter")
    about = found.kept()
    rests(found)
    agrees(found, filtered(page.locator("#command").inner_text()))
    assert abs(about - found.kept()) <= 5
    said = page.locator("#examples li p").all_inner_texts()
    assert said
    assert not any(one.startswith("books") for one in said)
    other = visit()
    other.open(page.url)
    assert other.kept() == found.kept()


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Visit -> the command line of the page, with its file of cut-offs saved where it is run."""
    monkeypatch.chdir(tmp_path)

    def save(found: Visit) -> str:
        link = found.page.locator("#file a")
        with found.page.expect_download() as download:
            link.click()
        assert link.inner_text() == f"Save {download.value.suggested_filename}"
        download.value.save_as(tmp_path / download.value.suggested_filename)
        return found.page.locator("#command").inner_text()

    return save


def test_each_group_has_a_band_of_its_own(server, visit, filtered, saved):
    found = visit()
    page = found.open(server.address)
    page.locator("#unit").select_option("each")
    page.locator("#high").fill("5.6")
    page.locator("#high").press("Enter")
    row = {name: page.locator("#groups tr", has_text=name) for name in ("books", "code", "web")}
    # By the pointer, by the keyboard, and typed the wrong way round.
    row["books"].scroll_into_view_if_needed()
    grip = row["books"].locator(".handle.high").bounding_box()
    page.mouse.move(grip["x"] + 4, grip["y"] + 20)
    page.mouse.down()
    page.mouse.move(grip["x"] - 60, grip["y"] + 20, steps=5)
    page.mouse.up()
    row["code"].locator(".handle.low").focus()
    for key in ("PageUp", "PageUp", "Shift+ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    low, high = (row["web"].locator("input").nth(at) for at in (0, 1))
    low.fill("5.3")
    low.press("Enter")
    high.fill("4.9")
    high.press("Enter")
    assert (low.input_value(), high.input_value()) == ("4.9", "5.3")
    about = found.kept()
    rests(found)
    assert abs(about - found.kept()) <= 6
    ends = {name: [one.input_value() for one in row[name].locator("input").all()] for name in row}
    assert ends["books"][0] == ""
    assert float(ends["books"][1]) < 5.6
    assert float(ends["code"][0]) > 0
    assert ends["code"][1] == "5.6"
    assert page.locator("#high").input_value() == "5.6"
    line = saved(found)
    record = filtered(line)
    agrees(found, record)
    told = {one["group"]: [one["low"], one["high"]] for one in record["cutoffs"]}
    assert told == {name: [float(end) if end else None for end in ends[name]] for name in ends} | {
        None: [None, 5.6]
    }
    # The large handles move those that have none of their own.
    page.locator("#handle-high").press("PageDown")
    assert row["books"].locator("input").nth(1).input_value() == ends["books"][1]
    assert (
        page.locator("#groups tr", has_text="(null)").locator("input").nth(1).input_value()
        == page.locator("#high").input_value()
    )
    page.locator("#handle-high").press("PageUp")
    row["code"].get_by_role("button", name="as all: code").click()
    now = [one.input_value() for one in row["code"].locator("input").all()]
    assert now == ["", page.locator("#high").input_value()]
    rests(found)
    agrees(found, filtered(saved(found)))


def test_the_address_has_the_groups_that_differ(server, visit, filtered, saved):
    found = visit()
    page = found.open(
        f"{server.address}#by=source&cut=each&low=4.8&own=1:4.9:5.2,0:4.8:,3::,x:1:2,77:1:2"
    )
    rows = page.locator("#groups tbody tr")
    bands = [[one.input_value() for one in row.locator("input").all()] for row in rows.all()]
    assert bands == [["4.8", ""], ["4.9", "5.2"], ["4.8", ""], ["", ""]]
    kept = found.kept()
    agrees(found, filtered(saved(found)))
    page.locator("#low").press("Enter")
    assert "own=1%3A4.9%3A5.2%2C3%3A%3A" in page.url
    other = visit()
    other.open(page.url)
    assert other.kept() == kept
    # One band for all, and each its own again.
    page.locator("#unit").select_option("value")
    rests(found)
    agrees(found, filtered(page.locator("#command").inner_text()))
    assert page.locator("#file a").count() == 0
    page.locator("#unit").select_option("each")
    rests(found)
    assert found.kept() == kept
    page.locator("#reset").click()
    rests(found)
    assert found.kept() == 241


def test_from_percentiles_each_group_begins_where_it_was(server, visit, filtered, saved):
    found = visit()
    page = found.open(f"{server.address}#by=source&cut=within&low=10&high=80")
    kept = found.kept()
    page.locator("#unit").select_option("each")
    assert abs(found.kept() - kept) <= 8
    rests(found)
    agrees(found, filtered(saved(found)))
    fields = page.locator("#groups input[tabindex='0']")
    assert fields.count() == 2  # one row at a time is reached by Tab
    fields.nth(1).press("ArrowDown")
    assert page.evaluate("document.activeElement.ariaLabel").endswith(": keep to")
    assert page.locator("#groups tbody tr").nth(1).locator("[tabindex='0']").count() == 5


def test_a_condition_that_cannot_be_read_is_pointed_at(server, visit):
    found = visit()
    page = found.open(server.address)
    page.locator("#where").fill("sauce > 3")
    page.locator("#where").press("Enter")
    page.get_by_text("no column 'sauce'").wait_for()
    page.locator("#where").fill("")
    page.locator("#where").press("Enter")
    rests(found)
    assert found.kept() == 241
    found.complaints[:] = [one for one in found.complaints if "422" not in one]


def test_a_number_that_is_none_is_said(server, visit):
    found = visit()
    page = found.open(server.address)
    page.locator("#high").fill("five")
    page.locator("#high").press("Enter")
    page.get_by_text("five is not a number").wait_for()
    assert page.locator("#high").get_attribute("aria-invalid") == "true"
    page.locator("#reset").click()
    rests(found)
    assert page.locator("#high").input_value() == ""


@pytest.mark.parametrize("metric", ["bits_per_byte", "num_tokens", "min_k_logprob"])
def test_any_metric(server, visit, filtered, metric):
    found = visit()
    page = found.open(server.address)
    page.locator("#metric").select_option(metric)
    page.get_by_text(f"Documents by {metric}").wait_for()
    drag(page, "#handle-high", 0.5)
    drag(page, "#handle-low", 0.25)
    rests(found)
    agrees(found, filtered(page.locator("#command").inner_text()))


@pytest.fixture(scope="module")
def extreme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explored]:
    """Perplexities from 4 to the largest number that there is."""
    values = [
        *(4.00037 + 1.00037 * i for i in range(30)),
        *(10.0 ** (10 * i) for i in range(1, 31)),
        LARGEST,
    ]
    rows = [row(10, 10.0, 40, source="one") | {"perplexity": value} for value in values]
    store = write_run(tmp_path_factory.mktemp("extreme") / "run", {"a": rows})
    with exploring(store.location, "--no-open") as explored:
        yield explored


def test_an_axis_of_three_hundred_decades(extreme, visit):
    found = visit()
    page = found.open(extreme.address)
    drag(page, "#handle-high", 0.97)
    assert float(page.locator("#high").input_value()) < float("inf")
    drag(page, "#handle-high", 0.5)
    rests(found)
    assert found.kept() == 45
    assert page.evaluate(
        """import("./chart.js").then(({ticksOf}) => ticksOf({scale: {kind: "log"}, hasZero: false,
        zeroBins: 0, span: 1, valueOf: (at) => at ? Number.MAX_VALUE : 4}).map(Math.log10))"""
    ) == pytest.approx([50, 100, 150, 200, 250, 300])


@pytest.fixture(scope="module")
def dated(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explored]:
    """Documents of four years, one of them without any."""
    folder = tmp_path_factory.mktemp("dated")
    (folder / "data").mkdir()
    years = [2018, *[2019] * 4, *[2021] * 5]
    table = {"text": [f"text {i} of many" for i in range(len(years))], "year": years}
    pq.write_table(pa.table(table), folder / "data/0.parquet")
    store = score_corpus(folder / "data", folder / "run", tiny_model, carry=("year",))
    with exploring(store.location, "--no-open") as explored:
        yield explored


def test_a_year_has_a_bar_and_is_no_count(dated, visit):
    found = visit()
    page = found.open(f"{dated.address}#metric=year&by=")
    at = dated.ask("run")["metrics"].index("year")
    bars, ticks = page.evaluate(
        """(at) => Promise.all([import("./bins.js"), import("./chart.js"),
            fetch(`api/bins?metric=${at}`).then((one) => one.arrayBuffer())]).then(
            ([{Distribution}, {barsOf, ticksOf}, bins]) => {
                const shape = new Distribution(bins);
                return [[...barsOf(shape, 1000, 0).totals[0]], ticksOf(shape)];
            })""",
        at,
    )
    assert bars == [1, 4, 0, 5]
    assert ticks == [2018, 2019, 2020, 2021]
    page.locator("#handle-low").press("ArrowRight")
    assert page.locator("#low").input_value() == "2019"
    page.locator("#handle-high").press("ArrowLeft")
    assert page.locator("#high").input_value() == "2020"
    rests(found)
    assert found.kept() == 4
    drag(page, "#handle-high", 0.93)
    assert page.locator("#high").input_value() == "2021"
    rests(found)
    assert found.kept() == 9
    values = page.locator("#examples strong").all_inner_texts()
    assert {"2018", "2019", "2021"} >= set(values) > set()


def test_nothing_of_another_metric_stays_where_one_cannot_be_read(server, visit):
    found = visit()
    page = found.open(server.address + CUT)
    page.route("**/api/bins*", lambda route: route.fulfill(status=500, json={"error": "no bins"}))
    page.locator("#metric").select_option("num_tokens")
    page.get_by_text("No documents are shown").wait_for()
    assert page.locator("button.open").count() == 0
    assert page.locator("#cards div").count() == 0
    assert page.locator("#exactly").inner_text() == "Not counted."
    assert page.locator("#command").inner_text().startswith("There is no command")
    page.unroute("**/api/bins*")
    page.locator("#metric").select_option("perplexity")
    rests(found)
    assert found.kept() == 241
    found.complaints[:] = [one for one in found.complaints if "500" not in one]


def test_a_condition_that_nothing_meets_draws_no_axis(server, visit):
    found = visit()
    page = found.open(server.address)
    page.locator("#where").fill("num_tokens > 1000000")
    page.keyboard.press("Enter")
    rests(found)
    assert found.kept() == 0
    assert page.locator("#chart canvas").get_attribute("aria-label") == "No document to show"
    page.locator("#where").fill("")
    page.keyboard.press("Enter")
    rests(found)
    assert page.locator("#chart canvas").get_attribute("aria-label") == (
        "Distribution of perplexity, 4 groups"
    )


def test_what_was_copied_is_not_said_of_the_next_cut(server, visit):
    found = visit(permissions=["clipboard-read", "clipboard-write"])
    page = found.open(server.address + CUT)
    page.locator("#copy-command").click()
    page.get_by_text("Command copied.").wait_for()
    page.locator("#high").fill("5.4")
    page.keyboard.press("Enter")
    rests(found)
    assert page.locator("#copied").inner_text() == ""


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_no_line_ends_inside_an_option_or_beyond_the_edge(server, visit, width):
    found = visit(viewport={"width": width, "height": 900})
    page = found.open(server.address + "#by=source&cut=each&low=4.8")
    page.locator("details").evaluate("one => (one.open = true)")
    heights = page.locator(".option").evaluate_all(
        "all => all.map((one) => one.getClientRects().length)"
    )
    assert heights
    assert set(heights) == {1}
    box = page.locator("#groups .scroll").bounding_box()
    caption = page.locator("#groups caption span").bounding_box()
    assert caption["x"] + caption["width"] <= box["x"] + box["width"] + 1
    name, swatch = (page.locator(f"#groups tbody th {part}").first for part in ("", ".swatch"))
    assert swatch.bounding_box()["y"] < name.bounding_box()["y"] + 20


def test_an_answer_that_fails_leaves_no_command(server, visit):
    found = visit()
    page = found.open(server.address + CUT)
    page.route("**/api/count*", lambda route: route.fulfill(status=500, json={"error": "no sum"}))
    page.locator("#high").fill("5.2")
    page.locator("#high").press("Enter")
    page.get_by_text("not counted exactly").wait_for()
    assert page.locator("#command").inner_text().startswith("There is no command")
    found.complaints[:] = [one for one in found.complaints if "500" not in one]


def test_round_the_units_and_back_the_cut_is_the_same(server, scored, visit):
    found = visit()
    # The ends are two documents' own values, with all their digits.
    scores = read_scores(scored.location).collect()["perplexity"].drop_nulls().sort()
    low, high = scores[31], scores[170]
    page = found.open(f"{server.address}#by=source&low={low!r}&high={high!r}")
    kept = found.kept()
    for unit in ("percentile", "within", "each", "percentile", "value"):
        page.locator("#unit").select_option(unit)
        rests(found)
        if unit == "percentile":
            assert kept <= found.kept() <= kept + 6  # about: bins hold several
    ends = [float(page.locator(name).input_value()) for name in ("#low", "#high")]
    assert ends == [low, high]
    assert found.kept() == kept


def test_values_of_percentiles_are_rounded_outward(extreme, visit):
    found = visit()
    page = found.open(f"{extreme.address}#cut=percentile&low=21.7&high=38.4")
    kept = found.kept()
    page.locator("#unit").select_option("value")
    rests(found)
    assert kept <= found.kept() <= kept + 1


def test_bands_of_groups_come_back_with_their_column(server, visit):
    found = visit()
    page = found.open(f"{server.address}#by=source&cut=each&low=4.8&own=1:4.9:5.2")
    kept = found.kept()
    for column in ("", "source"):
        page.locator("#by").select_option(column)
        rests(found)
    page.locator("#unit").select_option("each")
    rests(found)
    assert page.locator("#groups tbody tr").nth(1).locator("input").nth(1).input_value() == "5.2"
    assert found.kept() == kept
    page.locator("#metric").select_option("num_tokens")
    page.get_by_text("Documents by num_tokens").wait_for()
    rests(found)
    assert "own=" not in page.url


def test_a_refused_end_leaves_the_last_cut(server, visit):
    found = visit(viewport={"width": 390, "height": 844})
    page = found.open(server.address + CUT)
    kept, line = found.kept(), page.locator("#command").inner_text()
    high = page.locator("#high")

    def refuses(text: str, why: str) -> None:
        high.fill(text)
        high.press("Enter")
        note = page.locator("#ends-note")
        note.filter(has_text=why).wait_for()
        assert high.get_attribute("aria-describedby") == "ends-note"
        assert high.get_attribute("aria-invalid") == "true"
        box = note.bounding_box()
        assert 0 <= box["y"] < 844
        rests(found)
        assert page.locator("#command").inner_text() == line
        assert found.kept() == kept

    refuses("10%", "10% is no value of perplexity")
    refuses("1,5", "1,5 is not a number")
    page.locator("#unit").focus()
    page.locator("#unit").select_option("percentile")
    rests(found)
    assert page.locator("#ends-note").inner_text() == ""
    kept, line = found.kept(), page.locator("#command").inner_text()
    refuses("120", "120 is no percentile")
    high.fill("1")
    high.press("Enter")
    assert "exchanged" in page.locator("#ends-note").inner_text()
    assert high.get_attribute("aria-invalid") is None
    high.fill("80 %")
    high.press("Enter")
    assert page.locator("#ends-note").inner_text() == ""
    rests(found)
    assert high.input_value() == "80"


def test_a_refused_condition_leaves_the_last_one(server, visit):
    found = visit()
    page = found.open(server.address + CUT + "&where=num_tokens+%3E+20")
    kept, line = found.kept(), page.locator("#command").inner_text()
    where = page.locator("#where")
    where.fill("num_tokens >")
    where.press("Enter")
    page.locator("#where-note").filter(has_text="Not applied").wait_for()
    rests(found)
    assert where.get_attribute("aria-invalid") == "true"
    assert where.input_value() == "num_tokens >"
    assert (found.kept(), page.locator("#command").inner_text()) == (kept, line)
    where.fill("num_tokens > 20")
    where.press("Enter")
    page.locator("#where-note").wait_for(state="hidden")
    rests(found)
    assert where.get_attribute("aria-invalid") is None
    found.complaints[:] = [one for one in found.complaints if "422" not in one]


def test_the_toml_is_the_same_rule(server, visit, filtered, winnow, tmp_path):
    found = visit()
    page = found.open(server.address + CUT)
    file = tmp_path / "cut.toml"
    file.write_text(page.locator("#toml").text_content())
    code, out, err = winnow("filter", "--config", file, "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["after"]["documents"] == found.kept()


def test_an_address_restores_the_view(server, visit):
    found = visit()
    page = found.open(server.address)
    page.locator("#unit").select_option("percentile")
    page.locator("#high").fill("75")
    page.locator("#high").press("Enter")
    page.locator("#size").select_option("1")
    page.get_by_label("at random").check()
    rests(found)
    kept, address = found.kept(), page.url
    other = visit()
    again = other.open(address)
    assert other.kept() == kept
    assert again.locator("#high").input_value() == "75"
    assert again.locator("#unit").input_value() == "percentile"
    assert again.locator("#size").input_value() == "1"
    assert again.get_by_label("at random").is_checked()


def test_an_address_of_another_run_is_no_error(server, visit):
    found = visit()
    page = found.open(f"{server.address}#metric=nothing&by=nobody&cut=x&at=y&low=z&high=&size=9")
    assert found.kept() == 241
    assert page.locator("#metric").input_value() == "perplexity"


def test_documents_at_the_cut_are_read_with_the_keyboard(server, visit):
    found = visit()
    page = found.open(server.address + CUT + "&at=low")
    page.get_by_role("heading", name="Removed, just below it").wait_for()
    values = [float(text.split()[0]) for text in page.locator("button.open").all_inner_texts()]
    kept, removed = values[:10], values[10:]
    assert kept == sorted(kept)
    assert removed == sorted(removed, reverse=True)
    assert max(removed) <= 4.8 <= min(kept)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("k")
    assert page.locator("button.open").nth(1).evaluate("one => one === document.activeElement")
    excerpt = page.locator("#examples li pre").nth(1).inner_text().removesuffix(" …")
    page.keyboard.press("Enter")
    whole = page.locator("pre.whole")
    whole.wait_for()
    assert whole.inner_text().startswith(excerpt[:80])
    assert "perplexity" in page.locator("#document table").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("button.open").nth(1).evaluate("one => one === document.activeElement")
    page.keyboard.press("]")
    page.get_by_role("heading", name="Removed, just above it").wait_for()
    page.keyboard.press("r")
    page.get_by_role("heading", name="Removed, at random").wait_for()
    first = page.locator("button.open").first.get_attribute("data-at")
    with page.expect_response("**/api/examples?*seed=1*"):
        page.keyboard.press("r")
    another = f"button.open:not([data-at='{first}'])"
    page.locator(f"#examples > :first-child li:first-child {another}").wait_for()


def test_surprise_is_shaded(server, scored, visit):
    found = visit()
    page = found.open(server.address + CUT + "&at=high")
    at = page.locator("button.open").first.get_attribute("data-at")
    page.locator("button.open").first.click()
    whole = page.locator("pre.whole")
    whole.wait_for()
    text = whole.text_content()
    page.get_by_label("Shade by surprise").wait_for(timeout=90_000)
    spans = whole.locator("span")
    assert "".join(spans.all_text_contents()) == whole.text_content() == text
    file, row = (int(part) for part in at.split(":"))
    scores = read_scores(scored.location).collect()
    name = scored.require_manifest().files[file].path
    own = scores.filter(file=name, row=row)["token_logprobs"][0].to_list()
    assert spans.count() == len(own)  # bytes, each a character here
    for i in (0, 5, len(own) - 1):
        spans.nth(i).hover()
        nll = float(page.locator(".value").inner_text().split(": ")[1].split()[0])
        assert nll == pytest.approx(-own[i], rel=1e-3)
        shade = sum(-own[i] >= edge for edge in EDGES)
        assert spans.nth(i).get_attribute("class") == f"s{shade}"
    spans.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert spans.nth(1).evaluate("one => one === document.activeElement")
    assert page.locator("pre.whole span[tabindex='0']").count() == 1
    page.locator("summary", has_text="most surprising").click()
    listed = page.locator("details table tbody td").all_inner_texts()[:20]
    assert float(listed[0]) == pytest.approx(-min(own), rel=1e-3)
    assert [float(one) for one in listed] == sorted(map(float, listed), reverse=True)
    page.get_by_label("Shade by surprise").uncheck()
    assert spans.count() == 0
    assert whole.text_content() == text


def test_tokens_are_scored_when_asked_for(tiny_model, tmp_path, visit):
    store = explored_run(tmp_path, tiny_model, make_texts(40))
    # An engine that says so while it loads, and answers as the one that scored the run.
    slow = {LOAD_SECONDS: "3"}
    with exploring(store.location, "--no-open", module=MODULE, **slow) as server:
        found = visit()
        page = found.open(server.address)
        page.locator("button.open").first.click()
        page.get_by_role("button", name="Score its tokens now").click(timeout=90_000)
        page.get_by_text("Loading").wait_for()
        page.get_by_label("Shade by surprise").wait_for(timeout=90_000)
        said = page.locator("#document").inner_text()
        [(now, stored)] = re.findall(r"Scored now: (\S+) nats in all; the run has (\S+)\.", said)
        assert now == stored
        assert page.locator("pre.whole span.s1").count()
        page.keyboard.press("Escape")
        page.locator("button.open").nth(1).click()  # it is loaded: nobody is asked again
        page.get_by_label("Shade by surprise").wait_for()


def test_what_the_score_sorts_by_is_said(server, scored, visit):
    found = visit()
    page = found.open(server.address)
    page.locator("#sorts").filter(has_text="differences").wait_for()
    said = sorts_by(open_run(scored.location).rows(), ("source",), scored.location).in_words()
    assert page.locator("#sorts").inner_text() == " ".join(said.split())


def test_documents_of_one_group(server, visit):
    found = visit()
    page = found.open(server.address + CUT + "&at=random")
    with page.expect_response("**/api/examples?*group=*"):
        page.locator("#group").select_option(label="books")
    about = page.locator("#examples li p")
    about.filter(has_not_text=re.compile("^books · ")).first.wait_for(state="detached")
    said = about.all_inner_texts()
    assert said
    assert all(one.startswith("books · ") for one in said)


def test_keys_are_not_taken_from_who_types(server, visit):
    found = visit()
    page = found.open(server.address)
    page.locator("#high").press("?")
    assert not page.locator("#keys").is_visible()
    page.locator("h1").click()
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    assert "next or the previous document" in page.locator("#keys").inner_text()


@pytest.fixture(scope="module")
def hostile(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explored]:
    """Every hostile string as a text, an id, and a group."""
    rows = [(text, text, text) for text in HOSTILE for _ in range(2)]
    rows += [(f"{i}", source, "a text of words") for i, source in enumerate(SOURCES)]
    store = explored_run(tmp_path_factory.mktemp("hostile"), tiny_model, rows)
    with exploring(store.location, "--no-open", "--by", "source") as explored:
        yield explored


def test_a_hostile_corpus_changes_nothing(hostile, visit):
    found = visit()
    page = found.open(hostile.address)
    assert page.title().startswith("Where to cut")
    assert page.locator("script").count() == 1
    assert page.locator("#groups tr").count() > 20
    with page.expect_response("**/api/examples?*place=random*"):
        page.get_by_label("at random").check()
    page.get_by_role("heading", name="Kept, at random").wait_for()
    for button in page.locator("button.open").all()[:10]:
        button.click()
        page.locator("#document pre.whole").wait_for()
        page.keyboard.press("Escape")
    assert page.title().startswith("Where to cut")
    assert page.locator("img, iframe, object, svg, b").count() == 0
    shown = page.locator("main").inner_text()
    assert "<img src=x" in shown
    assert not re.search("[\u202e\u2066\x1b]", shown)


def test_the_test_sees_what_it_looks_for(server, visit, browser):
    """A request that leaves and an error on the console are found."""
    found = Visit(browser)
    page = found.open(server.address)
    page.evaluate("new Image().src = 'http://192.0.2.1/x.png'")
    with page.expect_console_message(lambda one: one.text == "oh"):
        page.evaluate("console.error('oh')")
    while not any("192.0.2.1" in one for one in (*found.complaints, *found.left)):
        page.wait_for_timeout(100)
    assert any("192.0.2.1" in one for one in (*found.complaints, *found.left))
    assert "error: oh" in found.complaints
    found.context.close()


@pytest.mark.parametrize("width", [390, 800, 1280, 1920])
@pytest.mark.parametrize("which", ["server", "hostile"])
def test_the_page_is_no_wider_than_the_screen(request, visit, which, width):
    found = visit(viewport={"width": width, "height": 844})
    page = found.open(request.getfixturevalue(which).address)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off(server, visit, width):
    found = visit(viewport={"width": width, "height": 844})
    page = found.open(server.address)
    cuts = """(names) => [...document.querySelectorAll(names)]
        .filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.outerHTML)"""
    page.locator("#cards dd").first.evaluate("one => (one.firstChild.data = '100.0%')")
    assert page.evaluate(cuts, "#cards dd") == []
    if width == 1280:
        assert page.evaluate(cuts, "#groups .scroll") == []
    # As wide as its words, and no narrower than it would be without a limit.
    own = """() => { const one = document.getElementById("aim"), was = one.offsetWidth;
        one.style.maxWidth = "none"; return [was, one.offsetWidth]; }"""
    now, free = page.evaluate(own)
    assert now == free


def test_a_finger_drags_on_a_phone(server, visit):
    found = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    page = found.open(server.address)
    drag(page, "#handle-high", 0.5)
    rests(found)
    assert found.kept() < 241
    sizes = [page.locator(f"#handle-{side}").bounding_box()["width"] for side in ("low", "high")]
    assert min(sizes) >= 44


def test_dark_is_dark(server, visit):
    found = visit(color_scheme="dark")
    page = found.open(server.address)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 27)"


@pytest.mark.parametrize("view", [CUT, f"{CUT}&cut=each&own=1::5.1"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(server, browser, axe, scheme, width, view):
    found = Visit(browser, color_scheme=scheme, viewport={"width": width, "height": 844})
    page = found.open(server.address + view)
    # As text and under the page's own policy: it complains once of its own.
    page.evaluate(axe)
    for opened in (None, "keys", "document"):
        if opened == "document":
            page.keyboard.press("Escape")
            page.locator("button.open").first.click()
            page.get_by_label("Shade by surprise").wait_for(timeout=90_000)
        elif opened:
            page.locator("#help").click()
        assert serious(page) == []
    found.context.close()


def test_every_control_is_reached_by_tab_and_has_a_name(server, visit):
    found = visit()
    page = found.open(server.address)
    reached = set()
    for _ in range(100):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    controls = {"metric", "by", "unit", "size", "handle-low", "handle-high", "low", "high"}
    controls |= {"begin", "good", "bad", "unsure", "undo", "end", "aim", "share", "propose"}
    controls |= {"reset", "group", "copy-command", "copy-toml", "copy-address", "help", "command"}
    assert controls <= reached
    # What a screen reader is told.
    tree = page.locator("main").aria_snapshot()
    for name in ("Metric", "Groups", "Cut by", "Keep from", "Lower end", "Upper end"):
        assert name in tree


def test_the_types_of_the_modules_hold(tmp_path):
    """JSDoc, checked by TypeScript where npm can fetch it."""
    import shutil
    import subprocess

    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    tsc = npm_package(tmp_path, "typescript@5.9.3") / "bin/tsc"
    modules = sorted((ROOT / "jobs/explore/static").glob("*.js"))
    options = ["--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2022"]
    options += ["--lib", "es2023,dom,dom.iterable", "--module", "esnext"]
    options += ["--moduleResolution", "bundler"]
    done = subprocess.run(
        [node, tsc, *options, *modules], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    assert done.returncode == 0
    for module in modules:
        assert len(module.read_text().splitlines()) <= 300, "asks to be two"
