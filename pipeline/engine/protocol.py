"""What a kind of scorer is made of: the engine, the tokenizer, the reference, and what names them.

Owns the door between scoring and whatever scores. A kind is a folder beside this module, with a
`ScorerBackend` in it, and a line in backends.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from pipeline.engine.rules import ModelRecord, ScoringRules
from pipeline.errors import named
from pipeline.schema import Window, WindowScore
from pipeline.settings.config import AskedScoring, ScoringConfig

INTEGRITY_ALONE = f"check integrity alone with {named('sample')} 0"
"""A hint for machines that cannot run the model."""
ScoringPath = Literal["fused", "prompt_logprobs"]
"""How an engine computes log-probabilities, if it has a choice: inside its worker, or by its public
interface."""


class Usage(NamedTuple):
    """Seconds that an engine computed, of so many seconds that it was in use."""

    busy: float
    seconds: float


class Work(NamedTuple):
    """Floating-point operations: what a model needed, and what its device could have done."""

    flops: float = 0.0
    peak_flops: float = 0.0
    """The device's peak times seconds; 0 where it is not known."""


NO_WORK = Work()


def work_done(engine: object) -> Work:
    """What an engine has done since this was last asked for; nothing, if it is none that counts.

    Time that it waited belongs to what it did next.
    """
    take_work = getattr(engine, "take_work", None)
    work: Work = take_work() if take_work is not None else NO_WORK
    return work


class Engine(Protocol):
    """Anything that scores windows."""

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        """Score keyed windows, in any order, pulling no more of them than keeps it busy.

        Safe to call from several threads; each gets its own windows' scores. Raises EngineError
        when the engine is beyond use.
        """
        ...

    def close(self) -> None:
        """Free the model; the engine cannot be used afterwards."""


class Encoded(NamedTuple):
    """One document's tokens."""

    ids: list[int]
    offsets: list[tuple[int, int]] | None
    """Half-open character range of each token, if requested."""


class Tokenizer(Protocol):
    """Text to tokens, exactly as written: no token added, and none read into the text."""

    def encode(self, texts: Sequence[str], *, offsets: bool = False) -> list[Encoded]:
        """The tokens of each text. Raises ModelError if it is asked for offsets it has not."""
        ...

    def byte_ends(
        self, text: str, token_ids: Sequence[int], counts: Sequence[int]
    ) -> list[int | None]:
        """Where in a text's UTF-8 its first so many tokens end, which may be within a character.

        None where that is not known.
        """
        return [None] * len(counts)

    def tokens_beyond(self, vocab_size: int) -> dict[str, int]:
        """Tokens that a text may have and a model of this vocabulary has not, with their ids."""
        return {}


OnTokens = Callable[[int], None]
"""Called with how many tokens of a text are scored so far."""


class Reference(Protocol):
    """Scores one text at a time, by the definition, with no code of the engine's."""

    def nll(self, text: str, on_tokens: OnTokens = lambda done: None) -> tuple[float, int]:
        """(sum of -ln p in nats, scored tokens) of a text under a run's rules."""
        ...


@dataclass(frozen=True, slots=True)
class Model:
    """A model folder whose identity is known."""

    name: str
    """As the user gave it."""
    folder: str
    revision: str | None
    """Commit, if the model came from the hub."""
    architecture: str
    dtype: str
    """Data type that the checkpoint names."""
    vocab_size: int
    max_tokens: int | None
    """Number of positions that the model was built for."""
    config_digest: str
    weights_digest: str
    tokenizer_digest: str
    quantization: str | None = None
    """How the weights are stored, in words; None where they are plain numbers."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is started with; nothing here is left for it to guess.

    A kind of engine takes of it what it has a use for.
    """

    folder: str
    dtype: str
    window_tokens: int
    vocab_size: int
    trust_remote_code: bool = False
    scoring: ScoringPath | None = "prompt_logprobs"
    architecture: str = ""
    """Architecture as config.json names it; fused scoring needs it."""
    tensor_parallel_size: int = 1
    """GPUs per engine; the model is split across them."""
    engines_per_gpu: int = 1
    """Engines that share a GPU, and its memory."""
    num_threads: int | None = None
    """CPU threads; by default as many as this process may use."""
    max_num_batched_tokens: int | None = None
    """Tokens per step; by default as many as model and machine allow."""


class ScorerBackend(ABC):
    """A kind of scorer: its models, how it scores, and what its scores are compared with.

    Small and without state: it travels to workers, and each method imports what it needs.
    """

    kind: str
    """Name of the kind in records."""
    rules: type[ScoringRules]
    """Class of the scoring rules of this kind."""
    modules: tuple[str, ...] = ()
    """Modules that the engine imports beside Winnow's own requirements."""
    reference_modules: tuple[str, ...] = ()
    """Modules that the reference imports beside Winnow's own requirements."""
    packages: tuple[str, ...] = ()
    """Distributions whose versions can change a score."""

    @abstractmethod
    def takes(self, model: str) -> bool:
        """Whether a model, as the user gave it, is of this kind."""

    @abstractmethod
    def load_model(self, config: ScoringConfig, *, digest_weights: bool = True) -> Model:
        """Find a model and identify it. Raises ModelError.

        Without `digest_weights`, which reads all of them, that digest is empty.
        """

    @abstractmethod
    def plan_rules(self, config: ScoringConfig, model: Model) -> ScoringRules:
        """What a request comes to: nothing is left automatic. Raises ModelError."""

    def choose_path(self, asked: AskedScoring, model: Model) -> ScoringPath | None:
        """How the engine makes log-probabilities; None where there is no choice.

        Raises ModelError if what is asked for is not to be had.
        """
        return None

    @abstractmethod
    def tokenizer(self, folder: str, *, trust_remote_code: bool = False) -> Tokenizer:
        """The model's own. Raises ModelError."""

    def variants(self, settings: EngineSettings) -> list[EngineSettings]:
        """The same engine in the ways that are worth measuring, the default first."""
        return [settings]

    def prefer(self, settings: EngineSettings, engines_per_gpu: int) -> None:
        """Start engines of this model on this machine so, where nothing else is asked for."""
        return

    def preferred_engines_per_gpu(self, settings: EngineSettings) -> int | None:
        """What `prefer` was told of engines like this one on this machine; None if nothing."""
        return None

    @abstractmethod
    def engine(self, settings: EngineSettings) -> Engine:
        """Load the model. Raises ModelError if it cannot be scored with."""

    def check(self, engine: Engine, settings: EngineSettings) -> None:
        """Score a few harmless prompts. Raises ModelError if that fails."""
        return

    def memory_bytes(self, folder: str, dtype: str) -> int:
        """Memory that an engine takes at least."""
        return 0

    @abstractmethod
    def reference(self, model: ModelRecord, rules: ScoringRules) -> Reference:
        """What `verify` compares with. Raises ModelError."""
