"""What a person said of documents, kept beside the run.

Owns the file. A judgement is of one text: file, row and the text's hash name it, so that it is not
taken for one of another text that stands there later. It says how the document was come by, too:
the band, its size and the place in the band's random order, or none of them where a person chose
it. The file is whole or not there, and on disk before `put` returns.
"""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import polars as pl
import pyarrow.parquet as pq

from pipeline.errors import ConfigError, WinnowError, named
from pipeline.storage.filesystem import Root, open_root
from pipeline.storage.locations import split_file

NAME = "judgements.parquet"


class Key(NamedTuple):
    """A document's text."""

    file: str
    row: int
    text_hash: int


class Judgement(NamedTuple):
    """What was said, and how the document was come by."""

    is_good: bool | None
    """None if the person could not say."""
    bands: str | None = None
    """Identity of the bands that the document was drawn from; None if a person chose it."""
    metric: str | None = None
    band: int | None = None
    band_documents: int | None = None
    draw: int | None = None
    """Place of the document in its band's random order, from 1; so many of `band_documents` had
    been drawn by then."""
    judged_at: datetime | None = None


SCHEMA = {
    "file": pl.String(),
    "row": pl.Int64(),
    "text_hash": pl.Int64(),
    "is_good": pl.Boolean(),
    "bands": pl.String(),
    "metric": pl.String(),
    "band": pl.Int64(),
    "band_documents": pl.Int64(),
    "draw": pl.Int64(),
    "judged_at": pl.Datetime("us", "UTC"),
}
NUM_KEYS = len(Key._fields)


class Judgements:
    """All judgements of a file, by the text they are of."""

    def __init__(self, root: Root, name: str = NAME) -> None:
        """Raises ConfigError where there is a file that has no judgements."""
        self._root, self._name = root, name
        self._found = self._read()

    @classmethod
    def at(cls, location: str) -> "Judgements":
        """Those of a file that is named."""
        folder, name = split_file(location)
        if not name:
            raise ConfigError(f"{named('judgements')} {location!r} is a folder, not a file")
        return cls(open_root(folder), name)

    @property
    def location(self) -> str:
        return self._root.show(self._name)

    @property
    def is_there(self) -> bool:
        """Whether there is a file, though it may be empty."""
        return self._root.exists(self._name)

    def get(self, key: Key) -> Judgement | None:
        return self._found.get(key)

    def __len__(self) -> int:
        return len(self._found)

    def items(self) -> Iterator[tuple[Key, Judgement]]:
        yield from self._found.items()

    def put(self, key: Key, judgement: Judgement | None) -> None:
        """Replace what is said of a text, or take it back. Raises ConfigError, and keeps all as it
        was, where that cannot be saved."""
        found = self._read()  # somebody else may have judged meanwhile
        found.pop(key, None)
        if judgement is not None:
            found[key] = judgement._replace(judged_at=judgement.judged_at or datetime.now(UTC))
        rows = [(*one, *said) for one, said in found.items()]
        content = io.BytesIO()
        table = pl.DataFrame(rows, schema=SCHEMA, orient="row").to_arrow()
        pq.write_table(table, content, write_page_checksum=True)
        try:
            self._root.write_bytes(self._name, content.getvalue())
        except (OSError, WinnowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ConfigError(
                f"the judgement is not saved: {self.location} cannot be written: {why}",
                hint=f"start winnow explore with {named('judgements')} FILE, a file that you can "
                "write",
            ) from None
        self._found = found

    def _read(self) -> dict[Key, Judgement]:
        try:
            content = self._root.read_bytes(self._name)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from None
        try:
            file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
            table = pl.DataFrame(file.read())
        except Exception:  # Arrow's kinds for a damaged file are many
            raise self._unusable("it is damaged, or no Parquet") from None
        if dict(table.schema) != SCHEMA:
            raise self._unusable("it has other columns")
        rows = table.iter_rows()
        return {Key(*row[:NUM_KEYS]): Judgement(*row[NUM_KEYS:]) for row in rows}

    def _unusable(self, why: str) -> ConfigError:
        return ConfigError(
            f"cannot read judgements of {self.location}: {why}",
            hint=f"move it away, or name another file by {named('judgements')}",
        )
