"""pipeline/planning/estimate.py: the estimate against the truth, over many seeds."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.corpus.files import find_files, read_footers
from pipeline.engine.vllm.rules import CausalRules
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.planning import estimate
from pipeline.planning.estimate import (
    Estimate,
    Quantity,
    Sample,
    draw_units,
    estimate_work,
    total_of,
)
from tests.support.plans import make_manifest

SEEDS = 200
FEWEST_COVERED = 178
MOST_COVERED = 199
"""Of 200 intervals with 95%, as many cover with a probability above 0.9998."""


def rules(**changes: object) -> CausalRules:
    settings = {"long_documents": "window", "context_tokens": 8, "window_tokens": 64, **changes}
    return make_manifest().rules.model_copy(update=settings)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> HubTokenizer:
    return HubTokenizer(str(tiny_model))


def run(folder: Path, tokenizer, num_rows: int = 10**9, **options) -> tuple[Estimate, Sample]:
    root, files = find_files(str(folder))
    footers, _ = read_footers(root, files, "text")
    asked = options.pop("rules", rules())
    return estimate_work(
        root, footers, num_rows, "text", tokenizer=tokenizer, rules=asked, **options
    )


def write(folder: Path, texts: list[str | None], files: int = 4, group: int = 40) -> Path:
    folder.mkdir()
    each = -(-len(texts) // files)
    for index in range(files):
        column = pa.array(texts[index * each : (index + 1) * each], pa.string())
        path = folder / f"{index}.parquet"
        pq.write_table(pa.table({"text": column}), path, row_group_size=group, use_dictionary=False)
    return folder


def windows_of(length: int, window: int, context: int) -> tuple[int, int]:
    """(windows, prompt tokens) of so many tokens behind a prefix, by counting."""
    if not length:
        return 0, 0
    number, done, prompts = 0, 0, 0
    while done < length:
        new = min(length - done, window - (1 if not number else context))
        # The last one looks back as far as it may.
        prompts += min(window, done + new + 1)
        done, number = done + new, number + 1
    return number, prompts


def truth(texts: list[str | None], window: int = 64, context: int = 8) -> tuple[int, int, int]:
    """(tokens, prompt tokens, windows); the tokenizer makes a token of every byte."""
    lengths = [len((text or "").encode()) for text in texts]
    counted = [windows_of(length, window, context) for length in lengths]
    return sum(lengths), sum(p for _, p in counted), sum(n for n, _ in counted)


AWKWARD = ["short", "", None, "ü" * 50, "x" * 700, "y" * 64, "z" * 63]


@pytest.mark.parametrize(("window", "context"), [(64, 8), (64, 1), (32, 31), (512, 1)])
def test_a_small_corpus_is_counted_whole(tmp_path, tokenizer, window, context):
    corpus = write(tmp_path / "corpus", AWKWARD, files=2, group=2)
    asked = rules(window_tokens=window, context_tokens=context)
    found, sample = run(corpus, tokenizer, rules=asked)
    expected = truth(AWKWARD, window, context)
    for quantity, value in zip(
        (found.tokens, found.prompt_tokens, found.windows), expected, strict=True
    ):
        assert quantity == Quantity(value=value, low=value, high=value)
    assert found.is_exact
    assert sorted(sample.texts) == sorted(text for text in AWKWARD if text)


def test_the_first_rows_alone(tmp_path, tokenizer):
    corpus = write(tmp_path / "corpus", AWKWARD, files=2, group=2)
    for limit in range(1, 8):
        found, _ = run(corpus, tokenizer, num_rows=limit)
        assert found.tokens.value == truth(AWKWARD[:limit])[0]


def test_documents_that_are_skipped_or_cut(tmp_path, tokenizer):
    corpus = write(tmp_path / "corpus", AWKWARD, files=1)
    skipped, _ = run(corpus, tokenizer, rules=rules(long_documents="skip"))
    cut, _ = run(corpus, tokenizer, rules=rules(long_documents="truncate"))
    assert skipped.tokens.value == 5 + 63
    assert cut.tokens.value == 5 + 63 + 63 + 63 + 63


def mixed(seed: int, rows: int) -> list[str | None]:
    """First prose of one length, then code of a skewed one, then what has few letters a byte."""
    rng = random.Random(seed)
    texts: list[str | None] = ["word " * rng.randint(1, 20) for _ in range(rows // 2)]
    texts += ["x = 1\n" * round(rng.lognormvariate(2, 1)) or "x" for _ in range(rows // 4)]
    texts += [None if rng.random() < 0.1 else "語" * rng.randint(1, 300) for _ in range(rows // 4)]
    return texts


class Letters:
    """A tokenizer whose tokens per byte differ by script: one a character, one a word of ASCII."""

    def encode(self, texts, *, offsets=False):
        from pipeline.engine.protocol import Encoded

        return [Encoded([1] * (len(t.split()) if t.isascii() else len(t)), None) for t in texts]


@pytest.mark.parametrize("order", ["shuffled", "sorted"])
def test_the_interval_covers_the_truth(tmp_path, monkeypatch, order):
    """Of 200 seeded samples 95% should; and the mean of them is the truth, so nothing is biased."""
    monkeypatch.setattr(estimate, "WHOLE_BYTES", 0)
    texts = mixed(1, 1600)
    if order == "shuffled":
        random.Random(7).shuffle(texts)
    corpus = write(tmp_path / "corpus", texts)
    tokens = sum(len(t.split()) if t.isascii() else len(t) for t in texts if t)
    found = [run(corpus, Letters(), seed=seed)[0] for seed in range(SEEDS)]
    covered = sum(one.tokens.low <= tokens <= one.tokens.high for one in found)
    assert covered >= FEWEST_COVERED
    if order == "shuffled":
        assert covered <= MOST_COVERED
    mean = sum(one.tokens.value for one in found) / SEEDS
    half = sum(one.tokens.high - one.tokens.low for one in found) / SEEDS / 2
    # Four standard errors of the mean of so many.
    assert abs(mean - tokens) < 4 * half / 2.04 / SEEDS**0.5
    assert half < 0.2 * tokens
    assert not any(one.is_exact for one in found)


def test_the_same_seed_gives_the_same_answer(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(estimate, "WHOLE_BYTES", 0)
    corpus = write(tmp_path / "corpus", mixed(2, 400))
    first, sample = run(corpus, tokenizer, seed=3)
    assert (first, sample) == run(corpus, tokenizer, seed=3)
    assert first.windows != run(corpus, tokenizer, seed=4)[0].windows
    assert "seed 3" in first.source


def test_the_sample_weighs_documents_as_the_corpus_has_them(tmp_path, tokenizer, monkeypatch):
    """Long documents are drawn more often; by their weights the mean length is the corpus's."""
    monkeypatch.setattr(estimate, "WHOLE_BYTES", 0)
    texts: list[str | None] = ["a" * (10 if i % 10 else 1000) for i in range(2000)]
    for i, text in enumerate(texts):
        texts[i] = f"{i:04}{text}"
    _, sample = run(write(tmp_path / "corpus", texts), tokenizer)
    lengths = [len(text) for text in sample.texts]
    weighted = sum(w * n for w, n in zip(sample.weights, lengths, strict=True))
    plain_mean = sum(lengths) / len(lengths)
    assert plain_mean > 600
    assert weighted / sum(sample.weights) < 300


