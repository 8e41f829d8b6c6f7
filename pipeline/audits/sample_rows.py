"""Which rows a sample has: how many of each stratum, and which of those.

Owns the allocation and the draw. The same seed draws the same rows of the same files, however the
corpus is read. Writing them is sample_draw.py's.
"""

from collections.abc import Iterator
from typing import Any

import polars as pl

from pipeline.corpus.casting import cast_column
from pipeline.corpus.files import Footer
from pipeline.corpus.reader import open_file
from pipeline.errors import ConfigError
from pipeline.reports.groups import NULL, check_dates, label_expr
from pipeline.statistics.hashing import row_hash, uniform
from pipeline.storage.filesystem import Root

BATCH_ROWS = 1 << 16
FEWEST_OF_STRATUM = 2
"""Smallest number of rows per stratum: a single row does not show how much the stratum varies."""


def allocate(
    counts: dict[str | None, int], rows: int, by: str | None = None
) -> dict[str | None, int]:
    """Rows to draw of each stratum: in proportion, by the largest remainder (Hamilton), none less
    than two where it has two, none more than it has. They add up to `rows`, or to all there are.
    """
    fewest = {value: min(FEWEST_OF_STRATUM, count) for value, count in counts.items()}
    total = sum(counts.values())
    if (needed := sum(fewest.values())) > rows:
        raise ConfigError(
            f"sample_rows = {rows} is too few for the {len(counts):,} values of {by}",
            hint=f"set it to at least {needed}, two rows per value; or choose another sample_by",
        )
    shares = fewest.copy()
    left = min(rows, total) - needed
    # What remains goes by what is not drawn yet; no stratum can be asked for more than it has.
    room = {value: counts[value] - fewest[value] for value in counts}
    pool = sum(room.values())
    if left and pool:
        exact = {value: left * size / pool for value, size in room.items()}
        for value, share in exact.items():
            shares[value] += int(share)
        short = min(rows, total) - sum(shares.values())
        order = sorted(exact, key=lambda value: (int(exact[value]) - exact[value], value or ""))
        for value in order[:short]:
            shares[value] += 1
    return shares


def _strata(root: Root, footer: Footer, by: str | None, kind: Any) -> Iterator[pl.DataFrame]:
    """[file, row, stratum] of a file's rows, in order."""
    num_rows = sum(rows for rows, _ in footer.row_groups)
    if by is None or by not in footer.schema.names:
        value = None if by is None else NULL
        yield _frame(
            footer.name, 0, pl.Series([value], dtype=pl.String).new_from_index(0, num_rows)
        )
        return
    with open_file(root, footer.name, [by]) as source:
        for row, batch in source.batches([by], batch_rows=BATCH_ROWS):
            values = cast_column(batch.column(0), kind)
            own = pl.DataFrame({by: pl.from_arrow(values)})
            check_dates(own.lazy(), [by])
            label = own.select(label_expr(by)).to_series()
            yield _frame(footer.name, row, label)


def _frame(file: str, first: int, stratum: pl.Series) -> pl.DataFrame:
    rows = pl.int_range(first, first + len(stratum), eager=True)
    return pl.DataFrame({"row": rows, "stratum": stratum}).with_columns(pl.lit(file).alias("file"))


def count_strata(root: Root, footer: Footer, by: str | None, kind: Any) -> dict[str | None, int]:
    """Rows of a file by value of the column, whose type over all files is `kind`."""
    counts: dict[str | None, int] = {}
    for frame in _strata(root, footer, by, kind):
        for value, count in frame.group_by("stratum").len().iter_rows():
            counts[value] = counts.get(value, 0) + count
    return counts


def choose_rows(
    root: Root,
    footers: list[Footer],
    by: str | None,
    kind: Any,
    counts: dict[str | None, int],
    shares: dict[str | None, int],
    seed: int,
) -> dict[str, pl.DataFrame]:
    """File to its drawn rows, ascending: of each stratum those with the smallest hashes."""
    # Ten standard deviations above what is wanted: more than enough, and never the whole corpus.
    limits = {
        value: min(1.0, (shares[value] + 10 * (shares[value] ** 0.5 + 1)) / count)
        for value, count in counts.items()
        if count
    }
    limit = pl.DataFrame(
        {
            "stratum": list(limits),
            "limit": list(limits.values()),
            "share": [shares[v] for v in limits],
        },
        schema={"stratum": pl.String, "limit": pl.Float64, "share": pl.Int64},
    )
    kept = []
    for footer in footers:
        for frame in _strata(root, footer, by, kind):
            hashed = frame.with_columns(row_hash(seed, "audit sample").alias("hash"))
            near = hashed.join(limit, on="stratum", nulls_equal=True)
            kept.append(near.filter(uniform(pl.col("hash")) < pl.col("limit")))
    if not kept:
        return {}
    candidates = pl.concat(kept).sort("hash", "file", "row")
    drawn = candidates.filter(pl.int_range(pl.len()).over("stratum") < pl.col("share"))
    columns = drawn.sort("file", "row").select("file", "row", "stratum")
    return {str(key[0]): own for key, own in columns.partition_by("file", as_dict=True).items()}
