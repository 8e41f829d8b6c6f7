"""Which rows of a corpus a run is of, where it is of a sample: `RUN/sample.json`.

Owns the record of the draw, which every figure of such a run is weighted by.
"""

import json

from pydantic import BaseModel, ValidationError

from pipeline.errors import RunError
from pipeline.runs.store import RunStore

SAMPLE = "sample.json"
AUDIT = "audit.json"
"""Nights of Winnow 0.1.0 have their draw in there alone, as `sample`."""


class Stratum(BaseModel):
    """The documents that share a value of the column that the sample is stratified by."""

    value: str | None
    """None: the sample is not stratified."""
    num_rows: int
    """Of the corpus."""
    num_drawn: int


class Draw(BaseModel):
    """How many rows were drawn of which strata."""

    by: str | None
    """The column that the sample is stratified by."""
    seed: int
    num_rows: int
    """Of the corpus."""
    num_drawn: int
    strata: list[Stratum]


def write_draw(store: RunStore, draw: Draw) -> None:
    """Note down what the run is a sample of."""
    content = draw.model_dump_json(indent=1, include=set(Draw.model_fields)) + "\n"
    store.root.write_bytes(SAMPLE, content.encode())


def read_draw(store: RunStore) -> Draw | None:
    """What a run is a sample of; None of a run over every row. Raises RunError if damaged."""
    for name in (SAMPLE, AUDIT):
        try:
            content = json.loads(store.root.read_bytes(name))
            found = content if name == SAMPLE else content["sample"]
            return None if found is None else Draw.model_validate(found)
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
            raise RunError(
                f"{store.root.show(name)} is damaged, so nobody can tell what its rows stand for",
                hint="delete it and audit that night again; nothing is scored anew",
            ) from error
    return None
