"""A Ray cluster on this machine whose nodes come and go.

Owns starting it in a folder and a HOME of its own, and losing nodes as a machine is lost: without a
word. What runs on it is driver.py's.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from tests.support.homes import ray_home
from tests.support.servers import KEY, SECRET

ROOT = Path(__file__).parents[2]
STORE_BYTES = 80 << 20
# A node that is gone is known to be gone in seconds instead of half a minute.
HEALTH = {"health_check_period_ms": 1000, "health_check_failure_threshold": 5}


class Machines:
    """A head without CPUs, and worker nodes of one CPU each: one engine per node."""

    def __init__(self, count: int) -> None:
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                "object_store_memory": STORE_BYTES,
                "_system_config": HEALTH,
            },
        )
        self._nodes: list[Any] = []
        for _ in range(count):
            self.join()

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def __len__(self) -> int:
        return len(self._nodes)

    def join(self) -> None:
        """A node more."""
        self._nodes.append(
            self._cluster.add_node(wait=True, num_cpus=1, object_store_memory=STORE_BYTES)
        )

    def lose(self, index: int) -> None:
        """SIGKILL to everything of a node, raylet first."""
        self._cluster.remove_node(self._nodes.pop(index), allow_graceful=False)

    def lose_raylet(self, index: int) -> None:
        """SIGKILL to a node's raylet alone; its workers notice by themselves."""
        node = self._nodes.pop(index)
        node.kill_raylet()
        self._cluster.remove_node(node, allow_graceful=False)

    def stop(self) -> None:
        self._cluster.shutdown()


@contextmanager
def machines(count: int) -> Iterator[Machines]:
    """A cluster, and an environment in which processes started here find this code and no other."""
    # Sockets lie below it, and their paths have a short limit.
    folder = Path(tempfile.mkdtemp(prefix="wc-", dir="/tmp"))
    (folder / "ray").mkdir()
    (folder / "home").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("WINNOW_", "RAY_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(ray_home()))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        cluster = Machines(count)
        try:
            yield cluster
        finally:
            cluster.stop()
            shutil.rmtree(folder, ignore_errors=True)
