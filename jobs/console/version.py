"""Which Winnow this is: its version, and the commit where one is known."""

import json
import os
import subprocess
from importlib.metadata import distribution
from pathlib import Path

NAME = "winnow-ppl"
OF_IMAGE = "WINNOW_COMMIT"
"""Where an image of infra/images keeps the commit that it was built from."""


def version_line() -> str:
    """`0.1.0 (1d27a03)`; without a commit where no checkout, image or pip knows it."""
    installed = distribution(NAME)
    of_image = os.environ.get(OF_IMAGE)
    commit = _of_checkout() or of_image or _of_origin(installed.read_text("direct_url.json"))
    return f"{installed.version} ({commit})" if commit else installed.version


def _of_checkout() -> str | None:
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        asked = subprocess.run(
            ["git", "-C", root, "describe", "--always", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except OSError:
        return None
    return asked.stdout.strip() or None


def _of_origin(direct_url: str | None) -> str | None:
    """What pip was asked to install from, if that was a repository (PEP 610)."""
    commit = json.loads(direct_url or "{}").get("vcs_info", {}).get("commit_id", "")
    return commit[:7] or None
