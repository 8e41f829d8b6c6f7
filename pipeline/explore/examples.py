"""Documents that show what a rule does: nearest to an edge on either side, and drawn at random.

Owns choosing them, in one pass over few columns, and reading their texts back.
"""

from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from pipeline.errors import ConfigError
from pipeline.explore.rule import Decision, Narrowing, columns_read
from pipeline.explore.run import PLACE, ExploredRun
from pipeline.filters.paired_rows import PAIRED
from pipeline.reports.document_text import read_text
from pipeline.reports.excerpts import read_excerpts
from pipeline.reports.groups import group_code, label_expr
from pipeline.runs.ids import shown_id
from pipeline.schema import SCORED
from pipeline.statistics.columns import column_named
from pipeline.statistics.hashing import row_hash

Place = Literal["low", "high", "random"]
MOST = 10
"""Number of documents on each side of the cut."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Documents on both sides of a rule; the nearest to the edge first, or in the order of chance.

    Each is its locator, id, group, values and an excerpt, or the reason why there is none.
    """

    kept: list[dict[str, Any]]
    removed: list[dict[str, Any]]


def find_examples(
    run: ExploredRun,
    decision: Decision,
    place: Place,
    *,
    groups: tuple[str, ...] = (),
    group: int | None = None,
    seed: int = 0,
) -> Examples:
    """Up to MOST on each side, of all documents or of one of the bins' groups.

    Without anything cut off, those at the end of the distribution are the kept ones.
    """
    asked, rows = decision.asked, run.rows()
    narrowing = Narrowing.of(run, asked.where)
    value = column_named(asked.metric).cast(pl.Float64).fill_nan(None)
    scored = rows.filter(pl.col("status").is_in(SCORED) & value.is_not_null())
    name = None
    if group is not None and asked.by is not None:
        name = groups[group]
        scored = scored.filter(group_code(asked.by, groups) == group)
    if narrowing is not None:
        scored = scored.filter(narrowing.holds)
    low, high = decision.edge("low", name), decision.edge("high", name)
    below = pl.lit(False) if low is None else value < low
    above = pl.lit(False) if high is None else value > high
    inside, chance = scored.filter(~(below | above)), row_hash(seed, "explore")
    if place == "low":
        order = value if low is None else value - low
        pair = [_first(inside, order), _first(scored.filter(below), -order)]
    elif place == "high":
        order = value if high is None else value - high
        pair = [_first(inside, -order), _first(scored.filter(above), order)]
    else:
        pair = [_first(inside, chance), _first(scored.filter(below | above), chance)]
    chosen = pl.collect_all(pair, engine="streaming")  # one pass for both
    told = _described(run, decision, pl.concat(chosen))
    # The rule itself has the last word on each.
    kept, removed = ([told[at] for at in one.iter_rows()] for one in chosen)
    return Examples(
        [one for one in kept if one["keep"]], [one for one in removed if not one["keep"]]
    )


def _first(rows: pl.LazyFrame, order: pl.Expr) -> pl.LazyFrame:
    slim = rows.select(*PLACE, order=order)
    return slim.bottom_k(MOST, by=["order", "row"]).sort("order", "row", "file").select(PLACE)


def _described(
    run: ExploredRun, decision: Decision, chosen: pl.DataFrame
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """By locator: what a page shows of a document, and what the rule decides."""
    asked, there = decision.asked, run.rows().collect_schema()
    wanted = dict.fromkeys([*columns_read(run, asked), "doc_id"])
    read = [column_named(name) for name in wanted if name in there]
    near = run.at(chosen.unique(), PLACE).select(read).collect(engine="streaming")
    shown = near.select(
        *PLACE,
        shown_id(near.lazy()),
        "num_tokens",
        "num_bytes",
        "text_hash",
        value=column_named(asked.metric).cast(pl.Float64),
        group=pl.lit(None, pl.String) if asked.by is None else label_expr(asked.by),
    )
    found = shown.hstack(decision.kept(near.lazy()).collect())
    excerpts: dict[tuple[str, int], dict[str, Any]] = {}
    if run.corpus is not None:
        excerpts = read_excerpts(run.corpus, run.manifest.text_column, found)
    described = {}
    for row in found.iter_rows(named=True):
        at = (row["file"], row["row"])
        described[at] = {**row, **excerpts.get(at, {"excerpt": None, "missing": None})}
    return described


@dataclass(frozen=True, slots=True)
class Whole:
    """One document: its scores, and its text or the reason why there is none."""

    scores: dict[str, Any]
    text: str | None
    missing: str | None
    row: dict[str, Any]
    """The whole score row, for `read_tokens`."""


def _as_it_is(value: Any) -> Any:
    """What the corpus has in a column: its numbers may be years, which no comma belongs in."""
    return value if value is None or isinstance(value, bool | str) else str(value)


def read_document(run: ExploredRun, file: str, row: int) -> Whole:
    """Raises ConfigError where the run has no such document."""
    rows = run.parts.scan()
    found = rows.filter(pl.col("file") == file, pl.col("row") == row).head(1)
    table = found.with_columns(shown_id(rows)).collect(engine="streaming")
    if not table.height:
        raise ConfigError(f"the run has no document {row} of {file}")
    own = table.row(0, named=True)
    text, missing = None, run.corpus_fault
    if run.corpus is not None:
        text, missing = read_text(run.corpus, run.manifest, file, row, own["text_hash"])
    carried = [name for name in run.manifest.carried if name != run.manifest.text_column]
    shown = ["status", "doc_id", *run.metrics, *carried]
    scores = {
        name: _as_it_is(value) if name in carried else value
        for name, value in own.items()
        if name in shown
    }
    if run.other is not None and run.prepared.own_metrics:
        beside = run.other.parts.scan().filter(pl.col("file") == file, pl.col("row") == row)
        value = beside.select(PAIRED).head(1).collect(engine="streaming").item()
        scores[f"{PAIRED} in {run.other.store.location}"] = value
    return Whole(scores, text, missing, own)
