"""The ids of documents as text, for people."""

import polars as pl

from pipeline.statistics.columns import as_text


def shown_id(scores: pl.LazyFrame) -> pl.Expr:
    """`doc_id` of score rows as text; null where the corpus has none.

    Null, too, for what earlier versions took for ids and nothing can show in a line.
    """
    kind = scores.collect_schema().get("doc_id")
    shown = pl.lit(None, pl.String) if kind is None else as_text(pl.col("doc_id"), kind)
    return shown.alias("doc_id")
