"""A driver that reports every metric of a run to a Ray of its own, and stays until stdin closes.

A process of its own, because Ray reads its authentication token once a process.
Run as: python -m tests.integration.emit_metrics METRICS_PORT RAY_FOLDER
"""

import sys
import time

import ray

from jobs.run.metrics import RunMetrics
from pipeline.runs.manifest import Totals

STATUSES = ({"ok": 90, "error": 10}, {"ok": 45, "empty": 5})
"""Of the shard of worker 0, and of worker 1's."""


def main(port: int, folder: str) -> None:
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=128 << 20,
        _metrics_export_port=port,
        _temp_dir=folder,
        _system_config={"metrics_report_interval_ms": 500},
    )
    run = RunMetrics(run="run-1", model="tiny")
    run.begin(1000, 200)
    run.states(waiting=3, running=2, done=2, failed=1)
    for worker, statuses in enumerate(STATUSES):
        time.sleep(0.05)
        rows = sum(statuses.values())
        run.shard_done(
            Totals(
                num_rows=rows,
                num_tokens=7 * rows,
                num_bytes=30 * rows,
                statuses=statuses,
                seconds=2.0,
                flops=4e9,
                peak_flops=1e10,
            ),
            worker,
        )
    run.advance(150, 1050, 2.0)
    run.shard_failed(OSError("gone"), retried=True)
    run.restart(1)
    run.reused(4)
    print("reported", flush=True)
    sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
