"""The settings of a scoring run and of Scorer: each is described once, in its field.

Owns what can be set, its default and its bounds. Options, environment variables, help and the keys
of [score] in a file follow from the fields. Does not read the corpus or the model.

    [score]
    corpus = "data/"
    model = "HuggingFaceTB/SmolLM2-135M"
    carry = ["source", "lang"]
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypedDict

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.errors import named
from pipeline.settings.fields import Shown
from pipeline.settings.loading import load_settings

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


def _parse_engines(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    if isinstance(value, str) and value.isdecimal() and int(value) > 0:
        return int(value)
    raise ValueError("must be a number of engines, at least 1, or auto")


def _parse_corpus(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class ScoringConfig(BaseModel):
    """How a model scores, wherever the documents are from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())

    model: str = Field(description="A Hugging Face model folder, or a name on the hub.")
    revision: str | None = Field(
        default=None, description="Branch, tag or commit of a model on the hub."
    )
    window_tokens: Annotated[int | None, Shown(default="2048, or the model's maximum")] = Field(
        default=None, ge=2, description="Longest prompt in tokens, prefix and context included."
    )
    context_tokens: int = Field(
        default=1,
        ge=1,
        description="Tokens of a long document that each later window repeats as context.",
    )
    prefix: Prefix = Field(
        default="auto",
        description="Token put before each document, so that its first token is scored: auto is "
        "bos, or else eos; none leaves the first token unscored.",
    )
    long_documents: LongDocuments = Field(
        default="window", description="What to do with documents longer than a window."
    )
    min_k_percent: float = Field(
        default=20.0,
        gt=0,
        le=100,
        description="Percentage of tokens, the least likely ones, that min_k_logprob averages.",
    )
    token_logprobs: bool = Field(
        default=False, description="Also write each token's log-probability, as lists."
    )
    token_ids: bool = Field(
        default=False, description="Also write the scored tokens' ids, as lists."
    )
    dtype: Dtype = Field(
        default="auto", description="Data type to compute in; auto is the checkpoint's own."
    )
    scoring: AskedScoring = Field(
        default="auto",
        description="Compute log-probabilities inside the engine's worker (fused) or request them "
        "from the engine (prompt_logprobs); auto is fused. Every start compares fused with the "
        "engine's own log-probabilities and stops if they differ.",
    )
    tensor_parallel_size: int = Field(
        default=1,
        ge=1,
        description="GPUs per engine; the model is split across them, on one machine.",
    )
    max_num_batched_tokens: Annotated[int | None, Shown(default="from vocabulary and memory")] = (
        Field(default=None, ge=1, description="Maximum number of tokens per engine step.")
    )
    offline: bool = Field(
        default=False,
        description="Never contact the hub: models come from this machine's cache.",
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run the Python code that comes with the model; recorded in the manifest.",
    )
    dedup: bool = Field(
        default=True,
        description="Score exact copies within a shard once; the score rows are the same.",
    )

    def model_options(self) -> dict[str, Any]:
        """How to find the model: the keyword arguments of `load_model`."""
        names = ("revision", "trust_remote_code", "offline")
        return {name: getattr(self, name) for name in names}

    def rule_options(self) -> dict[str, Any]:
        """What every kind of scorer notes down in its rules as it was asked for."""
        return {name: getattr(self, name) for name in ("long_documents", "min_k_percent")}


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
    """The settings of a scoring run."""

    corpus: Annotated[tuple[str, ...], BeforeValidator(_parse_corpus), Shown(positional=True)] = (
        Field(
            min_length=1,
            description="A Parquet file, a folder or a glob; local, or a URI such as "
            "s3://bucket/folder. Several are one corpus.",
        )
    )
    out: str = Field(description="The run directory to write.")
    text_column: str = Field(default="text", description="The column with the text.")
    id_column: Annotated[
        str | None, Shown(default="doc_id or id, if there is one", may_be_empty=True)
    ] = Field(default=None, description='A column to copy to the scores as doc_id; "" for none.')
    carry: tuple[str, ...] = Field(
        default=(), description='A column to copy to the scores; may be repeated, or "*" for all.'
    )
    workers: Annotated[
        Workers | None,
        BeforeValidator(_parse_workers),
        Shown(default="one per GPU, or one per machine without GPUs"),
    ] = Field(default=None, description="Number of engines, or MIN:MAX as machines join and leave.")
    engines_per_gpu: Annotated[
        int | Literal["auto"], BeforeValidator(_parse_engines), Shown(form="N|auto")
    ] = Field(
        default=1,
        description="Engines that share a GPU, each with its part of the memory; auto is what a "
        "calibration on this machine found to be faster, else 2 for models below about 250 million "
        "parameters, whose GPU waits for the host, else 1.",
    )
    limit: int | None = Field(
        default=None, ge=1, description="Score only the first rows of the corpus."
    )
    shard_tokens: Annotated[
        int | None, Shown(default="minutes of work: 20 million, 200 thousand on CPU")
    ] = Field(default=None, ge=1, description="Estimated tokens per shard.")
    reuse: str | None = Field(
        default=None,
        description="A run to reuse scores from, where files and scoring settings are the same.",
    )
    trace: str | None = Field(
        default=None,
        description="Write a trace of the run to this local file; open it in ui.perfetto.dev.",
    )
    strict: bool = Field(
        default=False, description="Stop before scoring if any file of the corpus cannot be read."
    )
    address: Annotated[
        str | None, Shown(default="Ray is started on this machine", variable="RAY_ADDRESS")
    ] = Field(default=None, description="Address of a running Ray cluster.")
    max_attempts: int = Field(
        default=3, ge=1, description="Failed attempts after which a shard is given up."
    )
    wait_minutes: float = Field(
        default=60,
        gt=0,
        description="Minutes to wait for an engine to start, reconnect or make progress.",
    )

    @model_validator(mode="after")
    def _share_whole_gpus(self) -> Self:
        if self.tensor_parallel_size > 1 and self.engines_per_gpu not in (1, "auto"):
            raise ValueError(
                f"{named('engines_per_gpu')} {self.engines_per_gpu} needs "
                f"{named('tensor_parallel_size')} 1: an engine that spans several GPUs has them "
                "for itself"
            )
        return self

    @model_validator(mode="after")
    def _leave_the_hub_alone(self) -> Self:
        if self.offline:
            from pipeline.storage.locations import refuse_hub  # pyarrow: not needed for help

            refuse_hub(*self.corpus, self.out, self.reuse)
        return self


def make_scoring_config(model: str, settings: ScoringSettings) -> ScoringConfig:
    """Settings given in Python. Raises ConfigError, naming the key."""
    return load_settings(ScoringConfig, "score", None, {"model": model, **settings}, ())


def load_score_config(file: Path | None, options: dict[str, Any]) -> ScoreConfig:
    """Merge `options` (those that are not None) over the file's [score] table.

    Raises UsageError, naming the key and the file or option.
    """
    return load_settings(ScoreConfig, "score", file, options)
