"""A model of the driver's queue: how many workers one driver can keep busy, and what breaks first.

    python -m tests.benchmarks.queue_model [SHARDS]

A discrete-event simulation of `jobs.run.driver.Driver.run`: each worker has two shards in flight;
the driver takes turns, and in a turn waits, handles results and refills, worker by worker.
Twice a second it polls every worker. Its costs below are bench_driver's
(processor time, so a quiet machine does as well or better).
"""

import heapq
import json
import random
import sys
from dataclasses import dataclass, replace

SHARDS = 10_000_000
POLL_SECONDS = 0.5
SHARDS_EACH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds of the driver's processor time."""

    handle_result: float
    """A shard: the driver's own share, and Ray's submit and get."""
    wait: float
    """A pending call, in one `ray.wait`; a turn has two."""
    poll_workers: float
    """A worker, each half second: ask for progress, wait for it, get it."""


MEASURED = Costs(handle_result=300e-6, wait=0.5e-6, poll_workers=300e-6)


def busy(workers: int, shards: int, shard_seconds: float, costs: Costs) -> float:
    """The share of the workers' time that they score, while the queue is longest.

    Simulates the first SHARDS_EACH shards of every worker.
    """
    last = min(shards, SHARDS_EACH * workers)
    rng = random.Random(0)
    scale = shard_seconds / 1.1331  # the mean of a lognormal of sigma 0.5
    durations = [scale * rng.lognormvariate(0, 0.5) for _ in range(4096)]
    # A worker's next end, and when its second shard came: it may come after the first one's end.
    ends = [(durations[w % 4096], w) for w in range(workers)]
    heapq.heapify(ends)
    came = [0.0] * workers
    now, reported, worked, taken = 0.0, 0.0, sum(end for end, _ in ends), 2 * workers
    while taken < last:
        now = max(now, ends[0][0]) + 2 * costs.wait * 2 * workers
        horizon = now
        while ends[0][0] <= horizon and taken < last:
            end, worker = ends[0]
            duration = durations[(taken * 2654435761) % 4096]
            heapq.heapreplace(ends, (max(end, came[worker]) + duration, worker))
            now += costs.handle_result
            came[worker] = now
            worked += duration
            taken += 1
        if now - reported >= POLL_SECONDS:
            now += costs.poll_workers * workers
            reported = now
    finished = ends[0][0]
    worked -= sum(end - finished for end, _ in ends)
    return worked / workers / finished


def main(shards: int = SHARDS) -> None:
    cases = {
        "as it is": MEASURED,
        "without asking each worker": replace(MEASURED, poll_workers=0.0),
        "as it is, and a request of 30 ms for each shard": replace(MEASURED, handle_result=30e-3),
    }
    for workers in (200, 1_000):
        for seconds in (1.0, 10.0, 60.0):
            for name, costs in cases.items():
                share = busy(workers, shards, seconds, costs)
                answer = {"workers": workers, "shards": shards, "shard_seconds": seconds}
                print(json.dumps({**answer, "driver": name, "busy": round(share, 3)}), flush=True)


if __name__ == "__main__":
    main(*[int(argument) for argument in sys.argv[1:]])
