"""What is given to the functions of the library in Python: a mistake is one line, as in settings.

Owns holding arguments against the annotations of the function, which are the only statement of what
may be given. How many there are, and their names, Python itself checks.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, wraps
from numbers import Integral
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import BaseModel, ConfigDict, create_model

from pipeline.errors import ConfigError, in_a_line, named
from pipeline.settings.loading import fits
from pipeline.settings.names import near_name

Given = ParamSpec("Given")
Result = TypeVar("Result")
NAMES = {
    str: ("a string", "strings"),
    Path: ("a path", "paths"),
    int: ("a whole number", "whole numbers"),
    bool: ("True or False", "truth values"),
}
"""What a type is called in an error, for one and for several."""


def checked(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """The function, which raises ConfigError for an argument of a type that it does not take.

    An iterator in place of a sequence, as Path.glob gives one, is taken for its items.
    """
    signature = inspect.signature(function)
    several = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
    keywords = {one.name for one in signature.parameters.values() if one.kind is several[0]}

    @cache
    def kinds() -> dict[str, Any]:
        hints = get_type_hints(function, include_extras=True)
        return {
            name: hints[name]
            for name, parameter in signature.parameters.items()
            if name in hints and parameter.kind not in several
        }

    @wraps(function)
    def checking(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python's own words name the function
        for name, kind in kinds().items():
            if name not in bound.arguments:
                continue
            if isinstance(value := bound.arguments[name], Iterator):
                value = bound.arguments[name] = tuple(value)
            _check(name, kind, value)
        for name in keywords & bound.arguments.keys():
            given = bound.arguments[name].items()
            bound.arguments[name] = {setting: _plain(value) for setting, value in given}
        return function(*bound.args, **bound.kwargs)

    checking.__signature__ = _spelt_out(signature)  # type: ignore[attr-defined]
    return checking


def _plain(value: object) -> object:
    """A whole number of NumPy's, or of another library, as Python's."""
    if isinstance(value, Integral) and not isinstance(value, int):
        return int(value)
    return value


class _AsDocumented:
    """The default of a setting, in a signature."""

    def __repr__(self) -> str:
        return "..."


def _spelt_out(signature: inspect.Signature) -> inspect.Signature:
    """With each of `**settings`, as `help` and completion show them."""
    parameters = list(signature.parameters.values())
    last = parameters[-1]
    if get_origin(last.annotation) is not Unpack:
        return signature
    settings = get_type_hints(get_args(last.annotation)[0], include_extras=True)
    parameters[-1:] = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=_AsDocumented()
        )
        for name, kind in settings.items()
    ]
    return signature.replace(parameters=parameters)


def _check(name: str, kind: Any, value: object) -> None:
    if fits(_holder(kind), value=value):
        return
    if isinstance(value, list | tuple) and (item := _item_kind(kind)) is not None:
        for at, one in enumerate(value):
            if not fits(_holder(item), value=one):
                raise ConfigError(
                    f"{named(name)}[{at}]{in_a_line(one)}: must be {_joined(_in_words(item))}"
                )
    near = near_name(value, _choices(kind)) if isinstance(value, str) else None
    raise ConfigError(
        f"{named(name)}{in_a_line(value)}: must be {_joined(_in_words(kind))}",
        hint=near and f"did you mean '{near}'?",
    )


@cache
def _holder(kind: Any) -> type[BaseModel]:
    strict = ConfigDict(strict=True, arbitrary_types_allowed=True)
    return create_model("Argument", __config__=strict, value=(kind, ...))


def _item_kind(kind: Any) -> Any:
    """What the items of a list must be, where one may be given."""
    kinds = [kind] if get_origin(kind) is Sequence else get_args(kind)
    return next((get_args(one)[0] for one in kinds if get_origin(one) is Sequence), None)


def _choices(kind: Any) -> list[str]:
    return [str(one) for one in get_args(kind)] if get_origin(kind) is Literal else []


def _in_words(kind: Any, number: int = 0) -> Iterator[str]:
    """What a value may be, by its annotation; `number` is 1 for several."""
    if get_origin(kind) is Annotated:
        kind, field = get_args(kind)
        bounds = (f" of {one.ge} or more" for one in field.metadata if hasattr(one, "ge"))
        yield "".join([*_in_words(kind, number), *bounds])
    elif kind in NAMES:
        yield NAMES[kind][number]
    elif choices := _choices(kind):
        yield _joined(map(repr, choices))
    elif get_origin(kind) is Sequence:
        yield f"a list of {_joined(_in_words(get_args(kind)[0], 1))}"
    elif get_origin(kind) is Callable:
        yield "a function"
    else:  # a union; None, and what only the inside of the library has, need no words
        for one in get_args(kind):
            yield from _in_words(one, number)


def _joined(words: Iterable[str]) -> str:
    """a, b or c."""
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} or {last}" if others else last
