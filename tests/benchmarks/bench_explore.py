"""What `winnow explore` takes: its start, a frame of a drag, an exact count, documents at a cut.

    make bench-explore     (or: python -m tests.benchmarks.bench_explore [ROWS] [FOLDER])

The run is bench_reports'. Each query runs in a process of its own, the start twice: the second one
finds its bins beside the run. Frames are a real Chromium's, while a handle is dragged; where there
is none, they are left out. The result is JSON on stdout.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.explore.cache import cached_bins
from pipeline.explore.counting import count
from pipeline.explore.examples import find_examples
from pipeline.explore.rule import Asked, decide
from pipeline.explore.run import ExploredRun, open_run
from tests.benchmarks.bench_reports import ROWS, make_run, peak_gb
from tests.support.chromium import CHROMIUM
from tests.support.explored import FLAGS, exploring, why_no_browser

VALUE = Asked("perplexity", "source", "value", 5.0, 55.0)
PERCENTILE = Asked("perplexity", "source", "percentile", 10.0, 90.0)
WITHIN = Asked("perplexity", "source", "within", 10.0, 90.0)
EACH = Asked("perplexity", "source", "each", None, None)
STEPS = 240
"""Of the pointer, while frames are timed."""


def count_exactly(run: ExploredRun, asked: Asked) -> None:
    bins = cached_bins(run, "perplexity", "source")
    if asked.unit == "each":
        bands = ((name, (5.0 + i / 99, 55.0)) for i, name in enumerate(bins.groups))
        asked = replace(asked, each=tuple(bands))
    count(run, decide(run, asked, bins), bins)


QUERIES: dict[str, Callable[[ExploredRun], Any]] = {
    "start": lambda run: cached_bins(run, "perplexity", run.default_column()),
    "start again": lambda run: cached_bins(run, "perplexity", run.default_column()),
    "another metric": lambda run: cached_bins(run, "num_tokens", "source"),
    "exact count, values": lambda run: count_exactly(run, VALUE),
    "exact count, percentiles": lambda run: count_exactly(run, PERCENTILE),
    "exact count, percentiles within groups": lambda run: count_exactly(run, WITHIN),
    "exact count, each group its own": lambda run: count_exactly(run, EACH),
    "documents at an edge": lambda run: find_examples(run, decide(run, VALUE), "high"),
    "documents at random": lambda run: find_examples(run, decide(run, VALUE), "random"),
}


def measure(query: str, location: str) -> None:
    """Child process: one query, once; prints {seconds, cpu_seconds, peak_gb}."""
    started, used = time.monotonic(), time.process_time()
    QUERIES[query](open_run(location))
    figures = {
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - used,
        "peak_gb": peak_gb(),
    }
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


TIMES = """
() => { window.times = []; let last = performance.now();
  const tick = (now) => { window.times.push(now - last); last = now; requestAnimationFrame(tick); };
  requestAnimationFrame(tick); }
"""


def frames(location: str) -> dict[str, float]:
    """Milliseconds between frames, and of the page's thread a frame, while a handle is dragged."""
    from playwright.sync_api import sync_playwright

    with exploring(location, "--no-open") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(server.address)
        page.get_by_text("Counted exactly").wait_for(timeout=120_000)
        chart, grip = (page.locator(one).bounding_box() for one in ("#chart", "#handle-high"))
        assert chart
        assert grip
        y = grip["y"] + grip["height"] / 2
        page.mouse.move(grip["x"] + grip["width"] / 2, y)
        page.mouse.down()
        session = page.context.new_cdp_session(page)
        # Of the thread, not of the clock: what else the machine does is not the page's.
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        before = thread_seconds(session)
        page.evaluate(TIMES)
        for share in (0.2, 0.9, 0.3, 0.6):
            page.mouse.move(chart["x"] + chart["width"] * share, y, steps=STEPS // 4)
        after = thread_seconds(session)
        page.mouse.up()
        times = sorted(page.evaluate("window.times"))
        browser.close()
    found = {name: 1000 * (after[key] - before[key]) / STEPS for name, key in PARTS.items()}
    found |= {"frame_ms": times[len(times) // 2], "frame_ms_p99": times[int(0.99 * len(times))]}
    return {name: round(value, 2) for name, value in found.items()}


PARTS = {"script_ms": "ScriptDuration", "style_ms": "RecalcStyleDuration"}
PARTS |= {"layout_ms": "LayoutDuration", "all_ms": "TaskDuration"}


def thread_seconds(session: Any) -> dict[str, float]:
    """What Chromium says of the page's thread."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return {one["name"]: one["value"] for one in metrics}


def main() -> None:
    """Generate if need be, measure each, print the result."""
    rows = int(float(sys.argv[1])) if len(sys.argv) > 1 else ROWS
    given = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    folder = given or Path(tempfile.mkdtemp(prefix="winnow-bench-explore-"))
    try:
        location = folder / "run"
        if not (location / "_SUCCESS").exists():
            make_run(folder, rows)
        shutil.rmtree(location / "explore", ignore_errors=True)
        result: dict[str, Any] = {}
        for query in QUERIES:
            command = [sys.executable, "-m", "tests.benchmarks.bench_explore", "--query", query]
            ended = subprocess.run(
                [*command, str(location)], check=True, capture_output=True, text=True
            )
            result[query] = json.loads(ended.stdout)
        result["dragging"] = why_no_browser() or frames(str(location))
        print(json.dumps({"rows": rows, **result}, indent=2))
    finally:
        if given is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--query"]:
        measure(sys.argv[2], sys.argv[3])
    else:
        main()
