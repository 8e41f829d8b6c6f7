"""What the commands of main.py do: call the library and print.

Owns what is printed. Kept apart from main.py so that `winnow --help` imports nothing.
"""

import json
from collections.abc import Sequence
from typing import Any

from jobs.cli.watch import require_planned
from jobs.console import screen
from jobs.console.progress import ProgressListener, RescoringProgress
from jobs.console.quiet import quiet
from jobs.console.signals import stopped_at
from pipeline.engine.backends import backend_of
from pipeline.engine.protocol import Tokenizer
from pipeline.engine.vllm.sizing import default_shard_tokens
from pipeline.errors import counted
from pipeline.planning.identity import vocabulary_warning
from pipeline.planning.plan import open_run
from pipeline.rendering.escaping import plain
from pipeline.rendering.formats import count, size
from pipeline.rendering.table import facts_table
from pipeline.rendering.terminal import print_page, print_table
from pipeline.runs.cleanup import find_leftovers, remove_leftovers
from pipeline.runs.lock import is_alive, read_holder
from pipeline.runs.manifest import Totals
from pipeline.runs.scores import is_complete
from pipeline.runs.status import damage, state_of
from pipeline.runs.store import RunStore
from pipeline.schema import SCORED, Shard
from pipeline.settings.config import ScoreConfig

TEXT_BYTES = "uncompressed bytes of the text column as encoded in Parquet"
"""What the figure is, as footers have it: neither the size of the texts nor that of the files."""


def score_and_print(config: ScoreConfig, *, as_json: bool) -> int:
    """Score, then say how it ended. The exit code: 1 if anything was given up."""
    from jobs.run.score import run_score

    with ProgressListener() as listener:
        outcome = run_score(config, listener)
    success, failures = outcome.success, outcome.failures
    store = RunStore(config.out)
    if as_json:
        print_json(
            {
                "run": store.location,
                "finished": success is not None,
                "num_shards": len(outcome.manifest.shards),
                "num_shards_scored": outcome.num_shards_scored,
                "failures": failures,
                "num_shards_reused": success.num_shards_reused if success else 0,
                "num_rows_reused": success.num_rows_reused if success else 0,
                "not_reused": reuse.reason if (reuse := outcome.manifest.reuse) else None,
                "totals": success.totals.model_dump() if success else None,
                "tokens_per_second": success.tokens_per_second if success else None,
                "engine_idle_share": success.engine_idle_share if success else None,
                "mfu": success.mfu if success else None,
            }
        )
        return outcome.exit_code
    messages = screen.messages()
    for failure in failures:
        what = failure.get("file") or f"shard {failure.get('shard')}"
        messages.print(f"Not scored: {what}: {failure['reason']}", style="yellow")
    _say_how_to_repair(store, failures)
    if success is None:
        messages.print("Run the same command again to retry the documents that were not scored.")
    else:
        totals = success.totals
        state = "Done" if outcome.num_shards_scored else "Already done"
        counts = f"{documents_of(totals)}, {counted(totals.num_tokens, 'token')}"
        if outcome.manifest.reuse is not None:
            counts += f"; {success.num_rows_reused:,} of the documents reused"
        if totals.num_rows_copied:
            copies = counted(totals.num_rows_copied, "document is a copy", "documents are copies")
            counts += f"; {copies}, scored once"
        messages.print(f"{state}: {counts}. Next: winnow report {config.out}")
    return outcome.exit_code


def documents_of(totals: Totals) -> str:
    """The documents of a run, and how many of them have a score where not all have."""
    scored = sum(totals.statuses.get(status, 0) for status in SCORED)
    all_of_them = counted(totals.num_rows, "document")
    return all_of_them if scored == totals.num_rows else f"{all_of_them}, {scored:,} with a score"


def _say_how_to_repair(store: RunStore, failures: Sequence[dict[str, Any]]) -> None:
    """The plan of a run is frozen: a file that it gave up is not looked at again."""
    if not any("file" in failure for failure in failures):
        return
    again = f"score into a new --out with --reuse {store.location}"
    if store.is_decided_night:
        again = "delete the folder of this night and audit it again: it reuses the night before"
    screen.say(f"Hint: this run does not look at such a file again; repair it, then {again}")


def dry_run_score(config: ScoreConfig, *, as_json: bool) -> None:
    """Check everything that can be checked without an engine, show the plan, write nothing."""
    store = RunStore(config.out)
    manifest, is_new = open_run(
        config, store, default_shard_tokens=default_shard_tokens(config.address)
    )
    model = manifest.model
    trusted = model.trust_remote_code
    tokenizer = backend_of(manifest.rules).tokenizer(model.folder, trust_remote_code=trusted)
    warn_of_vocabulary(tokenizer, model.vocab_size)
    done = set() if is_new else store.done()
    facts: dict[str, Any] = {
        "run": store.location,
        "state": "new" if is_new else "finished" if is_complete(store, manifest) else "unfinished",
        "files": len(manifest.files),
        "unreadable_files": len(manifest.unreadable),
        "rows": manifest.num_rows,
        "text_bytes": manifest.text_bytes,
        "estimated_tokens": manifest.estimated_tokens,
        "shards": len(manifest.shards),
        "shards_done": len(done),
        "model": manifest.model.name,
        **manifest.rules.model_dump(),
    }
    if (reuse := manifest.reuse) is not None:
        kept = [shard for shard in manifest.shards if shard.id in reuse.shards]
        facts |= reused_facts(kept, reuse.reason)
    if as_json:
        facts |= {"text_bytes_are": TEXT_BYTES, "unreadable": manifest.unreadable}
    else:
        facts["text_bytes"] = f"{size(manifest.text_bytes)}: {TEXT_BYTES}"
    print_facts(facts, as_json=as_json)
    if not as_json:
        print_unreadable(manifest.unreadable)


