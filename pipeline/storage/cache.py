"""The cache folder of this machine: what Winnow fetched or measured, and can again.

It is `$WINNOW_CACHE`, else `$XDG_CACHE_HOME/winnow`, else `~/.cache/winnow`. Owns the small records
in it: written whole or not at all, and a record that cannot be read is none.
"""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """Where Winnow keeps what it fetched; safe to delete."""
    if named := os.environ.get("WINNOW_CACHE"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "winnow"


def recall(name: str) -> dict[str, Any] | None:
    """The record of that name, if there is one."""
    try:
        found = json.loads((cache_folder() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def remember(name: str, record: dict[str, Any]) -> None:
    """Keep a record, where this machine lets us."""
    path = cache_folder() / name
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as scratch:
            json.dump(record, scratch)
        Path(scratch.name).replace(path)
