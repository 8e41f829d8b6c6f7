"""A seeded, stratified sample of a corpus, as a corpus of its own.

Owns which rows are drawn and writing them. The same seed draws the same rows of the same files,
whatever the night: each file's rows are written once and left alone until the file or the draw
changes, so that a run can take over what an earlier one scored.

    SAMPLE/<file as in the corpus>     its drawn rows: text, id, carried, source_file, source_row
    SAMPLE/_sample.json                the record, written last
"""

import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from pipeline.config import ScoreConfig
from pipeline.corpus import Columns, Footer, choose_columns, find_files, read_footers
from pipeline.documents import readable
from pipeline.errors import ConfigError, CorpusError, RunError
from pipeline.filesystem import Root
from pipeline.groups import label_expr
from pipeline.sample_estimate import Stratum
from pipeline.sampling import row_hash, uniform

RECORD = "_sample.json"
FOOTER_KEY = b"winnow_sample"
SOURCE_COLUMNS = ("source_file", "source_row")
FEWEST_OF_STRATUM = 2
"""Of one row nobody can tell how much its stratum varies."""
BATCH_ROWS = 1024
ROW_GROUP_BYTES = 64 << 20
Rows = npt.NDArray[np.int64]


class SampleRecord(BaseModel):
    """What was drawn."""

    corpus: str
    by: str | None
    seed: int
    num_rows: int
    """Of the corpus."""
    num_drawn: int
    strata: list[Stratum]
    unreadable: dict[str, str]
    """Files that nothing could be drawn from, and why."""


def draw_sample(
    config: ScoreConfig, target: Root, *, rows: int, by: str | None, seed: int
) -> SampleRecord:
    """Draw `rows` rows of config.corpus and write them below `target`, which holds nothing else.

    With `by`, every value of that column gets its share, and two rows at least. Raises CorpusError
    for a corpus that cannot be used and ConfigError for a sample that cannot be drawn.
    """
    root, found = find_files(config.corpus)
    footers, unreadable = read_footers(root, found, config.text_column)
    columns, _, carried = choose_columns(
        footers, text=config.text_column, id_column=config.id_column, carry=config.carry
    )
    if taken := [name for name in SOURCE_COLUMNS if name in (columns.doc_id, *columns.carried)]:
        raise CorpusError(
            f"the corpus has a column '{taken[0]}', which a sample names its rows by",
            hint="leave it out of carry, or audit every row",
        )
    kind = next((field.type for field in carried if field.name == by), None)
    counts: dict[str | None, int] = {}
    for footer in footers:
        try:
            for value, count in _counted(root, footer, by, kind).items():
                counts[value] = counts.get(value, 0) + count
        except (pa.ArrowException, OSError) as error:
            unreadable[footer.name] = str(error).splitlines()[0]
    footers = [footer for footer in footers if footer.name not in unreadable]
    shares = allocate(counts, rows, by)
    chosen = _choose(root, footers, by, kind, counts, shares, seed)
    drawn: dict[str | None, int] = dict.fromkeys(counts, 0)
    names = set()
    for footer in footers:
        if footer.name not in chosen:
            continue
        own = chosen[footer.name]
        try:
            names.add(_write(root, footer, columns, own["row"].to_numpy(), target))
        except (pa.ArrowException, OSError) as error:
            unreadable[footer.name] = str(error).splitlines()[0]
            continue
        for value, count in own.group_by("stratum").len().iter_rows():
            drawn[value] += count
    for name in target.files(recursive=True).keys() - names - {RECORD}:
        target.remove(name)
    record = SampleRecord(
        corpus=root.location,
        by=by,
        seed=seed,
        num_rows=sum(counts.values()),
        num_drawn=sum(drawn.values()),
        strata=[
            Stratum(value=value, num_rows=counts[value], num_drawn=drawn[value])
            for value in sorted(counts, key=lambda value: value or "")
        ],
        unreadable=unreadable,
    )
    target.write_bytes(RECORD, (record.model_dump_json(indent=1) + "\n").encode())
    return record


def read_sample_record(target: Root) -> SampleRecord:
    """The record of the sample that is there. Raises RunError."""
    try:
        return SampleRecord.model_validate_json(target.read_bytes(RECORD))
    except (FileNotFoundError, ValueError) as error:
        raise RunError(
            f"{target.location}/{RECORD} is missing or damaged",
            hint="remove the unfinished night's folder; the sample is drawn again",
        ) from error


