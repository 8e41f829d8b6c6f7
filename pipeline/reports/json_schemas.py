"""The JSON Schemas of the files that other programs read, kept in pipeline/schemas.

    python -m pipeline.reports.json_schemas        (or: make schemas)

Owns which files have one. They are made from the models that write the files, so a change of the
one shows in the other.
"""

import json
from pathlib import Path

from pydantic import BaseModel

from pipeline.engine.backends import BACKENDS
from pipeline.engine.rules import ScoringRules
from pipeline.reports.report import Report

FOLDER = Path(__file__).parents[1] / "schemas"
MODELS: dict[str, type[BaseModel]] = {"report": Report}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(name: str) -> str:
    """The content of `schemas/NAME.schema.json`."""
    schema = MODELS[name].model_json_schema(mode="serialization")
    # Rules are written with all that their kind of scorer has, not only what all kinds share.
    kinds = [one.rules.model_json_schema() for one in BACKENDS]
    schema["$defs"][ScoringRules.__name__] = {"anyOf": kinds} if len(kinds) > 1 else kinds[0]
    return json.dumps({"$schema": DIALECT} | schema, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write them all."""
    FOLDER.mkdir(exist_ok=True)
    for name in MODELS:
        (FOLDER / f"{name}.schema.json").write_text(json_schema(name), encoding="utf-8")


if __name__ == "__main__":
    main()
