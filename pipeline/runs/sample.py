"""Which rows of a corpus a run is of, where it is of a sample: `RUN/sample.json`.

Owns the record of the draw, which every figure of such a run is weighted by.
"""

from pipeline.runs.records import Record, load, save
from pipeline.runs.store import AUDIT, RunStore

SAMPLE = "sample.json"
HINT = "delete it and audit that night again; nothing is scored again"


class Stratum(Record):
    """The documents that share a value of the column that the sample is stratified by."""

    value: str | None
    """Value of the stratification column; None if the sample is not stratified."""
    num_rows: int
    """Rows of the corpus in the stratum."""
    num_drawn: int


class Draw(Record):
    """How many rows were drawn of which strata."""

    by: str | None
    """The column that the sample is stratified by; None if there is none."""
    seed: int
    num_rows: int
    """Number of rows of the corpus."""
    num_drawn: int
    strata: list[Stratum]


class _Night(Record):
    """Of audit.json, what its night is a sample of: nights of Winnow 0.1.0 say it only there."""

    sample: Draw | None


def write_draw(store: RunStore, draw: Draw) -> None:
    """Note down what the run is a sample of, and whatever else the draw says of itself."""
    save(store.root, SAMPLE, draw)


def read_draw(store: RunStore) -> Draw | None:
    """What a run is a sample of; None of a run over every row. Raises RunError if damaged."""
    found = load(store.root, SAMPLE, Draw, hint=HINT)
    if found is not None:
        return found
    night = load(store.root, AUDIT, _Night, hint=HINT)
    return None if night is None else night.sample
