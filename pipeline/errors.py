"""The exception tree: one base, so that an entry point needs one except clause.

WinnowError                       handled failure, exit code 1
├── UsageError                    the caller can mend it, nothing was written: exit code 2
│   ├── ConfigError               an option, environment variable or TOML key
│   ├── CorpusError               a corpus path, column or file
│   ├── ModelError                a model folder or name
│   ├── MissingExtraError         a package that only an extra installs
│   ├── RunError                  a run directory: another fingerprint, not a run, locked
│   └── AccessError               an object store refuses: credentials, permissions, no such bucket
├── UnreadableFileError           one corpus file cannot be read; the others go on
├── StoreError                    an object store that does not answer; run again when it does
├── ClusterError                  engines or nodes that do not come; run again when they are back
└── EngineError                   the scoring engine failed; its actor must be replaced
    └── EngineMemoryError         it ran out of memory; smaller steps may do

Every message is one line: what, where, and the value seen; `hint` says what to do about it.
"""


class WinnowError(Exception):
    """Base of everything Winnow raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders under Ray; the default pickle would lose the hint.
        return _rebuild, (type(self), str(self), self.hint)


def _rebuild(kind: type[WinnowError], message: str, hint: str | None) -> WinnowError:
    return kind(message, hint=hint)


class UsageError(WinnowError):
    """The request cannot be carried out as it was made."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown, malformed, or contradicts another."""


class CorpusError(UsageError):
    """The corpus is not there, has no Parquet, or lacks the named columns."""


class ModelError(UsageError):
    """The model is not there or is not one that can be scored with."""


class MissingExtraError(UsageError):
    """A package is needed that only the extras `cpu` and `gpu` install."""


class RunError(UsageError):
    """The run directory cannot be used for this."""


class AccessError(UsageError):
    """An object store answers, and refuses; asking again would not help."""


class UnreadableFileError(WinnowError):
    """One corpus file cannot be read; recorded, and the rest goes on."""


class EngineError(WinnowError):
    """The engine died or broke its contract; nothing it still holds can be trusted."""


class EngineMemoryError(EngineError):
    """The engine ran out of memory."""


class ClusterError(WinnowError):
    """What was waited for did not come in time; nothing that was done is lost."""


class StoreError(WinnowError):
    """An object store did not answer for too long; nothing that was committed is lost."""


def first_line(error: BaseException) -> str:
    """What an error of somebody else's library says, in a line; its type if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
