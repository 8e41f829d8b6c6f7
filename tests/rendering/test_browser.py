"""The page in a real browser: hostile names and texts change nothing, and no request leaves.

Skipped where no Chromium is installed (apt-get install chromium).
"""

import html
import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from pipeline.audits.config import AuditConfig
from pipeline.audits.trend import to_html as trend_page
from pipeline.comparisons.compare import compare_runs
from pipeline.comparisons.page import to_html as comparison_page
from pipeline.reports.page import to_html
from tests.audits.test_trend import history
from tests.support.chromium import CHROMIUM, FLAGS
from tests.support.made_runs import row, write_run
from tests.support.reports import HOSTILE, examples, make_report
from tests.support.screenshots import photograph

# A browser has requests of its own, for updates and the like: none is on behalf of a file.
BY_THE_PAGE = re.compile(
    r'site=file://; schemefully_same=\w+}"(?:,"upload_id":"\d+")?,"url":"([^"]*)"'
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


class Visit(NamedTuple):
    """What a browser made of a page."""

    title: str
    dom: str
    requests: list[str]
    """Every URL that the page asked for."""
    console: list[str]
    """Errors and warnings of the page."""


def browse(folder: Path, content: str, *options: str) -> Visit:
    page = folder / "page.html"
    page.write_text(content)
    log = folder / "net.json"
    ended = subprocess.run(
        [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={log}",
            *(options or ["--dump-dom"]),
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return Visit(
        title=html.unescape("".join(re.findall(r"<title>(.*?)</title>", ended.stdout)[:1])),
        dom=ended.stdout,
        requests=BY_THE_PAGE.findall(log.read_text()),
        console=re.findall(r"CONSOLE[:(].*", ended.stderr),
    )


@pytest.fixture(scope="module")
def hostile_page() -> str:
    """Every hostile string as a group, a file, an id, a text, a reason and an expression."""
    report = make_report([*HOSTILE, "web"], by=HOSTILE[0], text=HOSTILE[1])
    report.coverage.errors = dict.fromkeys(HOSTILE, 1)
    report.coverage.unreadable_files = dict.fromkeys(HOSTILE, "torn")
    report.examples = [example for text in HOSTILE for example in examples(text)]
    report.requirements = [
        report.requirements[0].model_copy(update={"expression": text}) for text in HOSTILE
    ]
    report.duplicates.largest = [
        report.duplicates.largest[0].model_copy(update={"file": text}) for text in HOSTILE
    ]
    return to_html(report)


def test_a_hostile_page_is_as_quiet_as_any(tmp_path, hostile_page):
    visit = browse(tmp_path, hostile_page)
    assert visit.title == "Perplexity report"
    assert visit.requests == []
    assert visit.console == []
    assert visit.dom.count("<svg") == 6
    assert "<script" not in visit.dom
    assert "PWNED" in visit.dom, "the strings are there, as text"


def test_the_test_sees_what_it_looks_for(tmp_path):
    """A page without protection: its script runs, its request leaves, its error is logged."""
    script = "document.title = 'PWNED'; console.error('oh'); null.x"
    content = (
        "<!doctype html><title>mine</title>"
        f"<script>{script}</script><img src='http://127.0.0.1:9/x'>"
    )
    visit = browse(tmp_path, content)
    assert visit.title == "PWNED"
    assert "http://127.0.0.1:9/x" in visit.requests
    assert len(visit.console) >= 2


def test_the_policy_of_the_page_would_stop_a_script(tmp_path, hostile_page):
    """The second line of defence: were a string not escaped, it still could do nothing."""
    injected = (
        "<script>document.title='PWNED'</script><img src=x onerror=\"document.title='PWNED'\">"
    )
    content = hostile_page.replace("</main>", injected + "<img src='http://127.0.0.1:9/x'></main>")
    visit = browse(tmp_path, content)
    assert visit.title == "Perplexity report"
    assert visit.requests == []


# Headless windows are no narrower than 500 pixels: a frame is.
FRAME = "<style>body { margin: 0 } iframe { border: 0; display: block }</style>"


def framed(content: str, width: int, script: str) -> str:
    """A page in a frame of `width` pixels; `script` has its document as `page`."""
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    held = html.escape(policy.sub("", content))
    return (
        f'<!doctype html><meta name="color-scheme" content="light dark"><title></title>{FRAME}'
        f'<iframe id="f" style="width:{width}px;height:800px" srcdoc="{held}"></iframe>'
        f"<script>f.onload = () => {{ const page = f.contentDocument; {script} }}</script>"
    )


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_the_page_is_no_wider_than_the_screen(tmp_path, hostile_page, width):
    content = framed(hostile_page, width, "document.title = page.documentElement.scrollWidth")
    visit = browse(tmp_path, content, "--dump-dom", "--window-size=2000,1000")
    assert 0 < int(visit.title) <= width


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    """One of each kind, with names as they are."""
    folder = tmp_path_factory.mktemp("runs")
    rows = {
        "a": [row(10, 10.0 + i, 40, source=name) for i, name in enumerate(["web", "books"] * 6)]
    }
    runs = [write_run(folder / name, rows) for name in ("monday", "tuesday")]
    return {
        "report": to_html(make_report()),
        "compare": comparison_page(compare_runs(runs, by=("source",), resamples=100)),
        "trend": trend_page(history(7), AuditConfig(runs="runs"), "runs"),
    }


KINDS = ("report", "compare", "trend")
LOOK = """
const wide = [...page.querySelectorAll("*")].filter(e => e.scrollWidth > e.clientWidth
    && ["auto", "scroll"].includes(f.contentWindow.getComputedStyle(e).overflowX));
document.title = JSON.stringify({page: page.documentElement.scrollWidth, wide: wide.map(e => {
    e.focus();
    return {table: !!e.querySelector("table"), role: e.computedRole, name: e.computedName,
            heading: e.closest("section, main").querySelector("h2").textContent,
            caption: e.querySelector("caption")?.textContent.trim() ?? "",
            focused: e.tabIndex === 0 && page.activeElement === e};
})});
"""


@pytest.mark.parametrize("kind", KINDS)
def test_what_scrolls_on_a_phone_has_a_name_and_takes_the_focus(tmp_path, pages, kind):
    """Role and name are what the browser tells a screen reader."""
    content = framed(pages[kind], 390, LOOK)
    told = "--enable-blink-features=ComputedAccessibilityInfo"
    found = json.loads(browse(tmp_path, content, "--dump-dom", told).title)
    assert found["page"] <= 390
    assert all(one["focused"] and one["name"] for one in found["wide"])
    tables = [one for one in found["wide"] if one["table"]]
    assert tables
    assert {one["role"] for one in tables} == {"region"}
    assert all(one["caption"] in one["name"] for one in tables)
    names = [one["name"] for one in tables]
    assert len(names) == len(set(names))
    if kind == "report":
        by_source = next(one for one in tables if one["heading"] == "By source")
        assert by_source["name"] == "By source From the least to the most surprising."


LEFT, RIGHT = 17, 372
"""Pixels just inside of a scrolled box in a frame of 390, which the page's margins are around."""


@pytest.mark.parametrize(("dark", "background"), [(False, (255, 255, 255)), (True, (21, 24, 27))])
@pytest.mark.parametrize(
    ("heading", "scrolled", "shaded"),
    [
        ("By source", 0, (False, True)),
        ("By source", 60, (True, True)),
        ("By source", 9999, (True, False)),
        ("What became of every row", 0, (False, False)),
    ],
    ids=["at its start", "in the middle", "at its end", "all there"],
)
def test_an_edge_with_more_behind_it_is_shaded(
    tmp_path, pages, dark, background, heading, scrolled, shaded
):
    script = f"""
        const named = [...page.querySelectorAll("h2")].find(e => e.textContent === "{heading}");
        const box = named.parentElement.querySelector(".scroll");
        page.body.replaceChildren(box);
        box.style.height = "400px";
        box.scrollLeft = {scrolled};
    """
    target = tmp_path / "page.png"
    photograph(framed(pages["report"], 390, script), target, dark=dark, width=500, height=600)
    with Image.open(target) as picture:
        # Below the rows, where there is nothing but the box itself.
        colours = [picture.convert("RGB").getpixel((x, 380)) for x in (LEFT, RIGHT)]
    apart = [abs(colour[0] - background[0]) for colour in colours]
    assert [0 if one == 0 else one > 30 for one in apart] == list(shaded)


def printed(folder: Path, content: str) -> bytes:
    target = folder / "page.pdf"
    browse(folder, content, f"--print-to-pdf={target}", "--no-pdf-header-footer")
    return target.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_no_edge_is_shaded_on_paper(tmp_path, pages, kind):
    rule = ".scroll { background: none; }"
    assert rule in pages[kind]
    assert b"/ShadingType" in printed(tmp_path, pages[kind].replace(rule, "")), "what is looked for"
    assert b"/ShadingType" not in printed(tmp_path, pages[kind])


END = '<a href="http://127.0.0.1:9/end">§</a>'
WIDE = {
    "many columns": "<td>1,234,567.8</td>" * 40 + f"<td>{END}</td>",
    "few columns": "<td>1,234,567.8</td>" * 9 + f"<td>{END}</td>",
    "many words": f'<td class="words">{"so it is " * 40}{END}</td>',
}


@pytest.mark.parametrize("cells", WIDE.values(), ids=WIDE)
def test_paper_cuts_nothing(tmp_path, pages, cells):
    """A link says in a PDF where it is."""
    heads = "<th>a column</th>" * cells.count("<td")
    table = f"<table><thead><tr>{heads}</tr></thead><tbody><tr>{cells}</tr></tbody></table>"
    box = f'<div class="scroll">{table}</div></main>'
    paper = printed(tmp_path, pages["report"].replace("</main>", box))
    page_width = float(re.search(rb"/MediaBox \[0 0 ([\d.]+) ", paper)[1])
    [right] = re.findall(rb"/Rect \[[\d.-]+ [\d.-]+ ([\d.-]+) [\d.-]+\]", paper)
    assert 0 < float(right) < page_width


def test_the_page_prints(tmp_path, hostile_page):
    assert printed(tmp_path, hostile_page).startswith(b"%PDF")


def test_the_page_can_be_read_aloud(tmp_path, hostile_page):
    """What a screen reader goes by, in the document that the browser made."""
    dom = browse(tmp_path, hostile_page).dom
    assert '<html lang="en">' in dom
    for landmark in ("header", "main"):
        assert len(re.findall(f"<{landmark}[ >]", dom)) == 1
    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", dom)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tables = re.findall(r"<table.*?</table>", dom, re.DOTALL)
    assert tables
    for table in tables:
        assert re.search("<caption[ >]", table)
        assert not re.search(r"<th(?![^>]*scope=)[ >]", table)
    pictures = re.findall(r'<div[^>]* role="img" aria-label="[^"]+">\s*<svg', dom)
    assert len(pictures) == dom.count("<svg") == dom.count("<figcaption>")
    assert len(re.findall(r'<h2 id="', dom)) == len(re.findall(r"<h2", dom))
    ids = re.findall(r'<(?:h2|caption) id="([^"]*)"', dom)
    assert len(ids) == len(set(ids))
    assert set(" ".join(re.findall(r'aria-labelledby="([^"]*)"', dom)).split()) <= set(ids)
