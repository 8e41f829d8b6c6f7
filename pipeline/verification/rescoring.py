"""Are the scores true? A seeded sample, scored again by other means.

Owns the sample, the two comparisons (with the reference, and of the engine with itself) and the
verdict. Whether the run is whole is integrity.py's.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import polars as pl
import pyarrow as pa
from pydantic import BaseModel

from pipeline.corpus.identity import check_texts
from pipeline.corpus.reader import open_file
from pipeline.engine.protocol import Engine, Reference, Tokenizer
from pipeline.engine.rules import ScoringRules
from pipeline.errors import CorpusError, RunError, UnreadableFileError, counted, first_line
from pipeline.runs.corpus import open_corpus
from pipeline.runs.manifest import Manifest
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.schema import SCORED
from pipeline.storage.filesystem import Root
from pipeline.verification.integrity import Check

TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 5e-2}
"""Largest relative error of a document's nll against float32, by the dtype of the run.

float32 differs by the order of summation alone. The halves differ by rounding in every layer:
bfloat16 keeps 8 bits, and short documents have few tokens to average over (docs/numbers.md has what
was measured).
"""
NOISE_TOLERANCES = {"float32": 1e-5}
"""Largest relative difference that batching may make; for 16-bit dtypes it is only reported."""
WORST_SHOWN = 5


class Progress(NamedTuple):
    """How far a rescoring of the sample is; the first of several has nothing done."""

    way: str
    """How it rescores, in words."""
    num_documents: int
    num_tokens: int
    documents_done: int = 0
    tokens_done: int = 0


OnProgress = Callable[[Progress], None]


class Rescored(BaseModel):
    """One sampled document, as scored and by the reference."""

    file: str
    row: int
    num_tokens: int
    nll: float
    reference_nll: float
    nll_error: float
    """|nll - reference| / reference."""
    perplexity_error: float


class Truth(BaseModel):
    """How far a sample is from the reference."""

    num_documents: int
    num_tokens: int
    seed: int
    tolerance: float
    largest_nll_error: float
    mean_nll_error: float
    largest_perplexity_error: float
    mean_perplexity_error: float
    corpus_perplexity: float
    """Of the sample, as scored: exp(sum nll / sum tokens)."""
    reference_corpus_perplexity: float
    worst: list[Rescored]


class NoiseFloor(BaseModel):
    """How far an engine's scores differ when a document is scored alone, not in a batch."""

    num_documents: int
    largest_nll_difference: float
    mean_nll_difference: float


@dataclass(frozen=True, slots=True)
class Sampled:
    """A document taken for rescoring."""

    file: str
    row: int
    text: str
    num_tokens: int
    nll: float


def sample_documents(
    store: RunStore, manifest: Manifest, size: int, seed: int, corpus: Root | None = None
) -> list[Sampled]:
    """A seeded uniform sample of the scored rows, with their text read back from the corpus.

    Raises RunError where nothing was scored, CorpusError where a text is not there any more.
    """
    scored = (
        scan_scores(store, manifest)
        .filter(pl.col("status").is_in(SCORED))
        .select("file", "row", "num_tokens", "nll", "text_hash")
        .collect()
    )
    if not scored.height:
        raise RunError(f"{store.location} has no scored document to sample")
    chosen = sorted(random.Random(seed).sample(range(scored.height), min(size, scored.height)))
    root = corpus or open_corpus(manifest)
    sample = list[Sampled]()
    for own in scored[chosen].partition_by("file", maintain_order=True):
        texts = _read_texts(root, own, manifest.text_column)
        sample += [
            Sampled(file, row, text, num_tokens, nll)
            for (file, row, num_tokens, nll, _), text in zip(own.iter_rows(), texts, strict=True)
        ]
    return sample


def _read_texts(root: Root, rows: pl.DataFrame, column: str) -> list[str]:
    """The texts of rows of one file, ascending, which must be those that were scored."""
    file, numbers, hashes = rows["file"][0], rows["row"].to_numpy(), rows["text_hash"].to_arrow()
    texts = list[str]()
    try:
        with open_file(root, file, [column]) as source:
            for own, batch in source.rows_at(numbers, [column]):
                for index, row in enumerate(own.tolist()):
                    text, at = batch.column(0).slice(index, 1), len(texts)
                    check_texts(file, row, text, hashes.slice(at, 1))
                    texts.append(text.cast(pa.large_string())[0].as_py())
    except UnreadableFileError as error:
        row, reason = numbers[len(texts)], first_line(error.__cause__ or error)
        raise CorpusError(
            f"cannot read row {row} of {file} to rescore its text: {reason}"
        ) from error
    if len(texts) < len(numbers):
        raise CorpusError(f"{file} no longer has row {numbers[len(texts)]}")
    return texts


