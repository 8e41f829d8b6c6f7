"""Verify a run: integrity always, truth of a sample unless it is declined.

Owns the order of the checks and `RUN/verify.json`, which the report quotes.
"""

from collections.abc import Callable
from typing import Annotated

from pipeline.engine.backends import backend_of
from pipeline.engine.protocol import INTEGRITY_ALONE
from pipeline.engine.rules import ModelRecord
from pipeline.errors import ModelError, named, require_modules
from pipeline.planning.identity import engine_settings
from pipeline.runs.corpus import open_corpus
from pipeline.runs.records import Record, form_version, load, save
from pipeline.runs.store import VERIFICATION, RunStore
from pipeline.verification.integrity import Check, check_integrity
from pipeline.verification.rescoring import (
    TOLERANCES,
    NoiseFloor,
    OnProgress,
    Truth,
    judge,
    judge_noise,
    measure_noise_floor,
    rescore_sample,
    sample_documents,
)

VERIFY_VERSION = 1
DEFAULT_SAMPLE = 20


class Verification(Record):
    """`RUN/verify.json`."""

    verify_version: Annotated[int, form_version(VERIFY_VERSION)] = VERIFY_VERSION
    run_id: str
    dtype: str
    checks: list[Check]
    truth: Truth | None = None
    noise_floor: NoiseFloor | None = None

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def verify_run(
    store: RunStore,
    *,
    corpus: str | None = None,
    sample: int = DEFAULT_SAMPLE,
    seed: int = 0,
    tolerance: float | None = None,
    noise_floor: bool = False,
    trust_remote_code: bool = False,
    on_rows: Callable[[], None] = lambda: None,
    on_progress: OnProgress = lambda progress: None,
) -> Verification:
    """Check a run. `sample = 0` loads no model; `corpus` is where its corpus was moved to.

    Raises RunError where there is no run, CorpusError where `corpus` is no place for it, ModelError
    where its model needs code of its own that is not trusted here, MissingExtraError where a sample
    cannot be scored for want of torch.

    A run that is not whole is not rescored: its scores are not final. `on_rows` is called once the
    records of the run are read, before its rows are.
    """
    manifest = store.require_manifest()
    rules, model = manifest.rules, manifest.model
    backend = backend_of(rules)
    if sample:
        needed = backend.reference_modules
        require_modules("scoring a sample again", *needed, instead=INTEGRITY_ALONE)
    root = open_corpus(manifest, corpus)
    checks = check_integrity(store, manifest, root, on_rows)
    truth = noise = None
    if sample and all(check.passed for check in checks):
        _check_trust(model, trusted=trust_remote_code)
        documents = sample_documents(store, manifest, sample, seed, root)
        truth = rescore_sample(
            documents,
            backend.reference(model, rules),
            seed=seed,
            tolerance=TOLERANCES[rules.dtype] if tolerance is None else tolerance,
            on_progress=on_progress,
        )
        checks.append(judge(truth))
        if noise_floor:
            trusted = model.trust_remote_code
            tokenizer = backend.tokenizer(model.folder, trust_remote_code=trusted)
            engine = backend.engine(engine_settings(manifest))
            try:
                noise = measure_noise_floor(documents, engine, tokenizer, rules, on_progress)
            finally:
                engine.close()
            checks.append(judge_noise(noise, rules.dtype))
    verification = Verification(
        run_id=manifest.run_id,
        dtype=rules.dtype,
        checks=checks,
        truth=truth,
        noise_floor=noise,
    )
    save(store.root, VERIFICATION, verification)
    return verification


def _check_trust(model: ModelRecord, *, trusted: bool) -> None:
    # Anyone who may write a run may write its manifest: this machine must allow its code.
    if model.trust_remote_code and not trusted:
        raise ModelError(
            f"this run was scored with Python code from {model.folder}",
            hint=f"read that code, then allow it with {named('trust_remote_code')}; or "
            f"{INTEGRITY_ALONE}",
        )


def read_verification(store: RunStore) -> Verification | None:
    """What the last `verify` of this run found."""
    hint = "delete it, or verify the run again"
    return load(store.root, VERIFICATION, Verification, hint=hint)