def reused_facts(kept: Sequence[Shard], reason: str) -> dict[str, Any]:
    """How much a plan reuses of another run, and why not all of it."""
    rows = sum(shard.num_rows for shard in kept)
    return {"rows_reused": rows, "not_reused": reason or None}


def print_unreadable(unreadable: dict[str, str]) -> None:
    """The files that are counted as unreadable, and what is wrong with each."""
    for name, reason in unreadable.items():
        screen.messages().print(plain(f"Unreadable: {name}: {reason}"), style="yellow")


def warn_of_vocabulary(tokenizer: Tokenizer, vocab_size: int) -> None:
    """Warn if the tokenizer makes tokens that the model does not have."""
    if warning := vocabulary_warning(tokenizer, vocab_size):
        screen.say(f"Warning: {warning}", "yellow")


def print_status(run: str, *, as_json: bool) -> int:
    """Print the progress of a run. The exit code: 1 if anything was given up or lost."""
    store = RunStore(run)
    manifest = require_planned(store)
    holder = read_holder(store.root)
    driven = holder is not None and is_alive(holder)
    success = store.success()
    done = store.done() & {shard.id for shard in manifest.shards}
    num_missing = len(manifest.shards) - len(done)
    failures = store.failures()
    state = state_of(has_success=success is not None, num_missing=num_missing, is_driven=driven)
    facts: dict[str, Any] = {
        "run": store.location,
        "state": state,
        "shards_done": f"{len(done)} of {len(manifest.shards)}",
        "rows_done": sum(shard.num_rows for shard in manifest.shards if shard.id in done),
        "rows": manifest.num_rows,
        "driver": str(holder) if driven else None,
        "model": manifest.model.name,
        "created_at": manifest.created_at,
        "finished_at": success.finished_at if success else None,
        "given_up": len(failures),
    }
    if as_json:
        facts |= {"shards_done": len(done), "shards": len(manifest.shards), "failures": failures}
    print_facts(facts, as_json=as_json)
    if not as_json:
        messages = screen.messages()
        for failure in failures:
            what = failure.get("file") or f"shard {failure.get('shard')}"
            messages.print(f"Given up: {what}: {failure['reason']}", style="yellow")
        _say_how_to_repair(store, failures)
    if state == "damaged":
        screen.say(f"Damaged: {damage(num_missing)}", "yellow")
    return 1 if failures or state == "damaged" else 0


def remove_and_print(run: str, *, dry_run: bool, as_json: bool) -> int:
    """Show the leftovers of a run, and remove them."""
    store = RunStore(run)
    found = find_leftovers(store)
    if not dry_run:
        remove_leftovers(store, list(found))
    if as_json:
        print_json({"run": store.location, "removed": not dry_run, "files": found})
        return 0
    for name in found:
        print(plain(name))
    what = "would be removed" if dry_run else "removed"
    removed = f"{counted(len(found), 'file')}, {size(sum(found.values()))}"
    screen.messages().print(f"{removed} {what}")
    return 0


def verify_and_print(
    run: str,
    corpus: str | None,
    sample: int,
    seed: int,
    tolerance: float | None,
    noise_floor: bool,
    *,
    trust_remote_code: bool,
    as_json: bool,
) -> int:
    """Verify, and print the verdicts. The exit code: 1 if a check failed."""
    from pipeline.verification.page import to_page
    from pipeline.verification.verify import verify_run

    store, progress = RunStore(run), RescoringProgress()
    with stopped_at(progress.how_far), quiet(), progress:
        verification = verify_run(
            store,
            corpus=corpus,
            sample=sample,
            seed=seed,
            tolerance=tolerance,
            noise_floor=noise_floor,
            trust_remote_code=trust_remote_code,
            on_rows=progress.check,
            on_progress=progress.update,
        )
    if as_json:
        print(verification.model_dump_json(indent=2))
    else:
        print_page(to_page(verification), screen.data())
    return 0 if verification.passed else 1


def print_json(value: Any) -> None:
    """Machine-readable output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_facts(facts: dict[str, Any], *, as_json: bool) -> None:
    """Names and values: a table to read, or JSON."""
    if as_json:
        print_json(facts)
        return
    shown = {key: value for key, value in facts.items() if value is not None}
    rows = [
        (key.replace("_", " "), count(value) if isinstance(value, int) else str(value))
        for key, value in shown.items()
    ]
    print_table(facts_table(rows), screen.data())