def rescore_sample(
    sample: list[Sampled],
    reference: Reference,
    *,
    seed: int,
    tolerance: float,
    on_progress: OnProgress = lambda progress: None,
) -> Truth:
    """Rescore the sample with the reference."""
    rescored = list[Rescored]()
    progress = _begin(sample, "in float32")
    on_progress(progress)
    for document in sample:

        def on_tokens(done: int, before: Progress = progress) -> None:
            on_progress(before._replace(tokens_done=before.tokens_done + done))

        nll, num_tokens = reference.nll(document.text, on_tokens)
        # Another number of tokens is not an error to average: it is another document.
        same = num_tokens == document.num_tokens
        error = relative_error(document.nll, nll) if same else math.inf
        difference = abs(document.nll - nll) / num_tokens if num_tokens else math.inf
        rescored.append(
            Rescored(
                file=document.file,
                row=document.row,
                num_tokens=document.num_tokens,
                nll=document.nll,
                reference_nll=nll,
                nll_error=error,
                perplexity_error=math.expm1(difference),
            )
        )
        progress = _advance(progress, document)
        on_progress(progress)
    tokens = sum(one.num_tokens for one in rescored)
    worst = sorted(rescored, key=lambda one: -one.nll_error)
    return Truth(
        num_documents=len(rescored),
        num_tokens=tokens,
        seed=seed,
        tolerance=tolerance,
        largest_nll_error=worst[0].nll_error,
        mean_nll_error=fmean(one.nll_error for one in rescored),
        largest_perplexity_error=max(one.perplexity_error for one in rescored),
        mean_perplexity_error=fmean(one.perplexity_error for one in rescored),
        corpus_perplexity=math.exp(math.fsum(one.nll for one in rescored) / tokens),
        reference_corpus_perplexity=math.exp(
            math.fsum(one.reference_nll for one in rescored) / tokens
        ),
        worst=worst[:WORST_SHOWN],
    )


def measure_noise_floor(
    sample: list[Sampled],
    engine: Engine,
    tokenizer: Tokenizer,
    rules: ScoringRules,
    on_progress: OnProgress = lambda progress: None,
) -> NoiseFloor:
    """Score each document again, alone in the engine, and compare with the stored score.

    Another batch means other shapes of the matrix products, so another order of summation: what
    this shows is how much of a score is chance.
    """
    found = []
    progress = _begin(sample, "each document alone")
    on_progress(progress)
    for document in sample:
        windows = rules.plan_windows(tokenizer.encode([document.text])[0].ids)
        answers = list(engine.score(enumerate(windows)))
        nll = -math.fsum(value for answer in answers for value in answer.logprobs.tolist())
        found.append(relative_error(document.nll, nll))
        progress = _advance(progress, document)
        on_progress(progress)
    return NoiseFloor(
        num_documents=len(sample),
        largest_nll_difference=max(found),
        mean_nll_difference=fmean(found),
    )


def _begin(sample: Sequence[Sampled], way: str) -> Progress:
    return Progress(way, len(sample), sum(document.num_tokens for document in sample))


def _advance(progress: Progress, document: Sampled) -> Progress:
    return progress._replace(
        documents_done=progress.documents_done + 1,
        tokens_done=progress.tokens_done + document.num_tokens,
    )


def relative_error(value: float, reference: float) -> float:
    """|value - reference| / |reference|; of two zeros 0."""
    if value == reference:
        return 0.0
    return abs(value - reference) / abs(reference) if reference else math.inf


def judge(truth: Truth) -> Check:
    """The verdict on a sample."""
    detail = (
        f"{counted(truth.num_documents, 'document')} rescored in float32: relative error of nll "
        f"{truth.largest_nll_error:.2e} at most, {truth.mean_nll_error:.2e} on average (tolerance "
        f"{truth.tolerance:g})"
    )
    return Check(name="truth", passed=truth.largest_nll_error <= truth.tolerance, detail=detail)


def judge_noise(noise: NoiseFloor, dtype: str) -> Check:
    """The verdict on the noise floor: a limit for float32, a figure for the others."""
    limit = NOISE_TOLERANCES.get(dtype)
    detail = (
        f"{counted(noise.num_documents, 'document')} scored alone instead of in a batch: relative "
        f"difference of nll {noise.largest_nll_difference:.2e} at most, "
        f"{noise.mean_nll_difference:.2e} on average "
        + (f"(tolerance {limit:g})" if limit else f"(the noise of {dtype})")
    )
    passed = limit is None or noise.largest_nll_difference <= limit
    return Check(name="noise floor", passed=passed, detail=detail)
