"""The page in a real browser: hostile names and texts change nothing, and no request leaves.

Skipped where no Chromium is installed (apt-get install chromium).
"""

import html
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.pages.page import to_html
from tests.chromium import CHROMIUM, FLAGS
from tests.reports import HOSTILE, examples, make_report

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


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_the_page_is_no_wider_than_the_screen(tmp_path, hostile_page, width):
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    content = policy.sub("", hostile_page)
    # Headless windows are no narrower than 500 pixels: a frame is.
    style = f"width:{width}px;height:800px"
    frame = f'<iframe id="f" style="{style}" srcdoc="{html.escape(content)}"></iframe>'
    read = (
        "<script>f.onload = () => "
        "{ document.title = f.contentDocument.documentElement.scrollWidth }</script>"
    )
    visit = browse(
        tmp_path, f"<title></title>{frame}{read}", "--dump-dom", "--window-size=2000,1000"
    )
    assert 0 < int(visit.title) <= width


def test_the_page_prints(tmp_path, hostile_page):
    target = tmp_path / "page.pdf"
    browse(tmp_path, hostile_page, f"--print-to-pdf={target}", "--no-pdf-header-footer")
    assert target.read_bytes().startswith(b"%PDF")


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
        assert "<caption>" in table
        assert not re.search(r"<th(?![^>]*scope=)[ >]", table)
    pictures = re.findall(r'<div[^>]* role="img" aria-label="[^"]+">\s*<svg', dom)
    assert len(pictures) == dom.count("<svg") == dom.count("<figcaption>")
    ids = re.findall(r'<h2 id="([^"]*)"', dom)
    assert len(ids) == len(set(ids)) == len(re.findall(r"<h2", dom))
    assert set(re.findall(r'aria-labelledby="([^"]*)"', dom)) <= set(ids)
