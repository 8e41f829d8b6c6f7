"""A second kind of scorer: bytes by how frequent they are, without a neural network.

The model is a file of 256 counts. A text's bytes are its tokens, and each stands for itself alone:
ln p = ln(count / total), whatever stands before it.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.engine.protocol import Encoded, Model, OnTokens, ScorerBackend, Tokenizer
from pipeline.engine.rules import ScoringRules
from pipeline.schema import Window, WindowScore

COUNTS = "unigram.json"
START = 256
"""What stands before the first byte, as an engine is asked for nothing without context."""


def save_unigram(folder: Path, text: bytes) -> Path:
    """A model that has seen this text, and every byte once more."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = [1 + text.count(byte) for byte in range(256)]
    (folder / COUNTS).write_text(json.dumps(counts))
    return folder


def read_counts(folder: str) -> list[int]:
    return json.loads((Path(folder) / COUNTS).read_text())


def nll_of(text: str, model: Path) -> float:
    """What a text costs, counted directly."""
    counts = read_counts(str(model))
    return -math.fsum(math.log(counts[byte] / sum(counts)) for byte in text.encode())


class UnigramRules(ScoringRules):
    kind: Literal["unigram"] = "unigram"

    def plan_windows(self, token_ids: list[int]) -> list[Window]:
        size = self.window_tokens - 1
        starts = range(0, len(token_ids), size)
        windows = [Window([START, *token_ids[at : at + size]], 1) for at in starts]
        return windows[:1] if self.long_documents == "truncate" else windows


class Bytes(Tokenizer):
    def encode(self, texts: Iterable[str], *, offsets: bool = False) -> list[Encoded]:
        return [Encoded(list(text.encode()), None) for text in texts]

    def byte_ends(self, text: str, token_ids: list[int], counts: Iterable[int]) -> list[int]:
        return list(counts)


class Table:
    def __init__(self, folder: str) -> None:
        counts = np.array(read_counts(folder), dtype=np.float64)
        self._logprobs = np.log(counts / counts.sum())

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        for key, window in windows:
            yield WindowScore(key, self._logprobs[window.prompt[window.num_context :]])

    def close(self) -> None:
        """Nothing to let go of."""


class ByDefinition:
    """Byte by byte, with no code of the table's."""

    def __init__(self, folder: str, rules: ScoringRules) -> None:
        self._counts, self._rules = read_counts(folder), rules

    def nll(self, text: str, on_tokens: OnTokens = lambda done: None) -> tuple[float, int]:
        scored = text.encode()
        if self._rules.long_documents == "truncate":
            scored = scored[: self._rules.window_tokens - 1]
        total = sum(self._counts)
        return sum(math.log(total) - math.log(self._counts[byte]) for byte in scored), len(scored)


class Unigram(ScorerBackend):
    kind = "unigram"
    rules = UnigramRules

    def takes(self, model):
        return (Path(model) / COUNTS).is_file()

    def load_model(self, config, *, digest_weights=True):
        digest = hashlib.sha256((Path(config.model) / COUNTS).read_bytes()).hexdigest()
        facts = (config.model, config.model, None, "unigram", "float32", 257, None)
        return Model(*facts, "unigram", digest, "bytes")

    def plan_rules(self, config, model):
        return UnigramRules(
            dtype="float32",
            window_tokens=config.window_tokens or 2048,
            **config.rule_options(),
        )

    def tokenizer(self, folder, *, trust_remote_code=False):
        return Bytes()

    def engine(self, settings):
        return Table(settings.folder)

    def reference(self, model, rules):
        return ByDefinition(model.folder, rules)
