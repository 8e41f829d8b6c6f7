"""A kind of scorer is a folder and a line: a second one goes all the way, through every door."""

import json
from pathlib import Path

import pytest

from pipeline import Scorer, read_scores
from pipeline.engine import backends
from pipeline.engine.backends import backend_for, backend_of
from pipeline.engine.rules import ScoringRules
from pipeline.engine.vllm.backend import VllmBackend
from pipeline.engine.vllm.rules import AS_WRITTEN, CausalRules
from pipeline.errors import RunError
from pipeline.runs.store import RunStore
from pipeline.settings.config import ScoringConfig, make_scoring_config
from pipeline.verification.verify import verify_run
from tests.compatibility.install import FIXTURES
from tests.support.plans import make_manifest
from tests.support.runs import make_run, score_corpus
from tests.support.unigram import Table, Unigram, UnigramRules, nll_of, save_unigram

TEXTS = ["the cat sat on the mat", "", None, "zzz", "\ufeffbom", "日本語 " * 40]
FREQUENT = b"the cat sat on the mat and the rat ate the oat"


@pytest.fixture
def unigram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of a second kind, whose line is in the list."""
    monkeypatch.setattr(backends, "BACKENDS", (Unigram(), *backends.BACKENDS))
    return save_unigram(tmp_path / "unigram", FREQUENT)


def score(folder: Path, model: Path, **settings: object) -> RunStore:
    return make_run(folder, model, TEXTS, engine=Table(str(model)), **settings)


def test_a_model_tells_its_kind(unigram, tiny_model):
    assert isinstance(backend_for(str(unigram)), Unigram)
    assert isinstance(backend_for(str(tiny_model)), VllmBackend)
    assert isinstance(backend_for("org/name"), VllmBackend)


def test_a_run_of_another_kind(unigram, tmp_path):
    store = score(tmp_path / "made", unigram)
    rules = store.require_manifest().rules
    assert isinstance(rules, UnigramRules)
    assert isinstance(backend_of(rules), Unigram)
    assert store.require_manifest().fingerprint["kind"] == "unigram"
    rows = read_scores(store.location).collect()
    assert rows["status"].to_list() == ["ok", "empty", "null", "ok", "ok", "ok"]
    for text, row in zip(TEXTS, rows.iter_rows(named=True), strict=True):
        if text:
            assert row["nll"] == pytest.approx(nll_of(text, unigram), rel=1e-12)
            assert row["num_tokens"] == row["num_scored_bytes"] == len(text.encode())


def test_it_is_verified_by_its_own_reference(unigram, tmp_path):
    store = score(tmp_path / "made", unigram, window_tokens=50)
    verification = verify_run(store, sample=9, noise_floor=True)
    assert verification.passed
    assert verification.truth is not None
    assert verification.truth.num_documents == 4
    assert verification.truth.largest_nll_error < 1e-12
    assert verification.noise_floor is not None


def test_its_reference_finds_a_score_that_is_not_true(unigram, tmp_path):
    other = save_unigram(tmp_path / "other", FREQUENT + b"z")
    store = make_run(tmp_path / "made", unigram, TEXTS, engine=Table(str(other)))
    verification = verify_run(store, sample=9)
    assert [check.name for check in verification.checks if not check.passed] == ["truth"]


def test_what_is_cut_off_is_counted_in_bytes(unigram, tmp_path):
    store = score(tmp_path / "made", unigram, window_tokens=6, long_documents="truncate")
    rows = read_scores(store.location).collect()
    assert rows["num_scored_bytes"].to_list() == [5, 0, 0, 3, 5, 5]
    assert verify_run(store, sample=9).passed


def test_every_command_takes_it(unigram, tmp_path, tiny_model, winnow):
    store = score(tmp_path / "made", unigram)
    corpus, run = tmp_path / "made/corpus", store.location
    code, out, err = winnow("report", run, "--json")
    assert (code, json.loads(out)["provenance"]["rules"]["kind"]) == (0, "unigram"), err
    page = (Path(run) / "report.md").read_text()
    assert "unigram" in page
    assert winnow("verify", run, "--sample", "5")[0] == 0
    assert winnow("status", run)[0] == 0
    kept = tmp_path / "kept"
    assert winnow("filter", run, "--out", kept, "--percentile", "0:50")[0] == 0
    other = score_corpus(corpus, tmp_path / "causal", tiny_model)
    code, out, err = winnow("compare", run, other.location)
    assert code == 0, err
    code, out, err = winnow("plan", corpus, "--model", unigram, "--json")
    assert code == 0, err
    assert json.loads(out)["estimated_tokens"] == sum(len(t.encode()) for t in TEXTS if t)


def test_the_library_takes_it(unigram):
    with Scorer(unigram) as scorer:
        found = scorer.score(TEXTS)
    expected = [nll_of(text, unigram) for text in TEXTS if text]
    assert found["nll"].drop_nulls().to_list() == pytest.approx(expected, rel=1e-12)


def test_a_kind_that_is_not_known_is_refused(unigram, tmp_path, monkeypatch):
    store = score(tmp_path / "made", unigram)
    monkeypatch.setattr(backends, "BACKENDS", (VllmBackend(),))
    with pytest.raises(RunError, match="has scores of the kind unigram, which this"):
        store.require_manifest()


# --- the first kind, as its records are


def rules_line(text: str) -> str:
    [line] = [line for line in text.splitlines() if line.startswith('"rules"')]
    return line


@pytest.mark.parametrize("run", ["run", "given_up", "other_run"])
def test_rules_are_written_as_0_1_0_wrote_them(run):
    """Byte for byte, in its order, and without a kind."""
    written = (FIXTURES / run / "manifest.json").read_text()
    rules = RunStore(str(FIXTURES / run)).require_manifest().rules
    assert isinstance(rules, CausalRules)
    manifest = make_manifest(rules=rules)
    assert rules_line(manifest.to_json()) == rules_line(written)


def test_damaged_rules_are_named_as_before(tmp_path):
    store = RunStore(str(tmp_path))
    store.write_manifest(make_manifest())
    path = tmp_path / "manifest.json"
    path.write_text(
        path.read_text().replace('"window_tokens": 64, "con', '"window_tokens": "x", "con')
    )
    with pytest.raises(RunError, match=r"is damaged: rules\.window_tokens: "):
        store.require_manifest()


def test_rules_have_what_was_asked_for_whatever_the_kind():
    asked = make_scoring_config("x", {"long_documents": "skip", "min_k_percent": 7.0})
    assert asked.rule_options().items() >= {"long_documents": "skip", "min_k_percent": 7.0}.items()
    # Of the others automatic may be asked for: what it comes to is recorded.
    both = ScoringConfig.model_fields.keys() & ScoringRules.model_fields.keys()
    assert both - {"dtype", "window_tokens"} == asked.rule_options().keys()


def test_a_rule_that_0_1_0_did_not_have_is_written_behind_its_own():
    """Were it left out, scores by two values of it would have one fingerprint."""

    class Later(CausalRules):
        earliest: str

    known = {"prefix": "bos", "prefix_token_id": 0, "window_tokens": 9, "context_tokens": 1}
    known |= {"dtype": "float32", "long_documents": "window", "min_k_percent": 20.0}
    written = list(Later(**known, earliest="x").model_dump())
    assert written[-1] == "earliest"
    assert [name for name in written if name in AS_WRITTEN] == [
        name for name in AS_WRITTEN if name in known
    ]
