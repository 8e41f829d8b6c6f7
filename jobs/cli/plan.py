"""`winnow plan`: what scoring a corpus would take, before any of it is scored.

Owns what is printed, and measuring an engine if asked.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from jobs.cli.runs import (
    TEXT_BYTES,
    print_facts,
    print_json,
    print_unreadable,
    reused_facts,
    warn_of_vocabulary,
)
from jobs.console import screen
from jobs.console.quiet import quiet
from pipeline.corpus.columns import choose_columns
from pipeline.engine.backends import backend_for, backend_of
from pipeline.engine.protocol import Model, Tokenizer
from pipeline.engine.rules import ScoringRules
from pipeline.engine.vllm.sizing import default_shard_tokens
from pipeline.errors import ConfigError, EngineError, ModelError
from pipeline.planning.calibration import Trial, calibrate, fastest
from pipeline.planning.cost import Cost, PlanConfig, Span, WorkerKind, cost_of, load_plan_config
from pipeline.planning.estimate import Estimate, Quantity, Sample
from pipeline.planning.identity import asked_engine
from pipeline.planning.plan import estimate_plan, find_reuse
from pipeline.planning.sharding import BYTES_PER_TOKEN, CorpusPlan, plan_corpus
from pipeline.planning.side_by_side import calibrate_together
from pipeline.rendering.formats import count, duration, money, number, share, size
from pipeline.rendering.table import Table
from pipeline.rendering.terminal import print_table
from pipeline.schema import Shard
from pipeline.settings.config import ScoreConfig
from pipeline.settings.fields import option_of
from pipeline.settings.loading import has_table, load_settings, read_table

GUESS = f"{BYTES_PER_TOKEN} bytes per token, of {TEXT_BYTES}"
THIS_MACHINE = "this machine"
STEP = "step_tokens"
ENGINES = "engines_per_gpu"


def print_plan(
    file: Path | None, options: dict[str, Any], *, calibrating: bool, as_json: bool
) -> int:
    """Files, rows, bytes and shards; tokens, hours and prices. The exit code: 1 if any of the
    corpus cannot be read. Raises ConfigError, CorpusError, ModelError."""
    config, prices = _settings(file, options)
    if not config.model and (calibrating or prices.workers or config.reuse):
        what = "--calibrate" if calibrating else f"[plan.workers] of {file}"
        if config.reuse and not calibrating:
            what = "--reuse"
        raise ConfigError(f"{what} needs a model", hint="give --model: its tokenizer counts tokens")
    plan = plan_corpus(
        *config.corpus,
        text_column=config.text_column,
        limit=config.limit,
        shard_tokens=config.shard_tokens,
        default_shard_tokens=default_shard_tokens(),
        workers=config.workers.most if config.workers else 1,
    )
    choose_columns(
        plan.footers, text=config.text_column, id_column=config.id_column, carry=config.carry
    )
    facts: dict[str, Any] = {
        "corpus": plan.root.location,
        "files": len(plan.files),
        "unreadable_files": len(plan.unreadable),
        "rows": plan.num_rows,
        "file_bytes": sum(file.size_bytes for file in plan.files),
        "text_bytes": plan.text_bytes,
        "shards": len(plan.shards),
    }
    unreadable = dict(plan.unreadable)
    estimate: Estimate | None = None
    costs: list[Cost] = []
    trials: list[Trial] = []
    if config.model:
        backend = backend_for(config.model)
        model = backend.load_model(config)
        rules = backend.plan_rules(config, model)
        kept = list[Shard]()
        if config.reuse is not None:
            kept, reason = find_reuse(config, plan, model, rules)
            facts |= reused_facts(kept, reason)
        estimate, costs, trials = _priced(
            config, prices, plan, model, rules, kept, calibrating=calibrating
        )
        unreadable |= estimate.unreadable
    if as_json:
        print_json(
            facts
            | {
                "text_bytes_are": TEXT_BYTES,
                "estimated_tokens": _tokens(plan, estimate),
                "source": estimate.source if estimate else GUESS,
                "estimate": estimate.model_dump() if estimate else None,
                "calibration": fastest(trials).speed.model_dump() if trials else None,
                "trials": [
                    {
                        STEP: one.settings.max_num_batched_tokens,
                        ENGINES: one.settings.engines_per_gpu,
                        **one.speed.model_dump(),
                    }
                    for one in trials
                ],
                "costs": [cost.model_dump() for cost in costs],
                "unreadable": unreadable,
            }
        )
    else:
        facts["file_bytes"] = size(facts["file_bytes"])
        facts["text_bytes"] = f"{size(plan.text_bytes)}: {TEXT_BYTES}"
        reused = bool(facts.get("rows_reused"))
        print_facts(facts | _words(plan, estimate, trials, reused=reused), as_json=False)
        if costs:
            print_table(_table(costs), screen.data())
    print_unreadable(unreadable)
    return 1 if unreadable else 0


def _settings(file: Path | None, options: dict[str, Any]) -> tuple[ScoreConfig, PlanConfig]:
    """What to score and how, and the kinds of workers."""
    if file is None:
        scored, prices = None, PlanConfig()
    else:
        scored = file if has_table(file, "score") else None
        # A file with neither is refused for the table that is this command's own.
        asks = scored is None or has_table(file, "plan")
        prices = load_plan_config(file) if asks else PlanConfig()
    # Nothing is written, and footers are read without a model.
    table = read_table(scored, "score") if scored else {}
    given = options | {"out": "-", "model": options["model"] or table.get("model", "")}
    config = load_settings(ScoreConfig, "score", scored, given, ("corpus",))
    return config, prices


def _priced(
    config: ScoreConfig,
    prices: PlanConfig,
    plan: CorpusPlan,
    model: Model,
    rules: ScoringRules,
    reused: Sequence[Shard],
    *,
    calibrating: bool,
) -> tuple[Estimate, list[Cost], list[Trial]]:
    """The tokens of a plan, and what they come to on each kind of worker; this machine last."""
    messages = screen.messages()
    trusted = config.trust_remote_code
    tokenizer = backend_of(rules).tokenizer(model.folder, trust_remote_code=trusted)
    warn_of_vocabulary(tokenizer, model.vocab_size)
    with messages.status("Tokenizing a sample"):
        estimate, sample = estimate_plan(config, plan, model, rules, reused)
    costs = [
        cost_of(estimate.prompt_tokens, name, kind, currency=prices.currency)
        for name, kind in prices.workers.items()
    ]
    trials: list[Trial] = []
    if calibrating:
        with quiet(), messages.status("Measuring this machine"):
            trials = _calibrate(config, model, rules, tokenizer, sample)
        speed = fastest(trials).speed
        kind = WorkerKind(tokens_per_second=speed.tokens_per_second)
        tokens, currency = estimate.prompt_tokens, prices.currency
        costs.append(cost_of(tokens, THIS_MACHINE, kind, spread=speed.spread, currency=currency))
    return estimate, costs, trials


def _calibrate(
    config: ScoreConfig, model: Model, rules: ScoringRules, tokenizer: Tokenizer, sample: Sample
) -> list[Trial]:
    backend, trials = backend_of(rules), list[Trial]()
    for settings in backend.variants(asked_engine(config, model, rules)):
        if settings.engines_per_gpu > 1:
            try:
                speed = calibrate_together(settings, rules, sample)
            except (ModelError, EngineError) as error:  # what one reaches is known
                said = f"{settings.engines_per_gpu} engines per GPU were not measured: {error}"
                screen.say(f"Warning: {said}", "yellow")
                continue
        else:
            with closing(backend.engine(settings)) as engine:
                speed = calibrate(engine, tokenizer, rules, sample, vocab_size=model.vocab_size)
        trials.append(Trial(settings, speed))
    if len(trials) > 1:
        engines = fastest(trials).settings.engines_per_gpu
        backend.prefer(fastest(_alone(trials)).settings, engines)
    return trials


def _alone(trials: list[Trial]) -> list[Trial]:
    return [one for one in trials if one.settings.engines_per_gpu == 1]


def _tokens(plan: CorpusPlan, estimate: Estimate | None) -> int:
    return estimate.tokens.value if estimate else plan.text_bytes // BYTES_PER_TOKEN


def _words(
    plan: CorpusPlan, estimate: Estimate | None, trials: list[Trial], *, reused: bool
) -> dict[str, Any]:
    """The estimate and its sources, as names and values."""
    found: dict[str, Any] = {"estimated_tokens": _tokens(plan, estimate)}
    if estimate is None:
        return found | {"source": f"{GUESS}; with --model a sample is counted"}
    found["estimated_tokens"] = _quantity(estimate.tokens)
    found["prompt_tokens"] = f"{_quantity(estimate.prompt_tokens)}, prefixes and context included"
    found["windows"] = _quantity(estimate.windows)
    found["source"] = estimate.source + ("; reused rows are not counted" if reused else "")
    if trials:
        chosen, speed = fastest(trials)
        found["calibration"] = (
            f"{number(speed.tokens_per_second)} tokens/s +-{share(speed.spread)} over "
            f"{speed.num_chunks} chunks, {duration(speed.seconds)} of scoring; without start-up"
        )
        alone = _alone(trials)
        if len(alone) > 1:
            step = fastest(alone).settings.max_num_batched_tokens
            tried = ", ".join(_trial(one, one.settings.max_num_batched_tokens) for one in alone)
            found[STEP] = (
                f"{count(step)}, of {tried}; engines of this model on this machine take it from "
                "now on"
            )
        if len(trials) > len(alone):
            ways = [fastest(alone), *(one for one in trials if one not in alone)]
            tried = ", ".join(_trial(one, one.settings.engines_per_gpu) for one in ways)
            found[ENGINES] = (
                f"{chosen.engines_per_gpu}, of {tried}; {option_of(ENGINES)} auto takes it for "
                "this model on this machine from now on"
            )
    return found


def _trial(one: Trial, what: int | None) -> str:
    speed = one.speed
    return f"{count(what)} ({number(speed.tokens_per_second)} tokens/s +-{share(speed.spread)})"


def _quantity(found: Quantity) -> str:
    if found.low == found.high:
        return count(found.value)
    return f"{count(found.value)} (95%: {count(found.low)} to {count(found.high)})"


def _table(costs: list[Cost]) -> Table:
    priced = any(cost.price for cost in costs)
    rows = [
        (
            cost.worker,
            count(cost.count),
            number(cost.tokens_per_second),
            _between(cost.hours, _hours),
            *([_between(cost.price, partial(money, currency=cost.currency))] if priced else []),
        )
        for cost in costs
    ]
    columns = ("worker", "workers", "tokens/s each", "time", *(["price"] if priced else []))
    return Table(columns=columns, rows=rows)


def _hours(value: float | None) -> str:
    return duration(None if value is None else value * 3600)


def _between(found: Span | None, show: Callable[[float | None], str]) -> str:
    if found is None:
        return show(None)
    if found.low == found.high:
        return show(found.value)
    return f"{show(found.value)} ({show(found.low)} to {show(found.high)})"
