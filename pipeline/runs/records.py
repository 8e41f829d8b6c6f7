"""Every record that is stored as JSON: its base, how it is read, and how it is written.

Owns the one loader and the one translator of damage: whatever stands in a record's file, it loads
or is one RunError that names the file, the key, and what to do. What a record says is its own
module's.

A record is read for as long as its form can be: keys that are not known are those of a newer minor
version, and are left alone; keys that were added later have defaults. Only a form whose number this
Winnow does not know is refused. The number is of the form of the file, not of what a score means;
that one is SCORE_VERSION, in the fingerprint.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from pipeline.errors import RunError
from pipeline.storage.filesystem import Root

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""A number of rows, tokens, bytes and the like."""

OTHER_FORM = "other_form"
MOST_CHARACTERS = 200


class Record(BaseModel):
    """Base of the records: frozen, and a key that is not known is left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    def to_json(self) -> str:
        """The record for people: indented, keys in order of definition."""
        return self.model_dump_json(indent=2) + "\n"


R = TypeVar("R", bound=Record)


def form_version(newest: int, *, oldest: int = 1) -> AfterValidator:
    """Annotates the number of a record's form: its first field, so that it is checked first."""

    def check(found: int) -> int:
        if found > newest:
            said = "was written by a newer Winnow, in format {found}; this one reads {newest}"
        elif found < oldest:
            said = "was written by an older Winnow, in format {found}; this one reads {newest}"
        else:
            return found
        raise PydanticCustomError(OTHER_FORM, said, {"found": found, "newest": newest})

    return AfterValidator(check)


def by_kind(find: Callable[[str], type[BaseModel] | None], *, first: str) -> BeforeValidator:
    """Annotates a field of several kinds, named by its key `kind`; `first` has no key."""

    def read(found: Any) -> Any:
        if not isinstance(found, dict):
            return found
        name = str(found.get("kind", first))
        kind = find(name)
        if kind is None:
            said = "has scores of the kind {name}, which this version of Winnow does not know"
            raise PydanticCustomError(OTHER_FORM, said, {"name": name})
        return kind.model_validate(found)

    return BeforeValidator(read)


def load(root: Root, name: str, kind: type[R], *, hint: str) -> R | None:
    """A record below a folder, or None where there is none. Raises RunError as `parse` does, and
    for what is no file."""
    try:
        content = root.read_bytes(name)
    except FileNotFoundError:
        return None
    except IsADirectoryError as error:
        raise RunError(f"{root.show(name)} is damaged: it is {error.strerror}", hint=hint) from None
    return parse(content, kind, root.show(name), hint=hint)


def parse(content: bytes, kind: type[R], where: str, *, hint: str) -> R:
    """A record from its JSON. `where` names its file, and `hint` says what to do if it is damaged.

    Raises RunError if it is, or if it has a form that this Winnow does not know.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    said = _short(first["msg"])
    if first["type"] == OTHER_FORM:
        raise RunError(f"{where} {said}", hint=f"use the Winnow that wrote it, or else {hint}")
    key = _short(".".join(str(step) for step in first["loc"]))
    raise RunError(f"{where} is damaged: {f'{key}: ' if key else ''}{said}", hint=hint)


def save(root: Root, name: str, record: Record) -> None:
    """Write a record, whole or not at all."""
    root.write_bytes(name, record.to_json().encode())


def on_one_line(text: str) -> str:
    """Keys and values come out of a file, so they may be anything."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _short(text: str) -> str:
    line = on_one_line(text)
    return line if len(line) <= MOST_CHARACTERS else line[:MOST_CHARACTERS] + "…"
