"""Does a run hold every input row once, in order, unaltered? No model is needed to know.

Owns comparing every part's rows with the frozen plan, with themselves and with `_SUCCESS`. Whether
a part's bytes are whole is runs/scores.py's; whether the numbers are right, rescoring.py's.
"""

import math
from collections.abc import Callable, Collection

import polars as pl
from pydantic import BaseModel

from pipeline.corpus.identity import differing_facts
from pipeline.errors import RunError, counted
from pipeline.runs.corpus import compare_documents, open_corpus, planned_file, survey_corpus
from pipeline.runs.manifest import Manifest, Success, Totals, add_totals
from pipeline.runs.metrics import overflows, ratio
from pipeline.runs.parts import differing_sum
from pipeline.runs.scores import read_part
from pipeline.runs.store import RunStore
from pipeline.schema import METRICS, RATIOS, SCORE_FIELDS, SCORED, Shard
from pipeline.statistics.columns import column_named
from pipeline.storage.filesystem import Root

RATIO_TOLERANCE = 1e-9
SCORES = {field.name: field for field in SCORE_FIELDS}


class Check(BaseModel):
    """One question about a run, and its answer."""

    name: str
    passed: bool
    detail: str


def check_integrity(
    store: RunStore,
    manifest: Manifest,
    corpus: Root | None = None,
    on_rows: Callable[[], None] = lambda: None,
) -> list[Check]:
    """Every input row exactly once and in order, nothing altered, totals as promised.

    `corpus` is where the corpus was moved to, if it was. `on_rows` is called before the rows are
    read.
    """
    success = store.success()
    planned = {shard.id for shard in manifest.shards}
    done = store.done()
    checks = [
        _check(
            "finished",
            success is not None,
            "the run is finished (_SUCCESS exists)",
            "the run is not finished",
        ),
        _check(
            "parts",
            done == planned,
            f"{len(done)} parts, one per shard",
            f"{len(planned - done)} parts are missing, {len(done - planned)} do not belong to the "
            "run",
        ),
    ]
    on_rows()
    faults: list[str] = []
    totals: dict[int, Totals] = {}
    for shard in manifest.shards:
        if shard.id in done:
            try:
                totals[shard.id] = _check_part(store, manifest, shard)
            except RunError as error:
                faults.append(str(error))
    rows = sum(part.num_rows for part in totals.values())
    checks.append(
        _check(
            "rows",
            not faults,
            f"{counted(rows, 'row')}: every input row once and in order, and all checksums match",
            f"{counted(len(faults), 'damaged part')}: {'; '.join(faults[:3])}",
        )
    )
    if success is not None and not faults and done == planned:
        checks.append(_check_totals(success, list(totals.values())))
    checks.append(_check_corpus(store, manifest, corpus or open_corpus(manifest), totals.keys()))
    return checks


def _check(name: str, passed: bool, right: str, wrong: str) -> Check:
    return Check(name=name, passed=passed, detail=right if passed else wrong)


def _check_part(store: RunStore, manifest: Manifest, shard: Shard) -> Totals:
    """Read a part whole. Raises RunError saying what is wrong with it."""
    name = store.part_name(shard.id)
    footer, table = read_part(store, manifest, shard)
    files = [manifest.files[span.file].path for span in shard.spans for _ in range(span.num_rows)]
    rows = [span.first_row + row for span in shard.spans for row in range(span.num_rows)]
    if table["file"].to_pylist() != files or table["row"].to_pylist() != rows:
        raise RunError(f"{name} does not have the input rows in order")
    scores = pl.from_arrow(table.select([field.name for field in SCORE_FIELDS]))
    assert isinstance(scores, pl.DataFrame)
    if wrong := scores.filter(~_is_sound()).height:
        raise RunError(f"{name} has {wrong} rows whose metrics contradict each other")
    found = _totals(scores)
    # Which rows are copies is not in the rows; that there cannot be more than there are, is.
    if footer.totals.num_rows_copied > found.num_rows:
        raise RunError(f"the footer of {name} counts more copies than there are rows")
    copied = {key: getattr(footer.totals, key) for key in ("num_rows_copied", "num_tokens_copied")}
    if difference := differing_sum(footer.totals, found.model_copy(update=copied)):
        raise RunError(f"the footer of {name} {difference}")
    return footer.totals


def _is_sound() -> pl.Expr:
    """A row's status, sums and ratios go together."""
    scored = pl.col("status").is_in(SCORED)
    nll, tokens = pl.col("nll"), pl.col("num_tokens")
    nullable = [column_named(name) for name in METRICS if SCORES[name].nullable]
    unscored = pl.all_horizontal(one.is_null() for one in nullable) & (tokens == 0)
    sound = (nll.is_finite() & (tokens > 0)).fill_null(False)
    for name, metric in RATIOS.items():
        count = column_named(str(metric.per))
        value = ratio(metric, nll, count)
        equal = (column_named(name) - value).abs() <= RATIO_TOLERANCE * value.abs()
        has_none = (count == 0) | overflows(metric)
        sound &= pl.when(column_named(name).is_null()).then(has_none).otherwise(equal)
    return pl.when(scored).then(sound).otherwise(unscored)


def _totals(scores: pl.DataFrame) -> Totals:
    counts = dict(scores["status"].value_counts().iter_rows())
    names = ("num_tokens", "num_skipped_tokens", "num_bytes", "num_windows")
    return Totals(
        num_rows=scores.height,
        nll=math.fsum(scores["nll"].drop_nulls().to_list()),
        statuses=dict(sorted(counts.items())),
        **{name: int(scores[name].sum()) for name in names},
    )


def _check_totals(success: Success, parts: list[Totals]) -> Check:
    if difference := differing_sum(success.totals, add_totals(parts)):
        return Check(name="totals", passed=False, detail=f"_SUCCESS {difference}")
    totals = success.totals
    detail = (
        f"all parts together have {totals.num_tokens:,} tokens and nll {totals.nll:,.3f}, as in "
        "_SUCCESS"
    )
    return Check(name="totals", passed=True, detail=detail)


def _check_corpus(
    store: RunStore, manifest: Manifest, corpus: Root, sound: Collection[int]
) -> Check:
    """Are the texts those that were scored? Of parts that are `sound`, which hold their hashes."""
    survey = survey_corpus(corpus, manifest)
    footers = [survey.footers[file.path] for file in survey.doubtful]
    differ = compare_documents(store, manifest, corpus, footers, sound)
    wrong = [f"{name} {what}" for name, what in survey.faults.items()]
    wrong += [str(error) for error in differ.values()]
    hints = []
    for file in survey.doubtful:
        facts = differing_facts(file, planned_file(survey.footers[file.path]))
        what = f"another {' and '.join(facts)}" if facts else "no recorded footer"
        hints.append(f"{file.path} has {what}")
    how = f"{survey.num_trusted} trusted by size, footer and time, {len(hints)} by comparing texts"
    how += f" ({_some(hints)})" if hints else ""
    if manifest.unreadable:
        given_up = [f"{name}: {reason}" for name, reason in manifest.unreadable.items()]
        how += f"; given up as unreadable, and not scored: {_some(given_up)}"
    files = counted(len(manifest.files), "file")
    right = f"the texts of {files} are those that were scored: {how}"
    return _check("corpus", not wrong, right, f"{len(wrong)} files differ: {_some(wrong)}; {how}")


def _some(items: list[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return "; ".join(items[:3]) + more