def sampled_config(config: ScoreConfig, target: Root) -> ScoreConfig:
    """The same request over the sample instead of the corpus."""
    carry = config.carry if "*" in config.carry else (*config.carry, *SOURCE_COLUMNS)
    return config.model_copy(update={"corpus": target.location, "carry": carry})


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
            hint=f"at least {needed}, for two rows of each; or another sample_by",
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
        value = None if by is None else "(null)"
        yield _frame(
            footer.name, 0, pl.Series([value], dtype=pl.String).new_from_index(0, num_rows)
        )
        return
    row = 0
    with pq.ParquetFile(root.open_input(footer.name), page_checksum_verification=True) as source:
        for batch in source.iter_batches(batch_size=1 << 16, columns=[by]):
            values = readable(batch.column(0)).cast(kind)
            label = pl.DataFrame({by: pl.from_arrow(values)}).select(label_expr(by)).to_series()
            yield _frame(footer.name, row, label)
            row += len(label)


def _frame(file: str, first: int, stratum: pl.Series) -> pl.DataFrame:
    rows = pl.int_range(first, first + len(stratum), eager=True)
    return pl.DataFrame({"row": rows, "stratum": stratum}).with_columns(pl.lit(file).alias("file"))


def _counted(root: Root, footer: Footer, by: str | None, kind: Any) -> dict[str | None, int]:
    counts: dict[str | None, int] = {}
    for frame in _strata(root, footer, by, kind):
        for value, count in frame.group_by("stratum").len().iter_rows():
            counts[value] = counts.get(value, 0) + count
    return counts


def _choose(
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


def _write(root: Root, footer: Footer, columns: Columns, rows: Rows, target: Root) -> str:
    """Write a file's drawn rows, unless they are there; returns the name below `target`."""
    wanted = [columns.text, *([columns.doc_id] if columns.doc_id else []), *columns.carried]
    present = [name for name in dict.fromkeys(wanted) if name in footer.schema.names]
    info = footer.info
    what = [info.size, info.mtime_ns, present, blake2b(rows.tobytes()).hexdigest()]
    digest = blake2b(json.dumps(what).encode(), digest_size=16).hexdigest().encode()
    ending = "" if footer.name.endswith((".parquet", ".pq")) else ".parquet"
    name = footer.name + ending
    if _digest(target, name) == digest:
        return name
    kept = [footer.schema.field(column) for column in present]
    added = [pa.field("source_file", pa.string()), pa.field("source_row", pa.int64())]
    schema = pa.schema(kept + added, metadata={FOOTER_KEY: digest})
    with (
        pq.ParquetFile(root.open_input(footer.name), page_checksum_verification=True) as source,
        target.writing(name) as sink,
        pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        pending: list[pa.Table] = []
        for taken, own in _taken(source, footer, present, rows):
            sources = [pa.array([footer.name] * len(own)), pa.array(own)]
            pending.append(pa.table([*taken.columns, *sources], schema=schema))
            if sum(table.nbytes for table in pending) >= ROW_GROUP_BYTES:
                writer.write_table(pa.concat_tables(pending))
                pending = []
        if pending:
            writer.write_table(pa.concat_tables(pending))
    return name


def _taken(
    source: pq.ParquetFile, footer: Footer, columns: list[str], rows: Rows
) -> Iterator[tuple[pa.RecordBatch, Rows]]:
    """The drawn rows of a file, and their numbers; row groups without any are not read."""
    first = 0
    for group, (group_rows, _) in enumerate(footer.row_groups):
        if np.searchsorted(rows, first) == np.searchsorted(rows, first + group_rows):
            first += group_rows
            continue
        for batch in source.iter_batches(BATCH_ROWS, [group], columns=columns):
            low, high = np.searchsorted(rows, [first, first + len(batch)])
            if high > low:
                own = rows[low:high]
                yield batch.select(columns).take(pa.array(own - first)), own
            first += len(batch)


def _digest(target: Root, name: str) -> bytes | None:
    try:
        with target.open_input(name) as file:
            metadata = pq.read_metadata(file).metadata or {}
    except (pa.ArrowException, OSError):
        return None
    found: bytes | None = metadata.get(FOOTER_KEY)
    return found
