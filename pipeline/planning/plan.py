"""From a request to a frozen plan: which files, which shards, which rules, which fingerprint.

Owns whether a run may be continued. Everything that can be wrong with a request
is found here, before any engine is started and before anything is written.
"""

import logging
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from pipeline.corpus.columns import Columns, choose_columns
from pipeline.engine.backends import backend_for, backend_of
from pipeline.engine.protocol import Model
from pipeline.engine.rules import ModelRecord, ScoringRules
from pipeline.errors import CorpusError, RunError, named
from pipeline.planning.estimate import Estimate, Sample, estimate_work
from pipeline.planning.identity import changes_since, fingerprint, installed_versions
from pipeline.planning.resume import check_resumable
from pipeline.planning.reuse import covered_groups, find_reusable, make_record, merge_shards
from pipeline.planning.sharding import CorpusPlan, make_shards, plan_corpus
from pipeline.runs.manifest import (
    Manifest,
    Reuse,
    Value,
    encode_schema,
)
from pipeline.runs.store import RunStore
from pipeline.schema import TOKEN_FIELDS, Shard, part_schema
from pipeline.settings.config import ScoreConfig
from pipeline.storage.filesystem import open_root

log = logging.getLogger(__name__)


def open_run(
    config: ScoreConfig, store: RunStore, *, default_shard_tokens: int
) -> tuple[Manifest, bool]:
    """The plan to carry out, and whether it is new (then nothing of it is written yet).

    Raises RunError if the directory holds another run, CorpusError if the corpus is unusable or
    has changed under the run, ModelError if the model is.
    """
    existing = store.manifest()
    plan = None
    if existing is None:
        store.check_free()
        plan = plan_corpus(
            *config.corpus,
            text_column=config.text_column,
            limit=config.limit,
            shard_tokens=config.shard_tokens,
            default_shard_tokens=default_shard_tokens,
            workers=config.workers.most if config.workers else 1,
        )
    backend = backend_for(config.model)
    model = backend.load_model(config)
    rules = backend.plan_rules(config, model)
    if existing is not None:
        rules = rules.as_begun(existing.rules)
    identity = fingerprint(model, rules, config.text_column)
    request = _request(config)
    if existing is not None:
        _check_same_run(existing, identity, request, store)
        check_resumable(store, existing)
        # Where the model is and whether its code may run is not for a manifest, which is data.
        ours = {"folder": model.folder, "trust_remote_code": config.trust_remote_code}
        record = existing.model.model_copy(update=ours)
        return existing.model_copy(update={"model": record}), False
    assert plan is not None
    return _new_manifest(config, plan, model, rules, identity, request), True


def _request(config: ScoreConfig) -> dict[str, Value]:
    # In which order several are named is no matter.
    corpora = sorted({one if "://" in one else open_root(one).path for one in config.corpus})
    return {
        "corpus": corpora[0] if len(corpora) == 1 else corpora,
        "id_column": config.id_column,
        "carry": list(dict.fromkeys(config.carry)),
        "limit": config.limit,
        "token_logprobs": config.token_logprobs,
        "token_ids": config.token_ids,
    }


def _new_manifest(
    config: ScoreConfig,
    plan: CorpusPlan,
    model: Model,
    rules: ScoringRules,
    identity: dict[str, Value],
    request: dict[str, Value],
) -> Manifest:
    if config.strict and plan.unreadable:
        name = next(iter(plan.unreadable))
        raise CorpusError(
            f"{name}: {plan.unreadable[name]} ({len(plan.unreadable)} unreadable in all)",
            hint=f"repair or remove it, or leave out {named('strict')} to score the others",
        )
    columns, schema = _columns(config, plan)
    shards, reuse = plan.shards, None
    if config.reuse is not None:
        shards, reuse = _reuse(config.reuse, plan, *find_reuse(config, plan, model, rules))
    return Manifest(
        run_id=uuid.uuid4().hex,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        corpus=plan.root.location,
        text_column=columns.text,
        id_column=columns.doc_id,
        carried=columns.carried,
        part_schema=schema,
        model=ModelRecord(
            name=model.name,
            folder=model.folder,
            revision=model.revision,
            architecture=model.architecture,
            vocab_size=model.vocab_size,
            trust_remote_code=config.trust_remote_code,
        ),
        rules=rules,
        scoring=backend_of(rules).choose_path(config.scoring, model),
        fingerprint=identity,
        request=request,
        versions=installed_versions(),
        num_rows=plan.num_rows,
        text_bytes=plan.text_bytes,
        estimated_tokens=estimate_plan(config, plan, model, rules)[0].tokens.value,
        unreadable=plan.unreadable,
        reuse=reuse,
        files=plan.files,
        shards=shards,
    )


def _columns(config: ScoreConfig, plan: CorpusPlan) -> tuple[Columns, str]:
    """The columns that are read, and the schema of a part. Raises CorpusError."""
    columns, id_type, carried = choose_columns(
        plan.footers, text=config.text_column, id_column=config.id_column, carry=config.carry
    )
    token_columns = tuple(name for name in TOKEN_FIELDS if getattr(config, name))
    return columns, encode_schema(part_schema(id_type, carried, token_columns))


def estimate_plan(
    config: ScoreConfig,
    plan: CorpusPlan,
    model: Model,
    rules: ScoringRules,
    reused: Sequence[Shard] = (),
) -> tuple[Estimate, Sample]:
    """What scoring the plan comes to, reused rows left out, from a sample of its documents."""
    trusted = config.trust_remote_code
    tokenizer = backend_of(rules).tokenizer(model.folder, trust_remote_code=trusted)
    files = (plan.root, plan.footers, plan.num_rows, config.text_column)
    covered = covered_groups(reused)
    return estimate_work(*files, tokenizer=tokenizer, rules=rules, covered=covered)


def find_reuse(
    config: ScoreConfig, plan: CorpusPlan, model: Model, rules: ScoringRules
) -> tuple[list[Shard], str]:
    """What a plan reuses of the run that `reuse` names, and why not all of it, if not all.

    Raises RunError where there is no run.
    """
    assert config.reuse is not None
    return find_reusable(
        RunStore(config.reuse, "reuse"),
        fingerprint(model, rules, config.text_column),
        _request(config),
        _columns(config, plan)[1],
        plan.root,
        plan.footers,
    )


def _reuse(
    run: str, plan: CorpusPlan, kept: list[Shard], reason: str
) -> tuple[tuple[Shard, ...], Reuse]:
    """The shards of a run that reuses what it can of another."""
    other = RunStore(run)
    if reason and sum(shard.num_rows for shard in kept) < plan.num_rows:
        log.warning(
            "scores of %s of %s rows are reused from %s; the others are scored: %s",
            f"{sum(shard.num_rows for shard in kept):,}",
            f"{plan.num_rows:,}",
            other.location,
            reason,
        )
    if not kept:
        return plan.shards, make_record(other, {}, reason)
    fresh = make_shards(plan.footers, plan.shard_bytes, None, covered_groups(kept))
    shards, origin = merge_shards(kept, list(fresh))
    return shards, make_record(other, origin, reason)


def _check_same_run(
    existing: Manifest, identity: dict[str, Value], request: dict[str, Value], store: RunStore
) -> None:
    if changes := changes_since(existing, identity, request):
        raise RunError(
            f"{store.location} holds another run: {'; '.join(changes)}",
            hint=f"choose a new {named('out')}, or use the same settings as before",
        )
