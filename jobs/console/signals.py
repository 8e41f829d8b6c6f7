"""SIGTERM as an exception, for the commands that can be stopped and run again."""

from types import FrameType
from typing import NoReturn


class Terminated(BaseException):
    """SIGTERM, as an exception, so that every `with` and `finally` block runs."""


def on_sigterm(signum: int, frame: FrameType | None) -> NoReturn:
    """Signal handler that raises the exception."""
    raise Terminated
