"""The ids of documents as text, for people.

Owns what is shown of an id that is bytes: its hexadecimal digits. A UUID or a hash is seldom UTF-8.
"""

import polars as pl


def shown_id(scores: pl.LazyFrame) -> pl.Expr:
    """`doc_id` of score rows as text; null where the corpus has none.

    Null, too, for what earlier versions took for ids and nothing can show in a line.
    """
    kind = scores.collect_schema().get("doc_id")
    if kind is None or kind.is_nested() or isinstance(kind, pl.Duration):
        return pl.lit(None, pl.String).alias("doc_id")
    doc_id = pl.col("doc_id")
    return doc_id.bin.encode("hex") if kind == pl.Binary else doc_id.cast(pl.String, strict=False)
