"""Pictures of the demo for the README, light and dark: its report, and a cut on the page of
`winnow explore`. `make screenshots`.

    python -m tests.support.screenshots [FOLDER]

Takes the run that `make demo` left in demo/, or makes it first. The demo's text, and so its
figures, differ from machine to machine: new pictures go with new figures in the README.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from jobs.console.ending import run_command
from jobs.demo.demo import demo_report, run_demo
from pipeline.errors import ConfigError
from pipeline.reports.page import to_html
from pipeline.reports.report import Report
from pipeline.runs.store import RunStore
from tests.support.chromium import CHROMIUM, FLAGS
from tests.support.explored import FLAGS as BROWSER_FLAGS
from tests.support.explored import exploring

DEMO = Path("demo")
WIDTH, HEIGHT = 1040, 1560
"""Pixels of a page, to the end of its first histogram."""


def take_screenshots(folder: Path) -> int:
    """Write report.png, explore.png and both in the dark. Raises WinnowError."""
    if CHROMIUM is None:
        raise ConfigError(
            "there is no Chromium to take screenshots with", hint="apt-get install chromium"
        )
    store = RunStore(str(DEMO / "run"))
    if store.success() is None and (code := run_demo(DEMO)):
        return code
    page = to_html(without_folders(demo_report(store)))
    folder.mkdir(exist_ok=True)
    for name, dark in (("report.png", False), ("report-dark.png", True)):
        photograph(page, folder / name, dark=dark)
        print(folder / name)
    for name, dark in (("explore.png", False), ("explore-dark.png", True)):
        photograph_cut(store, folder / name, dark=dark)
        print(folder / name)
    return 0


def without_folders(report: Report) -> Report:
    """As if corpus and model lay here: where they are on this machine is nobody's concern."""
    source = report.provenance
    model = source.model.model_copy(update={"name": Path(source.model.name).name})
    update = {"corpus": str(DEMO / "corpus"), "model": model}
    command = (report.sorts_by.command or "").replace(str(DEMO.resolve()), str(DEMO))
    return report.model_copy(
        update={
            "provenance": source.model_copy(update=update),
            "sorts_by": report.sorts_by.model_copy(update={"command": command or None}),
        }
    )


def photograph(
    page: str, target: Path, *, dark: bool, width: int = WIDTH, height: int = HEIGHT
) -> None:
    """The top of a page as a PNG of `width` by `height` pixels."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "page.html"
        source.write_text(page)
        subprocess.run(
            [
                CHROMIUM,
                *FLAGS,
                f"--user-data-dir={scratch}/profile",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                f"--window-size={width},{height}",
                f"--screenshot={target.resolve()}",
                source.as_uri(),
            ],
            stderr=subprocess.DEVNULL,
            timeout=120,
            check=True,
        )


def photograph_cut(store: RunStore, target: Path, *, dark: bool) -> None:
    """The page with a cut on it, to the end of what it keeps."""
    from playwright.sync_api import sync_playwright

    with (
        exploring(store.location, "--no-open", "--by", "source") as server,
        sync_playwright() as own,
    ):
        browser = own.chromium.launch(executable_path=CHROMIUM, args=BROWSER_FLAGS)
        page = browser.new_page(
            viewport={"width": WIDTH, "height": 2 * HEIGHT},
            color_scheme="dark" if dark else "light",
        )
        page.goto(f"{server.address}#by=source&high=55")
        page.get_by_text("Counted exactly").wait_for()
        # As if all of it lay here.
        manifest = store.require_manifest()
        places = {manifest.corpus: "demo/corpus", store.location: "demo/run"}
        places[manifest.model.name] = Path(manifest.model.name).name
        for name in ("about", "command"):
            line = page.locator(f"#{name}")
            said = line.inner_text()
            for place, shown in places.items():
                said = said.replace(place, shown)
            line.evaluate("(one, said) => { one.textContent = said; }", said)
        end = page.locator("#command").bounding_box()
        assert end is not None
        height = int(end["y"] + end["height"]) + 8
        page.screenshot(path=target, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
        browser.close()


if __name__ == "__main__":
    run_command(lambda: take_screenshots(Path(sys.argv[1] if len(sys.argv) > 1 else "docs")))
