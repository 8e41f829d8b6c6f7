"""One HOME for all of Ray in a test process: Ray reads its token there once, and keeps it."""

import functools
import tempfile
from pathlib import Path


@functools.cache
def ray_home() -> Path:
    """A folder of this process."""
    return Path(tempfile.mkdtemp(prefix="winnow-home-"))
