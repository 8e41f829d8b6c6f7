"""SIGTERM as an exception, for the commands that can be stopped and run again."""

from types import FrameType
from typing import NoReturn


class Terminated(BaseException):
    """SIGTERM, as an exception, so that every block is left properly."""


def on_sigterm(signum: int, frame: FrameType | None) -> NoReturn:
    """Handler: leave by way of the exception."""
    raise Terminated
