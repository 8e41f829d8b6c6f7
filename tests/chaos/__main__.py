"""`make chaos`: rounds of faults until the time is over, then a table. Exit code 1 on any loss."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from tests.chaos.cluster import machines
from tests.chaos.corpus import Difference, Undisturbed
from tests.chaos.faults import EVERYWHERE, ON_A_STORE, ON_DISK
from tests.chaos.rounds import Fault, Hang, Round
from tests.support.faulty import MOMENTS, ON_DISK_ONLY
from tests.support.servers import SeaweedFS


class Tally:
    """What came of each fault, over all rounds."""

    def __init__(self) -> None:
        self.caused: Counter[str] = Counter()
        self.survived: Counter[str] = Counter()
        self.sums: dict[str, Counter[str]] = {k: Counter() for k in ("lost", "doubled", "changed")}
        self.complaints: list[str] = []

    def add(self, played: Round, difference: Difference | None, complaints: list[str]) -> None:
        """A round; `difference` is None if it was not finished."""
        found = Counter(played.caused)
        self.caused += found
        self.complaints += complaints
        if difference is not None and difference.is_none and not complaints:
            self.survived += found
        if difference is not None:
            for kind, sums in self.sums.items():
                for fault in found:
                    sums[fault] += getattr(difference, kind)

    def print(self) -> None:
        table = Table(
            "fault", "caused", "survived", *self.sums, title="Rows lost, doubled, changed"
        )
        for column in table.columns[1:]:
            column.justify = "right"
        faults = (*EVERYWHERE, *ON_DISK, *ON_A_STORE)
        for fault in [*(fault.name for fault in faults), *MOMENTS]:
            name = f"driver dead: {fault}" if fault in MOMENTS else fault
            counts = [self.caused, self.survived, *self.sums.values()]
            table.add_row(name, *(str(count[fault]) for count in counts))
        screen = Console(width=100, highlight=False)
        screen.print(table)
        screen.print("Rows are counted against every fault of their round.")
        for complaint in self.complaints:
            screen.print(f"FAILED: {complaint}", markup=False)


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    options.add_argument("--minutes", type=float, default=10, help="no round begins after this")
    options.add_argument("--seed", type=int, default=None, help="which faults, in which order")
    options.add_argument("--files", type=int, default=10, help="size of the corpus: 24 shards each")
    options.add_argument(
        "--faults",
        type=int,
        default=5,
        help="faults a round, besides half as many drivers that die at a named moment",
    )
    options.add_argument("--where", choices=["disk", "store", "both"], default="both")
    asked = options.parse_args()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    print(f"seed {seed}: the same faults come in the same order again; moments vary", flush=True)
    ends = time.monotonic() + 60 * asked.minutes
    tally = Tally()
    folder = Path(tempfile.mkdtemp(prefix="winnow-chaos-"))
    undisturbed = Undisturbed(folder, asked.files)
    decks = [Deck(place, seed) for place in PLACES if asked.where in (place, "both")]
    with ExitStack() as stack:
        server = None
        if asked.where != "disk":
            server = stack.enter_context(SeaweedFS(folder / "store"))
        cluster = stack.enter_context(machines(2))
        number = 0
        # Each place has a round, however short the time.
        while number < len(decks) or time.monotonic() < ends:
            deck = decks[number % len(decks)]
            number += 1
            chance = random.Random(f"{seed}/{number}")
            at = server if deck.place == "store" else None
            played = Round(folder / f"round-{number}", cluster, undisturbed, chance, at)
            now = [next(deck.faults) for _ in range(asked.faults)]
            when = [next(deck.moments) for _ in range(asked.faults // 2)]
            play(played, sorted(when, key=list(MOMENTS).index), now, tally)
    tally.print()
    print(f"{number} rounds of {undisturbed.num_shards} shards, seed {seed}")
    if tally.complaints:
        print(f"Runs and logs are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


PLACES = ("disk", "store")
Card = TypeVar("Card")


class Deck:
    """What can happen to a run in one place, dealt by a seed."""

    def __init__(self, place: str, seed: int) -> None:
        self.place = place
        faults = [*EVERYWHERE, *(ON_DISK if place == "disk" else ON_A_STORE)]
        left_out = ON_DISK_ONLY if place == "store" else set()
        moments = [moment for moment in MOMENTS if moment not in left_out]
        self.faults = deal(faults, random.Random(seed))
        self.moments = deal(moments, random.Random(seed))


def deal(deck: list[Card], chance: random.Random) -> Iterator[Card]:
    """All of a deck in random order, again and again: each comes as often as any other."""
    while True:
        chance.shuffle(deck)
        yield from deck


def play(played: Round, moments: list[str], faults: list[Fault], tally: Tally) -> None:
    """One round, told in a line."""
    began = time.monotonic()
    difference = None
    try:
        difference = played.play(moments, faults)
    except (Hang, OSError, ValueError) as error:
        played.complain(f"{type(error).__name__}: {error}")
    complaints = [*played.complaints, *(difference.complaints if difference else ())]
    for kind in ("lost", "doubled", "changed"):
        if difference is not None and (rows := getattr(difference, kind)):
            complaints.append(f"{rows} rows {kind}")
    where = f"{played.folder.name} ({', '.join(played.caused)})"
    tally.add(played, difference, [f"{where}: {complaint}" for complaint in complaints])
    verdict = "; ".join(complaints) or "every row equal"
    seconds = time.monotonic() - began
    print(f"{where}: {played.num_drivers} drivers, {seconds:.0f} s: {verdict}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
