"""The run that another is compared with, by a report or an audit.

Owns what makes figures of two runs incomparable where one model and one set of rules is meant.
"""

from pathlib import Path

from pipeline.errors import ConfigError, named
from pipeline.reports.requirements import Requirement
from pipeline.reports.term_values import Missing, Rows, rows_of
from pipeline.runs.manifest import Manifest, Value, differences
from pipeline.runs.sample import read_draw
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore

IGNORED_FINGERPRINT_KEYS = frozenset(["min_k_percent", "text_column", "scored_bytes"])
"""Fingerprint keys that belong neither to the model nor to the rules."""


def scored_unlike(baseline: Manifest, run: Manifest) -> list[str]:
    """What makes scores differ other than the text: `key was -> is`."""
    return fingerprints_unlike(baseline.fingerprint, run.fingerprint)


def fingerprints_unlike(was: dict[str, Value], now: dict[str, Value]) -> list[str]:
    """The same of what runs say that their scores depend on."""
    old, new = (
        {key: value for key, value in one.items() if key not in IGNORED_FINGERPRINT_KEYS}
        for one in (was, now)
    )
    return differences(old, new)


def run_rows(store: RunStore) -> Rows:
    """The scores of a run as a gate reads them. Raises RunError where it is not whole."""
    return rows_of(scan_scores(store, store.require_manifest()), read_draw(store))


def baseline_rows(store: RunStore, run: Manifest) -> Rows | Missing:
    """Those of the baseline of a run, or why they do not do."""
    if found := scored_unlike(store.require_manifest(), run):
        said = (
            f"the baseline {store.location} was scored with another model or settings: "
            f"{'; '.join(found)}"
        )
        return Missing("unlike", said)
    return run_rows(store)


def named_baseline(
    baseline: RunStore | str | Path | None, manifest: Manifest, requirements: list[Requirement]
) -> Rows | Missing | None:
    """What requirements hold a run against, if it is named.

    Raises ConfigError for what no report can judge.
    """
    for one in requirements:
        one.refuse_psi("a report cannot compute psi", "use psi in `winnow compare` or in an audit")
    if baseline is None:
        return None
    if not any(one.needs_baseline for one in requirements):
        raise ConfigError(
            f"{named('baseline')} is given, but no requirement uses it",
            hint=f"leave {named('baseline')} out, or give {named('fail_if')} with increase(...) or "
            "baseline(...)",
        )
    store = baseline if isinstance(baseline, RunStore) else RunStore(str(baseline), "baseline")
    return baseline_rows(store, manifest)
