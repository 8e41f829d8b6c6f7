"""A copy of the fixtures that works where it lies: paths and times as manifests have them.

Owns the placeholder. The committed files are those that 0.1.0 wrote; only a copy is changed.
"""

import json
import os
import shutil
from pathlib import Path

import polars as pl

FIXTURES = Path(__file__).parent / "fixtures"
PLACE = Path("/winnow-0.1.0")
"""Where the fixtures were made, and what stands for the place of a copy."""
HISTORY = "history.parquet"
WITHOUT_PATHS = (".parquet", ".safetensors")


def install(folder: Path) -> Path:
    """Copy the fixtures to `folder`, which is not there yet."""
    shutil.copytree(FIXTURES, folder, symlinks=True)
    own = str(folder)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix not in WITHOUT_PATHS:
            path.write_text(path.read_text().replace(str(PLACE), own))
    for path in folder.rglob(HISTORY):
        paths = pl.col("run", "baseline", "model").str.replace(str(PLACE), own, literal=True)
        pl.read_parquet(path).with_columns(paths).write_parquet(path)
    for path in folder.rglob("manifest.json"):
        _restore_times(json.loads(path.read_text()))
    return folder


def _restore_times(manifest: dict) -> None:
    """A checkout has times of its own; a run knows its corpus by size and time."""
    for file in manifest["files"]:
        time = file["mtime_ns"]
        os.utime(Path(manifest["corpus"], file["path"]), ns=(time, time))


def placed(text: str, folder: Path) -> str:
    """What was printed of a copy, as it would have been at PLACE."""
    return text.replace(str(folder), str(PLACE))