def test_a_dictionary_that_hides_its_size_is_sampled(tmp_path, tokenizer):
    """A column of one text is a few bytes in the file, whatever it comes to."""
    text, rows = "once more " * 1200, 400
    folder = tmp_path / "corpus"
    folder.mkdir()
    pq.write_table(pa.table({"text": [text] * rows}), folder / "a.parquet", row_group_size=50)
    found, _ = run(folder, tokenizer)
    assert not found.is_exact
    assert found.tokens.value == pytest.approx(len(text) * rows, rel=0.01)


def test_a_row_group_that_cannot_be_read(tmp_path, tokenizer, monkeypatch):
    folder = write(tmp_path / "corpus", ["letter " * 30] * 200, files=2)
    damaged = folder / "1.parquet"
    content = bytearray(damaged.read_bytes())
    content[4:40] = bytes(36)
    damaged.write_bytes(content)
    for whole in (2 << 20, 0):
        monkeypatch.setattr(estimate, "WHOLE_BYTES", whole)
        found, _ = run(folder, tokenizer)
        assert list(found.unreadable) == ["1.parquet"]
        assert 0 < found.tokens.value < 200 * 210


def test_nothing_to_score(tmp_path, tokenizer, monkeypatch):
    corpus = write(tmp_path / "corpus", [None, "", None, ""], files=2)
    for whole in (2 << 20, 0):
        monkeypatch.setattr(estimate, "WHOLE_BYTES", whole)
        found, sample = run(corpus, tokenizer)
        assert found.tokens == Quantity(value=0, low=0, high=0)
        assert sample.texts == []


def test_units_are_drawn_by_their_bytes():
    """A unit of half the bytes is drawn half of the time, one without bytes never."""
    counts = [0, 0, 0, 0]
    for seed in range(100):
        for index in draw_units([50, 0, 30, 20], random.Random(seed)):
            counts[index] += 1
    share = [count / sum(counts) for count in counts]
    assert share == pytest.approx([0.5, 0, 0.3, 0.2], abs=0.02)


def test_the_interval_by_hand():
    """Of 1, 3, 5, 5 the mean is 3.5, its squared error 11 / 3 / 4; t(3) is 3.1824."""
    found = total_of([1, 3, 5, 5], 1000)
    assert (found.value, found.low, found.high) == (3500, 3500 - 3047, 3500 + 3047)


def test_row_groups_that_are_covered_are_left_out(tmp_path, tokenizer):
    texts = [f"{row} " * (row + 1) for row in range(12)]
    folder = write(tmp_path / "c", texts, files=2, group=2)
    found, _ = run(folder, tokenizer, covered={(0, 0), (0, 2), (1, 1)})
    left = [text for row, text in enumerate(texts) if row // 2 not in (0, 2, 4)]
    assert (found.tokens.value, found.prompt_tokens.value, found.windows.value) == truth(left)
    found, sample = run(folder, tokenizer, covered={(f, g) for f in (0, 1) for g in (0, 1, 2)})
    assert (found.tokens.value, found.is_exact, sample.texts) == (0, True, [])
