"""Records as 0.1.0 wrote them, and runs and nights made to look as if it had written them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from pydantic import BaseModel

from pipeline.audits.nights import Latest
from pipeline.audits.record import Audit
from pipeline.audits.sample_draw import SampleRecord
from pipeline.filters.record import FilterPlan, FilterRecord
from pipeline.runs.lock import Holder
from pipeline.runs.manifest import Failure, Manifest, PartFooter, Success
from pipeline.runs.records import Record, parse
from pipeline.verification.verify import Verification

OLD = Path(__file__).parent / "written_by_0_1_0"
"""By 71fab52: a night that took parts over, a sampled one, a verified one, and a filter of it."""
KINDS: dict[str, type[Record]] = {
    "manifest.json": Manifest,
    "footer.json": PartFooter,
    "_SUCCESS": Success,
    "failed-shard.json": Failure,
    "failed-file.json": Failure,
    "verify.json": Verification,
    "audit.json": Audit,
    "audit-sampled.json": Audit,
    "latest.json": Latest,
    "_sample.json": SampleRecord,
    "_filter.json": FilterRecord,
    "_filter_plan.json": FilterPlan,
    "_LOCK": Holder,
}


class Level(NamedTuple):
    """A record, or one inside it."""

    path: tuple[str | int, ...]
    kind: type[BaseModel]


def levels(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[Level]:
    if isinstance(value, BaseModel):
        yield Level(path, type(value))
        for name in value.model_fields_set & type(value).model_fields.keys():
            yield from levels(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from levels(one, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from levels(one, (*path, index))


def at(content: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        content = content[step]
    return content


def _keys_of_old() -> dict[type[BaseModel], set[str]]:
    """Which keys each kind of record had, wherever it stands."""
    found: dict[type[BaseModel], set[str]] = {}
    for name, kind in KINDS.items():
        content = (OLD / name).read_bytes()
        for level in levels(parse(content, kind, name, hint="")):
            found.setdefault(level.kind, set()).update(at(json.loads(content), level.path))
    return found


def aged(content: bytes, kind: type[Record]) -> bytes:
    """A record without the keys that were added since."""
    keys = _keys_of_old()
    old = json.loads(content)
    for level in levels(parse(content, kind, "", hint="")):
        try:
            here = at(old, level.path)
        except KeyError:  # inside of a record that was added since
            continue
        for key in here.keys() - keys.get(level.kind, here.keys()):
            del here[key]
    return json.dumps(old).encode()


def age(folder: Path) -> int:
    """Make every record and part below a folder one of 0.1.0, times kept; how many there were."""
    count = 0
    for path in [path for path in sorted(folder.rglob("*")) if path.is_file()]:
        name = "failed-shard.json" if path.parent.name == "failed" else path.name
        if name in KINDS:
            path.write_bytes(aged(path.read_bytes(), KINDS[name]))
        elif path.parent.name == "scores":
            table = pq.read_table(path)
            footer = aged(pq.read_metadata(path).metadata[b"winnow"], PartFooter)
            path.unlink()  # another run may hold the same file
            with pq.ParquetWriter(
                path, table.schema, compression="zstd", write_page_checksum=True
            ) as part:
                part.write_table(table)
                part.add_key_value_metadata({b"winnow": footer})
        else:
            continue
        count += 1
    return count
