"""Arguments of the library's functions: what is taken, and the line for what is not."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import pytest
from pydantic import Field

from pipeline import Scorer, build_report, compare_runs, filter_run, read_scores
from pipeline.errors import ConfigError
from pipeline.settings.arguments import checked


@checked
def asked(
    run: str | Path,
    *,
    by: str | Sequence[str] | None = None,
    weight: Literal["documents", "tokens", "bytes"] = "tokens",
    number: Annotated[int, Field(ge=100)] = 100,
    partial: bool = False,
    on_run: Callable[[str], None] = lambda name: None,
    **settings: Any,
) -> tuple[Any, ...]:
    """What is said of it."""
    return run, by, weight, number, partial, settings


def test_what_is_given_arrives():
    assert asked("runs/first") == ("runs/first", None, "tokens", 100, False, {})
    assert asked(Path("a"), by="b")[:2] == (Path("a"), "b")
    assert asked("a", by=["b", "c"], weight="bytes", other=object)[1:3] == (["b", "c"], "bytes")
    assert asked("a", by=(one for one in "bc"))[1] == ("b", "c")


WRONG = {
    "no run": ((None,), {}, "run = None: must be a string or a path"),
    "runs": ((["a", "b"],), {}, "run = ['a', 'b']: must be a string or a path"),
    "a table": ((pl.DataFrame({"a": [1]}),), {}, "run is polars.DataFrame: must be a string or"),
    "tables": (([pl.DataFrame({"a": range(30)})],), {}, "run is list: must be a string or a path"),
    "a number": (("a",), {"by": 3}, "by = 3: must be a string or a list of strings"),
    "one number": (("a",), {"by": ["b", 3]}, "by[1] = 3: must be a string"),
    "no choice": (("a",), {"weight": 1}, "weight = 1: must be 'documents', 'tokens' or 'bytes'"),
    "too small": (("a",), {"number": 9}, "number = 9: must be a whole number of 100 or more"),
    "a word": (("a",), {"partial": "no"}, "partial = 'no': must be True or False"),
    "no function": (("a",), {"on_run": 1}, "on_run = 1: must be a function"),
}


@pytest.mark.parametrize(("args", "settings", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_one_line(args, settings, message):
    with pytest.raises(ConfigError) as raised:
        asked(*args, **settings)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_near_choice_is_proposed():
    with pytest.raises(ConfigError) as raised:
        asked("a", weight="token")
    assert raised.value.hint == "did you mean 'tokens'?"


def test_the_names_of_arguments_are_pythons_own():
    with pytest.raises(TypeError, match=r"asked\(\) missing 1 required positional argument: 'run'"):
        asked()
    with pytest.raises(TypeError, match=r"asked\(\) takes 1 positional argument but 2 were given"):
        asked("a", "b")


def test_help_shows_the_function():
    assert asked.__doc__ == "What is said of it."
    assert list(inspect.signature(asked).parameters)[:2] == ["run", "by"]


DOORS = {
    "read_scores": (read_scores, None),
    "build_report": (build_report, None),
    "filter_run": (filter_run, None),
    "compare_runs": (compare_runs, "runs/first"),
    "Scorer": (Scorer, None),
    "Scorer.of_run": (Scorer.of_run, None),
}


@pytest.mark.parametrize(("door", "given"), DOORS.values(), ids=DOORS)
def test_every_door_of_the_library_is_held(door, given):
    with pytest.raises(ConfigError, match=r" = .*: must be a (string or a path|list of strings)"):
        door(given)
