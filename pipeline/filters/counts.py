"""How much a selection keeps: overall, of each group, of each file in each output.

Owns the one pass that counts, and what is added for documents that have no score row at all.
"""

from dataclasses import dataclass
from typing import NamedTuple, get_args

import polars as pl

from pipeline.filters.record import GroupMix, Sizes
from pipeline.filters.spelling import BUCKETS
from pipeline.runs.manifest import Manifest
from pipeline.schema import SCORED, Status
from pipeline.statistics.columns import column_named

NO_VALUE = "no_value"
UNSEEN = "unseen"
NO_BUCKET = "none"
SIZES = ("documents", "tokens", "bytes")


class Mix(NamedTuple):
    """What there is and what is kept, of everything and of each group."""

    before: Sizes
    after: Sizes
    groups: pl.DataFrame
    """Columns [by, documents, tokens, bytes] and the same three with `kept_`, the largest group
    first. Documents without a score row are in none."""
    unscored: dict[str, int]
    """Number of documents that no rule could decide, by reason."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What there is and what is kept, by file, status and bucket too."""

    cells: pl.DataFrame
    """Columns [file, by, status, scored, bucket, documents, tokens, bytes] and the last three with
    `kept_`."""
    unseen: dict[str, int]
    """Number of documents without a score row, by file."""
    keep_unseen: bool

    @property
    def before(self) -> Sizes:
        return _sizes(self.cells, sum(self.unseen.values()))

    @property
    def after(self) -> Sizes:
        return _sizes(self.cells, sum(self.unseen.values()) if self.keep_unseen else 0, "kept_")

    @property
    def scored(self) -> tuple[int, int]:
        """Scored documents, and those of them that are kept."""
        rows = self.cells.filter("scored")
        return int(rows["documents"].sum()), int(rows["kept_documents"].sum())

    @property
    def kept_unscored(self) -> int:
        """Documents that are kept without a score."""
        return self.after.documents - self.scored[1]

    @property
    def keeps_everything(self) -> bool:
        """Whether no scored document is dropped, and there is one."""
        scored, kept = self.scored
        return 0 < scored == kept

    @property
    def unscored(self) -> dict[str, int]:
        """Documents that no rule could decide, by reason."""
        found = by_reason(self.cells.lazy(), pl.col("documents").sum())
        unseen = sum(self.unseen.values())
        return found | ({UNSEEN: unseen} if unseen else {})

    def bucket_words(self) -> list[str]:
        """How many documents of each bucket are kept, as a line for people."""
        table = self.cells.drop_nulls("bucket").group_by("bucket")
        kept = dict(table.agg(pl.col("kept_documents").sum()).iter_rows())
        said = [f"{kept[name]:,} {name}" for name in BUCKETS if kept.get(name)]
        return [f"kept documents by bucket: {', '.join(said)}"] if said else []

    def groups(self) -> list[GroupMix]:
        """Every group, the largest first. Documents without a score row are in none."""
        named = [*SIZES, *(f"kept_{name}" for name in SIZES)]
        table = self.cells.group_by("by").agg(column_named(name).sum() for name in named)
        table = _largest_first(table).with_columns(group=pl.col("by").cast(pl.String))
        return [
            GroupMix(
                group=row["group"],
                before=Sizes(**{name: row[name] for name in SIZES}),
                after=Sizes(**{name: row[f"kept_{name}"] for name in SIZES}),
            )
            for row in table.iter_rows(named=True)
        ]

    def kept_by_file(self, buckets: list[str | None] | None = None) -> dict[str, tuple[int, ...]]:
        """Rows of each file that are kept: in all, or in each bucket, in that order.

        Documents without a score row are of the bucket None.
        """
        wanted = buckets or [None]
        kept = {name: [0] * len(wanted) for name in self.unseen}
        if self.keep_unseen:
            for name, rows in self.unseen.items():
                kept[name][wanted.index(None)] += rows
        bucket = pl.col("bucket") if buckets else pl.lit(None, pl.String).alias("bucket")
        table = self.cells.group_by("file", bucket).agg(pl.col("kept_documents").sum())
        for name, label, rows in table.iter_rows():
            if rows:
                kept[name][wanted.index(label)] += rows
        return {name: tuple(rows) for name, rows in kept.items()}


