"""The exception tree: one base, so that an entry point needs one except clause.

WinnowError                       handled failure, exit code 1
├── UsageError                    the caller can correct it, nothing was written: exit code 2
│   ├── ConfigError               an option, environment variable or TOML key
│   ├── CorpusError               a corpus path, column or file
│   │   └── CorpusChangedError    a row's text was not scored
│   ├── ModelError                a model folder or name
│   ├── MissingExtraError         a package that only an extra installs
│   ├── RunError                  a run directory: another fingerprint, not a run, locked
│   └── AccessError               an object store refuses: credentials, permissions, no such bucket
├── UnreadableFileError           one corpus file cannot be read; the others go on
├── StoreError                    an object store that does not answer; run again when it does
├── ClusterError                  engines or nodes are unavailable; run again when they are back
└── EngineError                   the scoring engine failed; its actor must be replaced
    └── EngineMemoryError         it ran out of memory; smaller steps may do

Every message is one line: what, where, and the value seen; `hint` says what to do about it. A
setting in them is `named`: by its name, as in Python, or as the entry point spells it.
"""

import re
from importlib.util import find_spec

SETTING = re.compile("\ue000(\\w+)\ue001")
"""Marks around the name of a setting: private-use characters, which no message has otherwise."""


def named(setting: str) -> str:
    """A setting, in a message or a hint: its name, unless the entry point spells it otherwise."""
    return f"\ue000{setting}\ue001"


class WinnowError(Exception):
    """Base of everything Winnow raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(SETTING.sub(r"\1", message))
        self.hint = hint and SETTING.sub(r"\1", hint)
        # A traceback shows notes below the message: the hint's only way into a notebook.
        self.__notes__ = [f"hint: {self.hint}"] if self.hint else []
        self._marked = message, hint

    def spell(self, names: dict[str, str]) -> None:
        """Spell settings as an entry point does; `names` maps those that it knows."""
        message, hint = (
            text and SETTING.sub(lambda found: names.get(found[1], found[0]), text)
            for text in self._marked
        )
        WinnowError.__init__(self, message or "", hint=hint)

    def at(self, place: str, kind: "type[WinnowError] | None" = None) -> "WinnowError":
        """The same error, with the place in front, and of another kind if one is given."""
        message, hint = self._marked
        return (kind or type(self))(f"{place}: {message}", hint=hint)

    @property
    def settings(self) -> set[str]:
        """The settings that it names."""
        return set(SETTING.findall(" ".join(map(str, self._marked))))

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders under Ray; the default pickle would lose the hint.
        return _rebuild, (type(self), *self._marked)


def _rebuild(kind: type[WinnowError], message: str, hint: str | None) -> WinnowError:
    return kind(message, hint=hint)


class UsageError(WinnowError):
    """The request cannot be carried out as given."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown, malformed, or contradicts another."""


class CorpusError(UsageError):
    """The corpus is not there, has no Parquet, or lacks the named columns."""


class CorpusChangedError(CorpusError):
    """A row of the corpus does not have the text that was scored."""


class ModelError(UsageError):
    """The model is not there or is not one that can be scored with."""


class MissingExtraError(UsageError):
    """A package is needed that only an extra installs."""


class RunError(UsageError):
    """The run directory cannot be used for this."""


class AccessError(UsageError):
    """An object store answers, and refuses; asking again would not help."""


class UnreadableFileError(WinnowError):
    """One corpus file cannot be read; recorded, and the rest goes on."""


class EngineError(WinnowError):
    """The engine died or broke its contract; nothing it still holds can be trusted."""


ENGINE_FAILED = "the engine failed"
"""Prefix of an engine's own message."""


class EngineMemoryError(EngineError):
    """The engine ran out of memory."""


class ClusterError(WinnowError):
    """A wait timed out; nothing that was done is lost."""


class StoreError(WinnowError):
    """An object store did not answer for too long; nothing that was committed is lost."""


def first_line(error: BaseException) -> str:
    """The first line of a library's error; its type if it has no message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def counted(value: int, noun: str, plural: str = "") -> str:
    """So many of a thing: 1 token, 1,234 tokens."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def type_name(value: object) -> str:
    """The type of a value, as its user would call it: `int`, `pandas.DataFrame`."""
    kind = type(value)
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}".removeprefix("builtins.")


def in_a_line(value: object) -> str:
    """` = VALUE`, or ` is TYPE` of what would be many lines, as a table is."""
    written = repr(value)
    short = isinstance(value, str) or (len(written) <= 200 and "\n" not in written)
    return f" = {written}" if short else f" is {type_name(value)}"


INSTALL = "pip install 'winnow-ppl[cpu]', or 'winnow-ppl[gpu]' on a machine with a GPU"
PAGE_MODULES = frozenset(["starlette", "uvicorn"])
"""Modules of the extra `explore`; `cpu` and `gpu` include it."""
INSTALL_PAGE = "pip install 'winnow-ppl[explore]'"
EXTRA_MODULES = PAGE_MODULES | frozenset(
    [
        *("aiohttp", "fsspec", "huggingface_hub", "ray", "requests"),
        *("safetensors", "torch", "transformers"),
    ]
)
"""What Winnow imports of all extras, beside what its backends name. A core install has none of it:
reports, filters, comparisons and the integrity of a run do without."""


def require_modules(what: str, *modules: str, instead: str = "") -> None:
    """Raises MissingExtraError if a module is not installed; `instead` is what works without."""
    if missing := [name for name in modules if find_spec(name) is None]:
        install = INSTALL_PAGE if PAGE_MODULES.issuperset(missing) else INSTALL
        raise MissingExtraError(
            f"{what} needs {', '.join(missing)}, which a core install of winnow-ppl does not have",
            hint=f"{install}; {instead}" if instead else install,
        )


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The same for an import that failed; None if it is not of a module of the extras."""
    name = (error.name or "").partition(".")[0]
    if name not in EXTRA_MODULES:
        return None
    what = f"this command needs {name}, which a core install of winnow-ppl does not have"
    return MissingExtraError(what, hint=INSTALL_PAGE if name in PAGE_MODULES else INSTALL)
