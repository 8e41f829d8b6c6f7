"""A page of `winnow explore` that is open in a browser, and what tests do and see there."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE_MS = 60_000
"""Until a test gives up on a page; never waited for when all is well."""


class Visit:
    """A page that is open; nothing of it may leave the machine or complain."""

    def __init__(self, browser: Any, **context: Any) -> None:
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, **context}
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.left: list[str] = []
        self.page.on("console", lambda one: self.complaints.append(f"{one.type}: {one.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.context.route(re.compile(r"^(?!http://127\.0\.0\.1:|data:)"), self._leave)

    def _leave(self, route: Any) -> None:
        self.left.append(route.request.url)
        route.abort()

    def open(self, address: str) -> Any:
        self.page.goto(address)
        self.counted()
        return self.page

    def counted(self) -> None:
        """Wait until the page has counted exactly, and shows the documents."""
        self.page.get_by_text("Counted exactly").wait_for()
        self.page.locator("#examples h3").first.wait_for()

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """What is estimated in here stays so, until something is moved after it."""
        self.page.route("**/api/count*", lambda route: None)  # no answer ever comes
        yield
        self.page.unroute("**/api/count*")

    def kept(self) -> int:
        """Documents that the page says stay."""
        said = self.page.locator("#cards small").first.inner_text()
        return int(said.partition(" of ")[0].replace(",", ""))


def rests(found: Visit) -> None:
    """Something was moved: what is exact is counted anew."""
    found.page.get_by_text("counting exactly").wait_for(state="hidden")
    found.counted()


def agrees(found: Visit, record: dict[str, Any]) -> None:
    """Every figure of the page is the filter's."""
    cards = found.page.locator("#cards small").all_inner_texts()
    for name, said in zip(("documents", "tokens", "bytes"), cards, strict=True):
        numbers = [int(part.replace(",", "")) for part in said.split(" of ")]
        assert numbers == [record["after"][name], record["before"][name]]
    rows = found.page.locator("#groups tbody tr")
    told = {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts()[1:3]
        for row in rows.all()
    }
    assert told == {
        one["group"] or "(null)": [str(one["before"]["documents"]), str(one["after"]["documents"])]
        for one in record["groups"]
    }


def drag(page: Any, handle: str, to: float) -> None:
    """Pull a handle by the pointer to a share of the chart's width, in steps."""
    box = page.locator("#chart").bounding_box()
    grip = page.locator(handle).bounding_box()
    y = grip["y"] + grip["height"] / 2
    page.mouse.move(grip["x"] + grip["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * to, y, steps=8)
    page.mouse.up()


def serious(page: Any) -> list[str]:
    """What axe-core, once it is on the page, finds serious."""
    found = page.evaluate("axe.run()")["violations"]
    worst = [one for one in found if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in worst]