def _largest_first(groups: pl.DataFrame) -> pl.DataFrame:
    return groups.sort(["documents", "by"], descending=[True, False], nulls_last=True)


def add_up(rows: pl.LazyFrame, *, has_groups: bool) -> pl.DataFrame:
    """[by, documents, tokens, bytes] of rows, in one streaming pass; one row without groups."""
    sums = (pl.len().cast(pl.Int64).alias("documents"), pl.col("tokens", "bytes").sum())
    if has_groups:
        return rows.group_by("by").agg(sums).collect(engine="streaming")
    return rows.select(sums).collect(engine="streaming").with_columns(by=pl.lit(None, pl.String))


def by_reason(rows: pl.LazyFrame, documents: pl.Expr) -> dict[str, int]:
    """Of rows [status, scored, ...] those that no rule could decide."""
    is_known = pl.col("status").is_in(SCORED)
    reason = pl.when(is_known).then(pl.lit(NO_VALUE)).otherwise(pl.col("status"))
    found = rows.filter(~pl.col("scored")).group_by(reason=reason).agg(documents)
    return dict(found.sort("reason").collect(engine="streaming").iter_rows())


def mix_of(
    before: pl.DataFrame,
    after: pl.DataFrame,
    unscored: dict[str, int],
    num_unseen: int,
    *,
    keep_unseen: bool,
) -> Mix:
    """Both as `add_up` gives them; `num_unseen` documents have no score row."""
    kept = after.rename({name: f"kept_{name}" for name in SIZES})
    groups = before.join(kept, on="by", how="left", nulls_equal=True).with_columns(
        column_named(f"kept_{name}").fill_null(0) for name in SIZES
    )
    return Mix(
        _sizes(before, num_unseen),
        _sizes(after, num_unseen if keep_unseen else 0),
        _largest_first(groups),
        unscored | ({UNSEEN: num_unseen} if num_unseen else {}),
    )


def _sizes(table: pl.DataFrame, num_unseen: int, prefix: str = "") -> Sizes:
    documents, tokens, size = (int(table[prefix + name].sum()) for name in SIZES)
    return Sizes(documents=documents + num_unseen, tokens=tokens, bytes=size)


def count(
    decided: pl.LazyFrame, manifest: Manifest, *, has_groups: bool, keep_unseen: bool
) -> Counts:
    """One streaming pass over decided rows. Without groups the column `by` is null."""
    files = [file.path for file in manifest.files]
    names = {"file": files, "status": get_args(Status), "bucket": (*BUCKETS, NO_BUCKET)}
    bucket = pl.col("bucket").fill_null(NO_BUCKET)
    # One whole number per row instead of six columns of names: grouping is several times faster.
    code = pl.col("keep").cast(pl.Int64) + 2 * pl.col("scored").cast(pl.Int64)
    size = 4
    for name, known in names.items():
        value = bucket if name == "bucket" else column_named(name)
        code += size * value.cast(pl.Enum(known)).to_physical().cast(pl.Int64)
        size *= len(known)
    keys = ["code", "by"] if has_groups else ["code"]
    coded = (
        decided.select("by", "tokens", "bytes", code=code)
        .group_by(keys)
        .agg(pl.len().cast(pl.Int64).alias("documents"), pl.col("tokens", "bytes").sum())
        .collect(engine="streaming")
    )
    cells = coded if has_groups else coded.with_columns(by=pl.lit(None, pl.String))
    size = 4
    for name, known in names.items():
        positions = cells["code"] // size % len(known)
        cells = cells.with_columns(pl.Series(name, known, pl.String).gather(positions))
        size *= len(known)
    kept = pl.col("code") % 2 == 1
    cells = (
        cells.with_columns(
            pl.col("bucket").replace(NO_BUCKET, None), scored=pl.col("code") // 2 % 2 == 1
        )
        .group_by("file", "by", "status", "scored", "bucket")
        .agg(pl.col(SIZES).sum(), pl.col(SIZES).filter(kept).sum().name.prefix("kept_"))
    )
    seen = dict(cells.group_by("file").agg(pl.col("documents").sum()).iter_rows())
    unseen = {file.path: file.num_rows - seen.get(file.path, 0) for file in manifest.files}
    return Counts(cells, unseen, keep_unseen)
