"""A seeded, stratified sample of a corpus, as a corpus of its own.

Owns writing the rows that sample_rows.py draws. Each file's rows are written once and left alone
until the file or the draw changes, so that a night can take over what an earlier one scored.

    SAMPLE/<file as in the corpus>     its drawn rows: text, id, carried, source_file, source_row
    SAMPLE/_sample.json                the record, written last
"""

import json
from hashlib import blake2b

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audits.sample_rows import allocate, choose_rows, count_strata
from pipeline.corpus.casting import cast_column
from pipeline.corpus.columns import Columns, choose_columns, plain_type
from pipeline.corpus.files import Footer, read_footers
from pipeline.corpus.footers import read_footer
from pipeline.corpus.patterns import is_parquet
from pipeline.corpus.reader import Rows, open_file
from pipeline.corpus.several import find_corpus
from pipeline.errors import CorpusError, RunError, UnreadableFileError, first_line
from pipeline.runs.records import load, save
from pipeline.runs.sample import HINT, SAMPLE, Draw, Stratum
from pipeline.runs.store import RunStore
from pipeline.settings.config import ScoreConfig
from pipeline.storage.filesystem import Root

RECORD = "_sample.json"
FOOTER_KEY = b"winnow_sample"
SOURCE_COLUMNS = ("source_file", "source_row")
BATCH_ROWS = 1024
ROW_GROUP_BYTES = 64 << 20
UNREADABLE = (UnreadableFileError, pa.ArrowException, OSError)


class SampleRecord(Draw):
    """What was drawn, and of what."""

    corpus: str
    unreadable: dict[str, str]
    """Files from which no row could be drawn, each with the reason."""


def draw_sample(
    config: ScoreConfig, target: Root, *, rows: int, by: str | None, seed: int
) -> SampleRecord:
    """Draw `rows` rows of config.corpus and write them below `target`, which holds nothing else.

    With `by`, every value of that column gets its share, and two rows at least. Raises CorpusError
    for a corpus that cannot be used and ConfigError for a sample that cannot be drawn.
    """
    root, found = find_corpus(config.corpus)
    footers, unreadable = read_footers(root, found, config.text_column)
    columns, id_type, carried = choose_columns(
        footers, text=config.text_column, id_column=config.id_column, carry=config.carry
    )
    if taken := [name for name in SOURCE_COLUMNS if name in (columns.doc_id, *columns.carried)]:
        raise CorpusError(
            f"the corpus has a column '{taken[0]}', a name that is reserved for sampling",
            hint="leave the column out of carry, or audit every row",
        )
    types = {field.name: field.type for field in carried}
    kind = types.get(by) if by else None
    if columns.doc_id is not None:
        types[columns.doc_id] = id_type
    types.pop(columns.text, None)  # as it is, whatever its bytes
    counts: dict[str | None, int] = {}
    for footer in footers:
        try:
            for value, count in count_strata(root, footer, by, kind).items():
                counts[value] = counts.get(value, 0) + count
        except UNREADABLE as error:
            unreadable[footer.name] = first_line(error)
    footers = [footer for footer in footers if footer.name not in unreadable]
    shares = allocate(counts, rows, by)
    chosen = choose_rows(root, footers, by, kind, counts, shares, seed)
    drawn: dict[str | None, int] = dict.fromkeys(counts, 0)
    names = set()
    for footer in footers:
        if footer.name not in chosen:
            continue
        own = chosen[footer.name]
        try:
            names.add(_write(root, footer, columns, types, own["row"].to_numpy(), target))
        except UNREADABLE as error:
            unreadable[footer.name] = first_line(error)
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
    save(target, RECORD, record)
    return record


def read_sample_record(target: Root) -> SampleRecord:
    """The record of the sample that is there. Raises RunError."""
    hint = "remove the folder of this unfinished night and audit again: a new sample is drawn"
    record = load(target, RECORD, SampleRecord, hint=hint)
    if record is None:
        raise RunError(f"{target.show(RECORD)} is missing", hint=hint)
    return record


class _Kept(Draw):
    """`RUN/sample.json`; earlier versions kept less."""

    corpus: str | None = None
    unreadable: dict[str, str] | None = None


def sample_of_night(store: RunStore, target: Root) -> SampleRecord:
    """The sample that a night has scored: a later night may have drawn another one since.

    Raises RunError.
    """
    own = load(store.root, SAMPLE, _Kept, hint=HINT)
    if own is not None and own.corpus is not None:
        return SampleRecord(**own.model_dump())
    last = read_sample_record(target)
    if own is not None and own.strata != last.strata:
        raise RunError(
            f"the sample in {target.location} belongs to another night",
            hint=f"remove {store.location}, and a new sample is drawn for this night",
        )
    return last


def sampled_config(config: ScoreConfig, target: Root) -> ScoreConfig:
    """The same request over the sample instead of the corpus."""
    carry = config.carry if "*" in config.carry else (*config.carry, *SOURCE_COLUMNS)
    return config.model_copy(update={"corpus": (target.location,), "carry": carry})


def _write(
    root: Root,
    footer: Footer,
    columns: Columns,
    types: dict[str, pa.DataType],
    rows: Rows,
    target: Root,
) -> str:
    """Write a file's drawn rows, unless they are there; returns the name below `target`.

    Carried columns get the types that they have over all files, whichever files are drawn from:
    a group's name depends on its type.
    """
    wanted = [columns.text, *([columns.doc_id] if columns.doc_id else []), *columns.carried]
    present = [name for name in dict.fromkeys(wanted) if name in footer.schema.names]
    info = footer.info
    kinds = [str(types.get(column)) for column in present]
    drawn = blake2b(rows.tobytes()).hexdigest()
    what = [info.size, info.mtime_ns, footer.digest, present, kinds, drawn]
    digest = blake2b(json.dumps(what).encode(), digest_size=16).hexdigest().encode()
    ending = "" if is_parquet(footer.name) else ".parquet"
    name = footer.name + ending
    # Without a time from the store, the file may have changed.
    if info.mtime_ns and _digest(target, name) == digest:
        return name
    kept = [
        field.with_type(types.get(field.name, plain_type(field.type)))
        for field in (footer.schema.field(column) for column in present)
    ]
    added = [pa.field("source_file", pa.string()), pa.field("source_row", pa.int64())]
    schema = pa.schema(kept + added, metadata={FOOTER_KEY: digest})
    with (
        open_file(root, footer.name, present) as source,
        target.writing(name) as sink,
        pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        pending: list[pa.Table] = []
        for own, taken in source.rows_at(rows, present, batch_rows=BATCH_ROWS):
            sources = [pa.array([footer.name] * len(own)), pa.array(own)]
            own_columns = [
                cast_column(column, field.type) if field.name in types else column
                for column, field in zip(taken.columns, kept, strict=True)
            ]
            pending.append(pa.table([*own_columns, *sources], schema=schema))
            if sum(table.nbytes for table in pending) >= ROW_GROUP_BYTES:
                writer.write_table(pa.concat_tables(pending))
                pending = []
        if pending:
            writer.write_table(pa.concat_tables(pending))
    return name


def _digest(target: Root, name: str) -> bytes | None:
    try:
        metadata, _, _ = read_footer(target, name)
    except (pa.ArrowException, OSError):
        return None
    found: bytes | None = (metadata.metadata or {}).get(FOOTER_KEY)
    return found
