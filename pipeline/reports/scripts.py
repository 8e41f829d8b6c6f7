"""A guess at what documents are written in, where no column says so: by the letters of a sample.

Owns which rows are looked at, a few from the beginnings of row groups all over the corpus, so that
no page is read for nothing, and the guess. It tells Thai from Greek, not Finnish from Swahili. A
text counts only if it is the one that was scored; a corpus that is not there is no mistake here.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.corpus.identity import check_texts
from pipeline.corpus.reader import documents_of_column, open_file
from pipeline.errors import WinnowError
from pipeline.reports.sorting import LANGUAGES, Factor, factor, moments_query
from pipeline.runs.scores import Parts
from pipeline.storage.filesystem import Root

SAMPLE_ROWS = 4096
MOST_PLACES = 64
"""Number of row groups from which rows are read."""
MOST_CHARACTERS = 500
"""Number of characters that are read from the beginning of a text."""
NO_LETTERS = "no letters"
KANA = "Kana"
NAMES = {"Cjk": "Han", "Hiragana": KANA, "Katakana": KANA}
"""Names of scripts that differ from those in Unicode's letter names."""
LEAST_KANA = 0.1
"""Smallest share of kana among the letters of a Japanese text; most letters may be Han."""


def script_factor(parts: Parts, root: Root) -> Factor | None:
    """What scripts say of the scores; None where a column names the language, or there is one
    script."""
    if LANGUAGES & {name.casefold() for name in parts.manifest.carried}:
        return None
    looked_at = _sample(parts, root)
    if looked_at.n_unique("script") < 2:
        return None
    moments = moments_query(looked_at.lazy(), pl.col("script")).collect()
    return factor("script", "script", moments, str)


def script_of(text: str) -> str:
    """The script of most letters at the beginning of a text."""
    counts = Counter(_script(letter) for letter in text[:MOST_CHARACTERS] if letter.isalpha())
    if not counts:
        return NO_LETTERS
    if counts[KANA] >= LEAST_KANA * counts.total():
        return KANA
    return max(counts.items(), key=lambda one: (one[1], one[0]))[0]


@lru_cache(1 << 16)
def _script(letter: str) -> str:
    """As Unicode's name of the letter begins: LATIN SMALL LETTER A."""
    first = unicodedata.name(letter, "unnamed").split()[0].split("-")[0].title()
    return NAMES.get(first, first)


def _sample(parts: Parts, root: Root) -> pl.DataFrame:
    """[nll, num_tokens, script] of the rows that are looked at."""
    shards = [shard for shard in parts.manifest.shards if shard.id in parts.found]
    spans = [(shard.id, span) for shard in shards for span in shard.spans]
    chosen = [spans[i] for i in _spread(len(spans), MOST_PLACES)]
    frames = [pl.DataFrame(schema={"nll": pl.Float64, "num_tokens": pl.Int64, "script": pl.String})]
    for shard, span in chosen:
        places = _spread(len(span.row_groups), max(1, MOST_PLACES // len(chosen)))
        groups = [span.row_groups[i] for i in places]
        num_rows = -(-SAMPLE_ROWS // (len(chosen) * len(groups)))
        try:
            frames += _beginnings(parts, root, shard, span.file, groups, num_rows)
        except (WinnowError, OSError, pa.ArrowException):
            continue  # a sample without it is a sample still
    return pl.concat(frames)


def _spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, evenly spread."""
    return [int(i) for i in np.linspace(0, count, min(count, most), endpoint=False)]


def _beginnings(
    parts: Parts, root: Root, shard: int, file: int, groups: list[int], num_rows: int
) -> Iterator[pl.DataFrame]:
    """The first rows of some row groups of a file, as far as the shard has them."""
    name, column = parts.manifest.files[file].path, parts.manifest.text_column
    own = parts.scan([shard]).filter(pl.col("file") == name)
    with open_file(root, name, [column]) as source:
        for group in groups:
            for first, batch in islice(source.batches([column], [group], batch_rows=num_rows), 1):
                inside = pl.col("row").is_between(first, first + len(batch) - 1)
                scored = own.filter(inside).sort("row")
                rows = scored.select("nll", "num_tokens", "text_hash").collect()
                texts = batch.column(0).slice(0, rows.height)
                check_texts(name, first, texts, pa.array(rows["text_hash"].to_list(), pa.int64()))
                documents = documents_of_column(pa.chunked_array([texts]))
                scripts = [script_of(one.text or "") for one in documents]
                script = pl.Series(scripts, dtype=pl.String)
                yield rows.select("nll", "num_tokens", script=script)
