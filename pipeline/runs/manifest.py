"""What a run directory says about itself: the frozen plan, the fingerprint, the totals.

Owns what the records of a run say, and comparing one run's fingerprint with another's. Reading and
writing records is records.py's, where they lie is store.py's; making a plan is planning/'s.
"""

import base64
import bisect
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated

import pyarrow as pa
from pydantic import ConfigDict, Field, FiniteFloat, SerializeAsAny, ValidationInfo, field_validator

from pipeline.corpus.columns import Columns
from pipeline.engine.backends import FIRST_KIND, rules_of_kind
from pipeline.engine.protocol import ScoringPath
from pipeline.engine.rules import ModelRecord, ScoringRules
from pipeline.runs.records import Count, Record, by_kind, form_version, on_one_line
from pipeline.schema import Shard, ShardTask

DIGEST = re.compile(r"[0-9a-f]{64}")
MOST_NAMED = 20
"""Number of list items that a message about two differing runs names."""
Value = str | int | float | bool | None | list[str]
FORM_VERSION = 2
"""Format of the manifest, the footers and `_SUCCESS`; no release has written an older one."""
FormVersion = Annotated[int, form_version(FORM_VERSION, oldest=2)]


class PlannedFile(Record):
    """A corpus file as it was when the run was planned."""

    path: str
    """Path relative to the corpus root."""
    size_bytes: Count
    mtime_ns: int
    num_rows: Count
    footer_digest: str | None = None
    """Digest of the Parquet footer's bytes; None in a run that 0.1.0 planned."""


Rules = Annotated[SerializeAsAny[ScoringRules], by_kind(rules_of_kind, first=FIRST_KIND)]
"""Scoring rules of any kind of scorer, with all fields of that kind."""


class Reuse(Record):
    """Parts reused from another run."""

    run: str
    """Location of the run that parts are reused from."""
    run_id: str
    shards: dict[Count, Count]
    """Maps this run's shard numbers to those of the reused run."""
    reason: str = ""
    """Why some rows are not reused; empty if all are, or in a run planned by an earlier version."""


class Manifest(Record):
    """`RUN/manifest.json`: the plan, frozen, so that a resume cannot cut the shards differently."""

    schema_version: FormVersion = FORM_VERSION
    run_id: str
    created_at: str
    """Time of planning, ISO 8601, UTC."""
    corpus: str
    """The corpus root; file paths are relative to it."""
    text_column: str
    id_column: str | None
    carried: tuple[str, ...]
    part_schema: str
    """The columns of a part, as a base64 Arrow IPC schema: types exactly as they were."""
    model: ModelRecord
    rules: Rules
    scoring: ScoringPath | None
    """How the engine computes log-probabilities, if it has a choice; scores are the same within the
    noise of the dtype."""
    fingerprint: dict[str, Value]
    """Everything that a score depends on."""
    request: dict[str, Value]
    """Settings that decide which rows and columns the run has, without changing a score."""
    versions: dict[str, str]
    num_rows: Count
    text_bytes: Count
    estimated_tokens: Count | None = None
    """Tokens to score, as estimated from a sample of the corpus; see planning/estimate.py."""
    unreadable: dict[str, str]
    """Corpus files that could not be read, each with the reason."""
    reuse: Reuse | None
    files: tuple[PlannedFile, ...]
    shards: tuple[Shard, ...]

    @field_validator("part_schema")
    @classmethod
    def _is_schema(cls, text: str) -> str:
        try:
            decode_schema(text)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ValueError("is not an Arrow schema") from error
        return text

    @field_validator("shards")
    @classmethod
    def _are_of_files(cls, shards: tuple[Shard, ...], info: ValidationInfo) -> tuple[Shard, ...]:
        num_files = len(info.data.get("files", ()))
        for index, shard in enumerate(shards):
            files = {span.file for span in shard.spans}
            if shard.id != index or not files or min(files) < 0 or max(files) >= num_files:
                raise ValueError(f"shard {index} refers to files that are not listed")
        return shards

    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of this run's parts."""
        return decode_schema(self.part_schema)

    @property
    def columns(self) -> Columns:
        """Which input columns the run reads."""
        return Columns(self.text_column, self.id_column, self.carried)

    def without_plan(self) -> "Manifest":
        """The same but for the files and shards: small, whatever the corpus."""
        return self.model_copy(update={"files": (), "shards": (), "unreadable": {}, "reuse": None})

    def task(self, shard: int) -> ShardTask:
        """One shard of the plan, by itself."""
        planned = self.shards[shard]
        spans = tuple(span._replace(file=i) for i, span in enumerate(planned.spans))
        files = tuple(self.files[span.file].path for span in planned.spans)
        return ShardTask(planned._replace(spans=spans), files)

    def rows_at(self, shard: int, positions: Iterable[int]) -> Iterator[tuple[str, int]]:
        """(file, row) of the documents at these positions of a shard."""
        spans = self.shards[shard].spans
        begins = list(itertools.accumulate((span.num_rows for span in spans), initial=0))
        for position in positions:
            at = bisect.bisect_right(begins, position) - 1
            span = spans[at]
            yield self.files[span.file].path, span.first_row + position - begins[at]

    def to_json(self) -> str:
        """One line per key: short to read, small to write, whatever the number of shards."""
        fields = self.model_dump(mode="json").items()
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in fields]
        return "{\n" + ",\n".join(lines) + "\n}\n"


