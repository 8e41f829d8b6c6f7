"""Settings: pydantic models, one TOML file, unknown keys refused by name.

Owns what can be set, its default and its bounds, and the precedence: option or environment
variable, then the file, then the default. Does not read the corpus or the model.

A configuration file has one table a command; the keys are the option names with underscores:

    [score]
    corpus = "data/"
    model = "HuggingFaceTB/SmolLM2-135M"
    carry = ["source", "lang"]
"""

import re
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypedDict, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import ConfigError
from pipeline.settings.empty import refuse_empty
from pipeline.settings.toml_lines import at_line
from pipeline.storage.locations import refuse_hub

TABLES = ("score", "plan", "filter", "audit", "schedule")
"""What one file may hold; each command reads its own."""

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Prefix = Literal["auto", "bos", "eos", "none"]
AskedScoring = Literal["auto", "fused", "prompt_logprobs"]
LongDocuments = Literal["window", "truncate", "skip"]


class Workers(NamedTuple):
    """How many engines: as many as `fewest` to begin with, up to `most` as machines join."""

    fewest: int
    most: int


def _parse_workers(value: Any) -> Any:
    if isinstance(value, Workers) or value is None:
        return value
    found = re.fullmatch(r"(\d+)(?::(\d+))?", str(value))
    if not found or isinstance(value, bool):
        raise ValueError("must be a number of engines or MIN:MAX, such as 2:8")
    workers = Workers(int(found[1]), int(found[2] or found[1]))
    if not 1 <= workers.fewest <= workers.most:
        raise ValueError("must be at least 1, and MIN no more than MAX")
    return workers


class ScoringConfig(BaseModel):
    """How a model scores, wherever the documents are from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())

    model: str
    """A Hugging Face model folder, or a model name on the hub."""
    revision: str | None = None
    """Branch, tag or commit of a model on the hub."""
    window_tokens: int | None = Field(default=None, ge=2)
    """Longest prompt, in tokens, prefix and context included; by default 2048 or what fits."""
    context_tokens: int = Field(default=1, ge=1)
    """Tokens each window after the first repeats as context."""
    prefix: Prefix = "auto"
    """What the first token is scored against: bos, else eos; none leaves it unscored."""
    long_documents: LongDocuments = "window"
    min_k_percent: float = Field(default=20.0, gt=0, le=100)
    """The least likely tokens that `min_k_logprob` is the mean of."""
    token_logprobs: bool = False
    """Also write each document's log-probabilities, as a list column."""
    token_ids: bool = False
    """Also write the ids of the scored tokens, as a list column."""
    dtype: Dtype = "auto"
    """Arithmetic of the model; auto is what its checkpoint names."""
    scoring: AskedScoring = "auto"
    """Make log-probabilities inside the worker (fused) or by vLLM's public path; auto is fused for
    architectures whose parity is tested."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs of one machine that share a model."""
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    """Tokens an engine takes per step; by default sized from vocabulary and memory."""
    offline: bool = False
    """Take a model on the hub from this machine's cache alone, and nothing else of the hub."""
    trust_remote_code: bool = False
    """Run Python code that the model's folder brings. Recorded in the manifest."""
    dedup: bool = True
    """Score exact copies inside a shard once. Changes no score and no row."""

    def model_options(self) -> dict[str, Any]:
        """How to find the model: the keyword arguments of `load_model`."""
        names = ("revision", "trust_remote_code", "offline")
        return {name: getattr(self, name) for name in names}


class ScoringSettings(TypedDict, total=False):
    """The keys of ScoringConfig but `model`, for type checkers and editors."""

    revision: str | None
    window_tokens: int | None
    context_tokens: int
    prefix: Prefix
    long_documents: LongDocuments
    min_k_percent: float
    token_logprobs: bool
    token_ids: bool
    dtype: Dtype
    scoring: AskedScoring
    tensor_parallel_size: int
    max_num_batched_tokens: int | None
    offline: bool
    trust_remote_code: bool
    dedup: bool


class ScoreConfig(ScoringConfig):
    """Everything `winnow score` can be told."""

    corpus: str
    """A Parquet file, a folder or a glob; local, or a URI such as s3://bucket/folder."""
    out: str
    """The run directory."""
    text_column: str = "text"
    id_column: str | None = None
    """Copied to the scores as `doc_id`; by default the column `doc_id` or `id`, if there is one."""
    carry: tuple[str, ...] = ()
    """Input columns copied to the scores; "*" for all."""
    workers: Annotated[Workers | None, BeforeValidator(_parse_workers)] = None
    """Engines to run, or MIN:MAX of them as machines come and go; by default one a GPU, or one a
    machine where there is none."""
    limit: int | None = Field(default=None, ge=1)
    """Score only the first rows of the corpus."""
    shard_tokens: int | None = Field(default=None, ge=1)
    """Estimated tokens a shard; by default minutes of work: 200 thousand on CPU, 20 million."""
    reuse: str | None = None
    """Another run, whose parts are taken over where files and fingerprint are the same."""
    trace: str | None = None
    """A file on this machine for a trace of where the time went; opens in Perfetto."""
    strict: bool = False
    """Stop before scoring if any file of the corpus cannot be read."""
    address: str | None = None
    """A running Ray cluster; by default a Ray of its own on this machine."""
    max_attempts: int = Field(default=3, ge=1)
    """Times a shard is tried before it is given up."""
    wait_minutes: float = Field(default=60, gt=0)
    """Longest wait for an engine to come up, to come back, or to get on."""

    @model_validator(mode="after")
    def _leave_the_hub_alone(self) -> Self:
        if self.offline:
            refuse_hub(self.corpus, self.out, self.reuse)
        return self


