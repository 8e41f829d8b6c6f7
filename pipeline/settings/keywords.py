"""Errors in the words of whoever is told: options on the command line, keywords in Python."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pipeline.errors import UsageError


@contextmanager
def words_of_python(names: Iterable[str]) -> Iterator[None]:
    """Errors name options of the command line; here the same settings are keywords, `names`."""
    options = "|".join(names).replace("_", "-")
    option = re.compile(rf"(?<!\S)--({options})\b")

    def reworded(text: str) -> str:
        return option.sub(lambda found: found[1].replace("-", "_"), text)

    try:
        yield
    except UsageError as error:
        hint = None if error.hint is None else reworded(error.hint)
        raise type(error)(reworded(str(error)), hint=hint) from error.__cause__
