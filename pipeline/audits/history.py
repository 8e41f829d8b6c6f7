"""Every night's figures as one table: `RUNS/history.parquet`.

Owns its columns and that a night has its rows once. The verdicts themselves are the truth: nights
that a table lacks, all of them if it is missing or damaged, are added from them.
"""

import io
import logging
from datetime import date

import polars as pl

from pipeline.audits.nights import HISTORY, Nights
from pipeline.audits.record import Audit, Part
from pipeline.errors import RunError, first_line
from pipeline.reports.figures import RATIO_FIGURES

log = logging.getLogger(__name__)

MOST_GROUPS = 50
"""Number of groups of a column that have a row: the largest ones."""
ENDS = [
    f"{name}_{end}"
    for name, (_, kind) in RATIO_FIGURES.items()
    if kind == "micro"
    for end in ("low", "high")
]
"""Columns with the ends of 95% intervals; only nights that scored a sample have them."""
SCHEMA = pl.Schema(
    {
        "night": pl.Date(),
        "verdict": pl.String(),
        "by": pl.String(),  # null: the whole corpus
        "group": pl.String(),
        "estimated": pl.Boolean(),  # from a sample; null: a night of Winnow 0.1.0
        "num_documents": pl.Int64(),
        "num_scored": pl.Int64(),
        "num_tokens": pl.Int64(),
        "num_bytes": pl.Int64(),
        **dict.fromkeys(RATIO_FIGURES, pl.Float64()),
        **dict.fromkeys(ENDS, pl.Float64()),
        "p5": pl.Float64(),
        "p50": pl.Float64(),
        "p95": pl.Float64(),
        "error_share": pl.Float64(),
        "baseline": pl.String(),
        "reasons": pl.List(pl.String()),
        "run": pl.String(),
        "run_id": pl.String(),
        "model": pl.String(),
    }
)


def rows_of(record: Audit) -> pl.DataFrame:
    """A night's rows: the whole, then the groups."""
    night = {
        "night": record.night,
        "verdict": record.verdict,
        "estimated": record.sample is not None,
        "baseline": record.baseline.run if record.baseline else None,
        "run": record.run,
        "run_id": record.run_id,
        "model": record.model,
    }
    whole = _row(record.overall) | {"reasons": record.reasons}
    for name, estimate in (record.sample.estimates if record.sample else {}).items():
        if estimate is not None and estimate.interval is not None:
            whole |= {f"{name}_low": estimate.interval.low, f"{name}_high": estimate.interval.high}
    rows = [night | whole]
    for column, groups in record.groups.items():
        for group, part in list(groups.items())[:MOST_GROUPS]:
            rows.append(night | _row(part) | {"by": column, "group": group})
    types = SCHEMA | {"night": pl.String()}
    frame = pl.DataFrame([dict.fromkeys(SCHEMA) | row for row in rows], schema=types)
    return frame.with_columns(pl.col("night").str.to_date())


def _row(part: Part) -> dict[str, object]:
    names = ("num_documents", "num_scored", "num_tokens", "num_bytes")
    values = (*names, *RATIO_FIGURES, "p5", "p50", "p95")
    row: dict[str, object] = {name: part.value(name) for name in values}
    return row | {"error_share": part.value("error")}


def update_history(nights: Nights, record: Audit) -> pl.DataFrame:
    """Put a night's rows into the table, in place of its own; returns the table, by night."""
    own = rows_of(record)
    # Old nights may be deleted and keep their rows; one later than all that are there is a mistake.
    newest = date.fromisoformat(max([*nights.names(), record.night]))
    night = pl.col("night")
    others = _read(nights).filter(night != own["night"][0], night <= newest)
    known = {*others["night"].dt.to_string(), record.night}
    lacking = [rows_of(one) for one in nights.records(without=known)]
    table = pl.concat([others, own, *lacking]).sort("night", maintain_order=True)
    content = io.BytesIO()
    table.write_parquet(content)
    nights.root.write_bytes(HISTORY, content.getvalue())
    return table


def _read(nights: Nights) -> pl.DataFrame:
    try:
        table = pl.read_parquet(nights.root.read_bytes(HISTORY))
        table = table.match_to_schema(SCHEMA, missing_columns="insert", extra_columns="ignore")
        return table.drop_nulls("night")
    except FileNotFoundError:
        pass
    except IsADirectoryError as error:  # which no file can take the place of
        raise RunError(
            f"{nights.root.show(HISTORY)} is {error.strerror}",
            hint="move it away and run the same command again: the history is made from the nights",
        ) from None
    except pl.exceptions.PolarsError as error:
        reason = first_line(error)
        log.warning(
            "rebuilding %s/%s, which cannot be read: %s", nights.root.location, HISTORY, reason
        )
    return SCHEMA.to_frame()
