"""The error that an engine died of, passed from its worker to the driver.

Owns the key in Ray's store that holds the error. A worker whose engine failed ends at once, so that
no other shard of it is scored with a broken engine; a result would not get out in time. The store
is written before the call returns, and outlives the worker.
"""

import contextlib

from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

from pipeline.errors import ENGINE_FAILED

NAMESPACE = "winnow"
MOST_CHARACTERS = 200


def record_engine_error(run_id: str, shard: int, reason: str) -> None:
    """Record what the engine of this worker died of, while it scored a shard."""
    with contextlib.suppress(Exception):  # the process ends, whether or not this is heard
        _internal_kv_put(_key(run_id, shard), _short(reason), namespace=NAMESPACE)


def take_engine_error(run_id: str, shard: int) -> str:
    """The error of the last engine that died on a shard; empty if it gave none."""
    key = _key(run_id, shard)
    with contextlib.suppress(Exception):  # of a store that is not there either
        said: bytes | None = _internal_kv_get(key, namespace=NAMESPACE)
        if said is not None:
            _internal_kv_del(key, namespace=NAMESPACE)
            return said.decode(errors="replace")
    return ""


def _short(reason: str) -> str:
    words = " ".join(reason.removeprefix(f"{ENGINE_FAILED}: ").split())
    return words if len(words) <= MOST_CHARACTERS else words[: MOST_CHARACTERS - 1] + "…"


def _key(run_id: str, shard: int) -> str:
    return f"died/{run_id}/{shard}"
