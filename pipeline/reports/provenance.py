"""Where the numbers of a report come from: the run, its model, its rules, and how long it took."""

from typing import Any

from pydantic import BaseModel

from pipeline.engine.rules import ModelRecord
from pipeline.runs.manifest import Manifest, Rules, Success
from pipeline.runs.store import RunStore
from pipeline.verification.verify import Verification, read_verification


class Provenance(BaseModel):
    """Where the numbers come from."""

    run: str
    run_id: str
    corpus: str
    created_at: str
    finished_at: str | None
    model: ModelRecord
    rules: Rules
    fingerprint: dict[str, Any]
    versions: dict[str, str]
    estimated_tokens: int | None
    """Tokens to score, as estimated from a sample of the corpus when the run was planned."""
    scored_tokens: int | None
    """Tokens that were scored, once the run is finished."""
    wall_seconds: float | None
    """Time the last driver took, start-up included."""
    tokens_per_second: float | None
    """Scored tokens per second of worker time, start-up excluded; documents_per_second likewise."""
    documents_per_second: float | None
    engine_idle_share: float | None
    """Share of the engines' time between their first and last step that they spent waiting."""
    num_rows_copied: int | None
    """Rows that took the score of an equal text in their shard instead of being scored again."""
    verification: Verification | None
    """Result of the last `winnow verify`; null if there was none."""


def provenance_of(store: RunStore, manifest: Manifest, success: Success | None) -> Provenance:
    """Of a run, which has a `success` once it is finished."""
    tokens_per_second = success.tokens_per_second if success else None
    documents_per_second = None
    if success and tokens_per_second and success.totals.num_tokens_computed:
        documents_per_second = (
            tokens_per_second * success.totals.num_rows / success.totals.num_tokens_computed
        )
    return Provenance(
        run=store.location,
        run_id=manifest.run_id,
        corpus=manifest.corpus,
        created_at=manifest.created_at,
        finished_at=success.finished_at if success else None,
        model=manifest.model,
        rules=manifest.rules,
        fingerprint=dict(manifest.fingerprint),
        versions=manifest.versions,
        estimated_tokens=manifest.estimated_tokens,
        scored_tokens=success.totals.num_tokens if success else None,
        wall_seconds=success.wall_seconds if success else None,
        tokens_per_second=tokens_per_second,
        documents_per_second=documents_per_second,
        engine_idle_share=success.engine_idle_share if success else None,
        num_rows_copied=success.totals.num_rows_copied if success else None,
        verification=read_verification(store),
    )
