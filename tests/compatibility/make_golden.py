"""What 0.1.0 answers to cases.py, written down in golden/.

Run once, at commit 71fab52, by `python -m tests.compatibility.make_golden`; like the fixtures,
golden values are not made again. One that is meant to change is changed by hand, with the reason
in the commit. With names of files as arguments it makes those that are not there yet: for a case
that is added, at the commit before whatever it is to guard against.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from tests.compatibility import cases, scoring
from tests.compatibility.install import install

Make = Callable[[Path], Any]


def figures(folder: Path) -> dict[str, float]:
    """Values of documents for the bounds in FILTERS: of many, or of one alone."""
    scores = pl.read_parquet(folder / "run/scores/*.parquet").drop_nulls("nll")
    perplexity = scores["perplexity"].sort()
    several = scores.filter(pl.col("text_hash").is_duplicated())["perplexity"]
    return {
        "shared": several[0],
        "middle": perplexity[len(perplexity) // 2],
        "high": perplexity[-6],
        "width": float(perplexity.std() or 0),
        "byte": scores["bits_per_byte"].sort()[len(scores) // 3],
    }


def each(asked: dict[str, Any], ask: Callable[[Path, str], Any]) -> Make:
    """An answer a case, each of a copy of its own."""

    def make(folder: Path) -> dict[str, Any]:
        return {name: ask(install(folder / str(i)), name) for i, name in enumerate(asked)}

    return make


def answers(folder: Path) -> dict[str, Any]:
    """What JSON asks for; of reports, the long tables once."""
    made: dict[str, Any] = each(cases.JSON, lambda at, name: cases.ask(at, cases.JSON[name]))(
        folder
    )
    _, *others = (one["said"] for name, one in made.items() if name.startswith("report"))
    for said in others:
        for table in ("histograms", "ecdfs", "thresholds"):
            del said[table]
    return made


def codes(folder: Path) -> dict[str, int]:
    copy = install(folder / "copy")
    scoring.empty_run(copy)
    return {name: cases.code_of(copy, arguments) for name, arguments in cases.CODES.items()}


def real(folder: Path) -> dict[str, Any]:
    scores = scoring.real_scores(install(folder / "copy"))
    return {"machine": scoring.kind_of_machine(), "scores": scores.to_dict(as_series=False)}


def schema(folder: Path) -> Any:
    root = Path(__file__).parents[2]
    return json.loads((root / "pipeline/schemas/report.schema.json").read_text())


MAKERS: dict[str, Make] = {
    "figures": lambda folder: figures(install(folder / "copy")),
    "filters": each(
        cases.FILTERS, lambda at, name: cases.keep(at, "run", cases.FILTERS[name], at / "out")
    ),
    "new_filters": each(
        cases.NEW_FILTERS,
        lambda at, name: cases.keep(at, "run", cases.NEW_FILTERS[name], at / "out"),
    ),
    "partial": lambda folder: cases.keep(
        install(folder / "copy"), "given_up", cases.PARTIAL, folder / "out"
    ),
    "json": answers,
    "codes": codes,
    "audits": each(
        cases.REQUIREMENTS, lambda at, name: cases.audit(at, "audit", cases.REQUIREMENTS[name])
    ),
    "sampled": lambda folder: cases.sampled(install(folder / "copy")),
    "report_schema": schema,
    "real_scores": real,
}


def main(names: list[str]) -> None:
    cases.GOLDEN.mkdir(exist_ok=True)
    for name in names or [*MAKERS, "fake_scores"]:
        with tempfile.TemporaryDirectory() as folder:
            if name == "fake_scores":
                copy = install(Path(folder) / "copy")
                for index, rules in enumerate(scoring.RULES):
                    scores = scoring.fake_scores(copy, Path(folder) / str(index), rules)
                    write_scores(scores, cases.GOLDEN / f"{name} {rules}.parquet")
                continue
            golden = json.dumps(MAKERS[name](Path(folder)), ensure_ascii=False)
        path = cases.GOLDEN / f"{name}.json"
        assert not path.exists(), f"{path} is not made again"
        path.write_text(golden + "\n")


def write_scores(scores: pl.DataFrame, path: Path) -> None:
    assert not path.exists(), f"{path} is not made again"
    scores.write_parquet(path, compression="zstd", statistics=False)


if __name__ == "__main__":
    main(sys.argv[1:])