def encode_schema(schema: pa.Schema) -> str:
    """An Arrow schema as base64 text."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def decode_schema(text: str) -> pa.Schema:
    """The schema that was encoded; of anything else an error of pyarrow's or a ValueError."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def differences(old: dict[str, Value], new: dict[str, Value]) -> list[str]:
    """`key was -> is` for each key that differs."""
    return [
        on_one_line(f"{key} {_short(old.get(key))} -> {_short(new.get(key))}")
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def _short(value: Value) -> str:
    if value is None:
        return "not set"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, list):
        more = f" and {len(value) - MOST_NAMED} more" if len(value) > MOST_NAMED else ""
        # Two names, or one with a comma in it.
        shown = (f'"{one}"' if "," in str(one) else str(one) for one in value[:MOST_NAMED])
        text = ",".join(shown) + more
    return text[:12] + "…" if DIGEST.fullmatch(text) else text or "(none)"


class Failure(Record):
    """`RUN/failed/<name>.json`: why a shard or a file of the corpus was given up, for people."""

    model_config = ConfigDict(extra="allow")

    shard: Count | None = None
    file: str | None = None
    reason: str

    def to_json(self) -> str:
        return self.model_dump_json(indent=2, exclude_unset=True) + "\n"


class Totals(Record):
    """Sums over score rows; of a part in its footer, of a run in `_SUCCESS`."""

    num_rows: Count = 0
    num_tokens: Count = 0
    num_skipped_tokens: Count = 0
    num_bytes: Count = 0
    num_windows: Count = 0
    nll: FiniteFloat = 0.0
    num_rows_copied: Count = 0
    """Rows that took the score of an equal text in the shard; the other sums include them."""
    num_tokens_copied: Count = 0
    """Scored tokens of the copied rows."""
    statuses: dict[str, Count] = Field(default_factory=dict)
    seconds: FiniteFloat = 0.0
    """Worker time spent on the shards, summed over workers."""
    flops: FiniteFloat = 0.0
    """Floating-point operations that the model needed; 0 where they are not counted."""
    peak_flops: FiniteFloat = 0.0
    """What the devices could have done in that time, at their peak."""

    @property
    def num_tokens_computed(self) -> int:
        """Scored tokens that an engine computed."""
        return self.num_tokens - self.num_tokens_copied

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilization: of the devices' peak, what the model needed of it."""
        return self.flops / self.peak_flops if self.peak_flops > 0 else None


def add_totals(parts: Iterable[Totals]) -> Totals:
    """The sum. `nll` is added exactly, so the order of parts cannot matter."""
    parts = list(parts)
    statuses: Counter[str] = Counter()
    for part in parts:
        statuses.update(part.statuses)
    return Totals(
        num_rows=sum(part.num_rows for part in parts),
        num_tokens=sum(part.num_tokens for part in parts),
        num_skipped_tokens=sum(part.num_skipped_tokens for part in parts),
        num_bytes=sum(part.num_bytes for part in parts),
        num_windows=sum(part.num_windows for part in parts),
        nll=math.fsum(part.nll for part in parts),
        num_rows_copied=sum(part.num_rows_copied for part in parts),
        num_tokens_copied=sum(part.num_tokens_copied for part in parts),
        statuses=dict(sorted(statuses.items())),
        seconds=math.fsum(part.seconds for part in parts),
        flops=math.fsum(part.flops for part in parts),
        peak_flops=math.fsum(part.peak_flops for part in parts),
    )


class PartChecksums(Record):
    """What a part's bytes are checked against; CRC32s are eight hexadecimal digits."""

    body_bytes: int
    """Number of bytes before the footer."""
    body_crc32: str
    footer_crc32: str
    """CRC32 of the bytes from the footer to the end of the file, with zeros in place of this
    number."""


class PartFooter(Record):
    """Stored under the key `winnow` in each part's Parquet footer."""

    schema_version: FormVersion = FORM_VERSION
    run_id: str
    """Id of the run that scored the part; a later run may have reused it."""
    fingerprint: dict[str, Value]
    shard: Count
    totals: Totals
    checksums: PartChecksums | None = None
    """None in the parts of Winnow 0.1.0. Must be the last field: footer_crc32 is searched from the
    end."""


class Success(Record):
    """`RUN/_SUCCESS`: written last; its presence says the run is whole."""

    schema_version: FormVersion = FORM_VERSION
    run_id: str
    finished_at: str
    num_shards: Count
    num_unreadable_files: Count
    num_shards_reused: Count = 0
    """Number of shards whose parts were reused from another run."""
    num_rows_reused: Count = 0
    totals: Totals
    wall_seconds: FiniteFloat
    """Time the last driver took, start-up included."""
    tokens_per_second: FiniteFloat | None
    """Computed tokens per second of worker time, start-up excluded; copies are not counted."""
    engine_idle_share: FiniteFloat | None = None
    """Share of the engines' time between their first and last step that they spent waiting."""
    mfu: FiniteFloat | None = None
    """Model FLOPs utilization of what this run scored; None where that is not known."""
