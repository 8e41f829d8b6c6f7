"""From a request to a frozen plan: which files, which shards, which rules, which fingerprint.

Owns whether a run may be continued. Everything that can be wrong with a request
is found here, before any engine is started and before anything is written.
"""

import logging
import uuid
from datetime import UTC, datetime

from pipeline.corpus.columns import choose_columns
from pipeline.engine.model import Model, load_model
from pipeline.errors import CorpusError, RunError, named
from pipeline.planning.estimate import Estimate, Sample, estimate_work
from pipeline.planning.identity import choose_scoring, fingerprint, installed_versions, plan_rules
from pipeline.planning.resume import check_resumable
from pipeline.planning.reuse import covered_groups, find_reusable, make_record, merge_shards
from pipeline.planning.sharding import CorpusPlan, deal_shards, plan_corpus
from pipeline.runs.manifest import (
    Manifest,
    ModelRecord,
    Reuse,
    ScoringRules,
    Value,
    differences,
    encode_schema,
)
from pipeline.runs.store import RunStore
from pipeline.schema import TOKEN_FIELDS, Shard, part_schema
from pipeline.scoring.tokenizer import Tokenizer
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
            config.corpus,
            text_column=config.text_column,
            limit=config.limit,
            shard_tokens=config.shard_tokens,
            default_shard_tokens=default_shard_tokens,
            workers=config.workers.most if config.workers else 1,
        )
    model = load_model(config.model, **config.model_options())
    rules = plan_rules(config, model)
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
    corpus = config.corpus if "://" in config.corpus else open_root(config.corpus).path
    return {
        "corpus": corpus,
        "id_column": config.id_column,
        "carry": list(config.carry),
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
    columns, id_type, carried = choose_columns(
        plan.footers, text=config.text_column, id_column=config.id_column, carry=config.carry
    )
    token_columns = tuple(name for name in TOKEN_FIELDS if getattr(config, name))
    schema = encode_schema(part_schema(id_type, carried, token_columns))
    shards, reuse = plan.shards, None
    if config.reuse is not None:
        shards, reuse = _reuse(RunStore(config.reuse), plan, identity, request, schema)
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
        scoring=choose_scoring(config.scoring, model.architecture),
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


def estimate_plan(
    config: ScoreConfig, plan: CorpusPlan, model: Model, rules: ScoringRules
) -> tuple[Estimate, Sample]:
    """What scoring the plan comes to, from a sample of its documents."""
    tokenizer = Tokenizer(model.folder, trust_remote_code=config.trust_remote_code)
    files = (plan.root, plan.footers, plan.num_rows, config.text_column)
    return estimate_work(*files, tokenizer=tokenizer, rules=rules)


def _reuse(
    other: RunStore,
    plan: CorpusPlan,
    identity: dict[str, Value],
    request: dict[str, Value],
    schema: str,
) -> tuple[tuple[Shard, ...], Reuse]:
    """The shards of a run that takes over what it can of another."""
    kept, reason = find_reusable(other, identity, request, schema, plan.root, plan.footers)
    if reason:
        log.warning(
            "of %s %s rows are taken over: %s",
            other.location,
            f"{sum(shard.num_rows for shard in kept):,}" if kept else "no",
            reason,
        )
    if not kept:
        return plan.shards, make_record(other, {}, reason)
    dealt = deal_shards(plan.footers, plan.shard_bytes, None, covered_groups(kept))
    shards, origin = merge_shards(kept, list(dealt))
    return shards, make_record(other, origin, reason)


def _check_same_run(
    existing: Manifest, identity: dict[str, Value], request: dict[str, Value], store: RunStore
) -> None:
    changes = differences(existing.fingerprint | existing.request, identity | request)
    if changes:
        raise RunError(
            f"{store.location} holds another run: {'; '.join(changes)}",
            hint=f"choose a new {named('out')}, or repeat the settings that started this run",
        )