def make_scoring_config(model: str, settings: ScoringSettings) -> ScoringConfig:
    """Settings given in Python. Raises ConfigError, naming the key."""
    known = list(ScoringConfig.model_fields)
    if unknown := [key for key in settings if key not in known]:
        raise _unknown(unknown[0], known, "the settings of a Scorer")
    try:
        return ScoringConfig(model=model, **settings)
    except ValidationError as error:
        raise _config_error(error, None, "", dict(settings)) from None


def load_score_config(file: Path | None, options: dict[str, Any]) -> ScoreConfig:
    """Merge `options` (those that are not None) over the file's [score] table.

    Raises UsageError, naming the key and the file or option.
    """
    required = {"corpus": "CORPUS", "out": "--out", "model": "--model"}
    return load_settings(ScoreConfig, "score", file, options, required)


Settings = TypeVar("Settings", bound=BaseModel)


def load_settings(
    kind: type[Settings],
    table_name: str,
    file: Path | None,
    options: dict[str, Any],
    required: dict[str, str],
) -> Settings:
    """Merge `options` (those that are not None) over one table of `file`.

    `required` names the option of each key that must be set. Raises UsageError, naming the key.
    """
    table = read_table(file, table_name) if file else {}
    given = {key: value for key, value in options.items() if value is not None}
    known = list(kind.model_fields)
    if unknown := [key for key in table if key not in known]:
        assert file is not None
        where = f"[{table_name}] of {file}"
        raise _unknown(unknown[0], known, where, at=at_line(file, table_name, unknown[0]))
    merged = table | given
    if isinstance(carry := merged.get("carry"), str | list):
        merged["carry"] = (carry,) if isinstance(carry, str) else tuple(carry)
    refuse_empty({key: value for key, value in merged.items() if key not in required})
    for key, option in required.items():
        if not merged.get(key):
            raise ConfigError(
                f"{key} is not set",
                hint=f"give {option}, or {key} = ... under [{table_name}] in a --config file",
            )
    try:
        return kind(**merged)
    except ValidationError as error:
        raise _config_error(error, file, table_name, given) from None


def read_table(file: Path, name: str) -> dict[str, Any]:
    """One table of a TOML file. Raises ConfigError."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        hint = None
        if isinstance(error, FileNotFoundError):
            hint = _instead_of(file, name)
        elif isinstance(error, IsADirectoryError):
            hint = "name a TOML file"
        raise ConfigError(
            f"cannot read the configuration {file}: {error.strerror}", hint=hint
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None
    if unknown := sorted(document.keys() - set(TABLES)):
        raise _unknown(unknown[0], list(TABLES), str(file), "table", at_line(file, unknown[0]))
    table = document.get(name)
    if not isinstance(table, dict):
        raise ConfigError(f"{file} has no [{name}] table", hint=f"put the keys under [{name}]")
    return table


def _instead_of(file: Path, table: str) -> str:
    """A hint for a file that is not there."""
    if near := near_name(
        file.name, sorted(one.name for one in file.parent.glob("*.toml") if one.is_file())
    ):
        return f"did you mean {file.with_name(near)}?"
    example = "audit" if table in ("audit", "schedule") else "score"
    return f"write one: infra/configs/{example}.toml of Winnow's repository is an example to copy"


def has_table(file: Path, name: str) -> bool:
    """Whether the file has a table; a file that is no TOML is read_table's to refuse."""
    try:
        return name in tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False


def near_name(name: str, known: list[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    folded = {key.casefold(): key for key in known}
    close = get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def near_or_known(name: str, known: list[str]) -> str:
    """A hint for a name that is not known."""
    near = near_name(name, known)
    return f"did you mean '{near}'?" if near else f"known: {', '.join(known)}"


def _unknown(
    key: str, known: list[str], where: str, kind: str = "key", at: str = ""
) -> ConfigError:
    return ConfigError(f"unknown {kind} '{key}' in {where}{at}", hint=near_or_known(key, known))


def _config_error(
    error: ValidationError, file: Path | None, table: str, given: dict[str, Any]
) -> ConfigError:
    first = error.errors()[0]
    key = str(first["loc"][0])
    rule = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    said = f"= {first['input']!r}: {rule.replace('should', 'must')}"
    if key in given or file is None:
        return ConfigError(f"--{key.replace('_', '-')} {said}")
    return ConfigError(f"{key} in [{table}] of {file} {said}{at_line(file, table, key)}")


def refuse_unknown(
    keys: Iterable[str], model: type[BaseModel], file: Path, table: str, number: int | None = None
) -> None:
    """Raises ConfigError for a key that the model does not have, naming a near one.

    `number` is that of a table which may be there several times, counted from 1.
    """
    known = list(model.model_fields)
    where = f"[{table}]" if number is None else f"[[{table}]] {number}"
    for key in keys:
        if key not in known:
            at = at_line(file, table, key, number or 1)
            raise _unknown(key, known, f"{where} of {file}", at=at)
