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
from pipeline.settings.fields import Shown
from pipeline.settings.toml_lines import at_line

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

    model: str = Field(description="A Hugging Face model folder, or a name on the hub.")
    revision: str | None = Field(
        default=None, description="Branch, tag or commit of a model on the hub."
    )
    window_tokens: Annotated[int | None, Shown(default="2048, or what fits")] = Field(
        default=None, ge=2, description="Longest prompt in tokens, prefix and context included."
    )
    context_tokens: int = Field(
        default=1, ge=1, description="Tokens that each later window repeats as context."
    )
    prefix: Prefix = Field(
        default="auto",
        description="What the first token is scored against: auto is bos, else eos; none leaves "
        "it unscored.",
    )
    long_documents: LongDocuments = Field(
        default="window", description="What becomes of documents longer than a window."
    )
    min_k_percent: float = Field(
        default=20.0, gt=0, le=100, description="Least likely tokens that min_k_logprob averages."
    )
    token_logprobs: bool = Field(
        default=False, description="Also write each token's log-probability, as lists."
    )
    token_ids: bool = Field(
        default=False, description="Also write the scored tokens' ids, as lists."
    )
    dtype: Dtype = Field(
        default="auto", description="Arithmetic of the model; auto is what its checkpoint names."
    )
    scoring: AskedScoring = Field(
        default="auto",
        description="Compute log-probabilities inside the worker (fused) or by vLLM's public path "
        "(prompt_logprobs); auto is fused where its parity is tested.",
    )
    tensor_parallel_size: int = Field(
        default=1, ge=1, description="GPUs of one machine that share the model."
    )
    max_num_batched_tokens: Annotated[int | None, Shown(default="from vocabulary and memory")] = (
        Field(default=None, ge=1, description="Tokens that an engine takes per step.")
    )
    offline: bool = Field(
        default=False,
        description="Ask the hub for nothing: a model is taken from this machine's cache.",
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that the model brings; recorded in the manifest.",
    )
    dedup: bool = Field(
        default=True, description="Score exact copies inside a shard once; the rows are the same."
    )

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

    corpus: Annotated[str, Shown(positional=True)] = Field(
        description="A Parquet file, a folder or a glob; local, or a URI such as "
        "s3://bucket/folder."
    )
    out: str = Field(description="The run directory to write.")
    text_column: str = Field(default="text", description="The column with the text.")
    id_column: Annotated[str | None, Shown(default="doc_id or id, if there is one")] = Field(
        default=None, description="A column to copy to the scores as doc_id."
    )
    carry: tuple[str, ...] = Field(
        default=(), description='A column to copy to the scores; repeat it, or "*" for all.'
    )
    workers: Annotated[
        Workers | None,
        BeforeValidator(_parse_workers),
        Shown(default="one per GPU, or one per machine without GPUs"),
    ] = Field(default=None, description="Engines to run, or MIN:MAX as machines come and go.")
    limit: int | None = Field(
        default=None, ge=1, description="Take only the first rows of the corpus."
    )
    shard_tokens: Annotated[
        int | None, Shown(default="minutes of work: 20 million, 200 thousand on CPU")
    ] = Field(default=None, ge=1, description="Estimated tokens per shard.")
    reuse: str | None = Field(
        default=None,
        description="A run to take parts over from, where files and fingerprint are the same.",
    )
    trace: str | None = Field(
        default=None,
        description="Write where the time went to this local file; opens in ui.perfetto.dev.",
    )
    strict: bool = Field(
        default=False, description="Stop before scoring if any file of the corpus cannot be read."
    )
    address: Annotated[
        str | None, Shown(default="a Ray of its own on this machine", variable="RAY_ADDRESS")
    ] = Field(default=None, description="A running Ray cluster.")
    max_attempts: int = Field(default=3, ge=1, description="Tries before a shard is given up.")
    wait_minutes: float = Field(
        default=60,
        gt=0,
        description="Longest wait for an engine to start, to come back, or to make progress.",
    )

    @model_validator(mode="after")
    def _leave_the_hub_alone(self) -> Self:
        if self.offline:
            from pipeline.storage.locations import refuse_hub  # pyarrow: not for --help

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

    `required` names the option of each key that must be set. Raises UsageError, naming the key
    and the file or option.
    """
    table = read_table(file, table_name) if file else {}
    given = {key: value for key, value in options.items() if value is not None}
    known = list(kind.model_fields)
    if unknown := [key for key in table if key not in known]:
        assert file is not None
        where = f"[{table_name}] of {file}"
        raise _unknown(unknown[0], known, where, at=at_line(file, table_name, unknown[0]))
    merged = table | given
    if isinstance(carry := merged.get("carry"), list):
        merged["carry"] = tuple(carry)
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
        document = tomllib.loads(file.read_text(encoding="utf-8"))
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
        return name in tomllib.loads(file.read_text(encoding="utf-8"))
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
