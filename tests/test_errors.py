"""The exception tree: one family, exit codes by branch, nothing lost between processes."""

import inspect
import pickle
import re
import traceback
from collections.abc import Iterator

import pytest

from pipeline import errors
from pipeline.errors import ConfigError, UsageError, WinnowError, counted, named

MESSAGES = {
    "hint": ("part-00007.parquet is not a part: é 😀", "delete it and score again"),
    "no hint": ("the engine died", None),
    "empty hint": ("the engine died", ""),
    "empty message": ("", "look elsewhere"),
    "percent and braces": ("{0} %s", "{hint} %d"),
}


def tree(kind: type[WinnowError]) -> Iterator[type[WinnowError]]:
    """The class and all below it, as they are in this module."""
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


KINDS = list(tree(WinnowError))


def documented() -> dict[str, str]:
    """Class -> the class above it, as the module's docstring draws them."""
    above: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+Error)\b", line):
            depth = len(match["branch"]) // 4
            path = [*path[:depth], match["name"]]
            above[match["name"]] = path[-2] if depth else "Exception"
    return above


def test_there_is_more_than_the_base():
    # Or every test below would pass on nothing.
    assert len(KINDS) > 5


@pytest.mark.parametrize(("message", "hint"), MESSAGES.values(), ids=MESSAGES.keys())
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_pickle_keeps_type_message_and_hint(kind, message, hint):
    # Ray carries a worker's error to the driver as a pickle.
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(kind(message, hint=hint), protocol))
        assert type(again) is kind
        assert (str(again), again.hint) == (message, hint)
        assert again.exit_code == kind.exit_code


def test_a_pickle_of_a_pickle_is_still_the_same():
    error = UsageError("what", hint="how")
    for _ in range(3):
        error = pickle.loads(pickle.dumps(error))
    assert (str(error), error.hint) == ("what", "how")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_mistakes_of_the_caller_exit_with_2_and_the_rest_with_1(kind):
    assert kind("x").exit_code == (2 if issubclass(kind, UsageError) else 1)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_hint_is_optional_and_never_positional(kind):
    assert kind("x").hint is None
    with pytest.raises(TypeError, match="positional"):
        kind("x", "a hint")


def test_no_error_of_this_module_is_outside_the_family():
    found = {name for name, kind in inspect.getmembers(errors, inspect.isclass)}
    assert found == {kind.__name__ for kind in KINDS}


def test_the_tree_in_the_docstring_is_the_tree():
    bases = {kind.__name__: kind.__bases__[0].__name__ for kind in KINDS}
    assert documented() == bases


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_class_says_what_it_is_for(kind):
    assert vars(kind).get("__doc__")


def test_a_setting_has_its_name_unless_an_entry_point_has_a_word_for_it():
    error = ConfigError(
        f"{named('limit')} = '--limit': not with {named('out')}", hint=f"leave out {named('limit')}"
    )
    assert (str(error), error.hint) == ("limit = '--limit': not with out", "leave out limit")
    again = pickle.loads(pickle.dumps(error))  # a worker's, on its way to the driver
    for one in (error, again):
        one.spell({"limit": "--limit"})
        one.spell({"limit": "LIMIT"})  # the first who has a word for it is nearest
        assert (str(one), one.hint) == ("--limit = '--limit': not with out", "leave out --limit")
    again.spell({"out": "--out"})
    assert str(again).endswith("not with --out")


def test_a_traceback_ends_with_the_hint():
    """All that a notebook shows of an error is its traceback."""
    error = ConfigError(f"{named('out')} is empty", hint=f"give {named('out')}")
    for one in (error, pickle.loads(pickle.dumps(error)), error.at("here")):
        assert traceback.format_exception(one)[-1].strip() == "hint: give out"
    error.spell({"out": "--out"})
    said = "".join(traceback.format_exception(error))
    assert said.count("hint: ") == 1
    assert said.endswith("--out is empty\nhint: give --out\n")
    assert "hint" not in "".join(traceback.format_exception(ConfigError("no")))


def test_one_is_no_plural():
    said = [counted(number, "token") for number in (0, 1, 2, 12345)]
    assert said == ["0 tokens", "1 token", "2 tokens", "12,345 tokens"]
    said = [counted(number, "copy is", "copies are") for number in (0, 1, 1234)]
    assert said == ["0 copies are", "1 copy is", "1,234 copies are"]
