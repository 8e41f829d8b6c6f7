"""What is asked of the fixtures: the commands, and what of their answers is held.

Owns the one way in, jobs.cli, so that nothing else here depends on where modules are. Used by
make_golden.py, which wrote the answers down, and by test_golden.py, which holds today's to them.
"""

import contextlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from jobs.cli.main import app
from jobs.console.ending import run_command
from tests.compatibility.install import placed

GOLDEN = Path(__file__).parent / "golden"
NEXT_NIGHT = "2026-01-07"


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def winnow(*arguments: str | Path) -> Ended:
    """A command line, in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run_command(lambda: app([str(argument) for argument in arguments]))
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


FILTERS: dict[str, str] = {
    # A bound is inclusive: these are values of documents, some of several.
    "max": "--max perplexity={shared}",
    "min": "--min perplexity={shared}",
    "min and max": "--min perplexity={shared} --max perplexity={high}",
    "max of another metric": "--max bits_per_byte={byte}",
    "bounds of three metrics": "--min num_tokens=20 --max nll_std=4 --max max_nll=30",
    "bound of a carried column": "--min quality=0.5",
    "percentile": "--percentile 10:90",
    "percentile, lower end": "--percentile 0:50",
    "percentile, upper end": "--percentile 50:100",
    "percentile, at the values": "--percentile 12.5:87.5",
    "percentile, one value": "--percentile 50:50 --force",
    "percentile, everything": "--percentile 0:100 --force",
    "percentile of bits a byte": "--percentile 25:75 --metric bits_per_byte",
    "percentile of a carried column": "--percentile 30:60 --metric quality",
    "percentile of counts": "--percentile 20:70 --metric num_words",
    "percentile within groups": "--percentile 20:80 --within lang --by lang",
    "percentile within status": "--percentile 5:95 --within status",
    "percentile and bounds": "--percentile 10:90 --min num_tokens=30 --max num_bytes=200",
    "buckets": "--buckets head,middle,tail",
    "buckets, head": "--buckets head",
    "buckets, head and tail": "--buckets tail,head",
    "buckets, custom": "--buckets head,middle,tail --bucket-percentiles 10,60",
    "buckets, custom, middle": "--buckets middle --bucket-percentiles 33.3,66.6",
    "buckets within groups": "--buckets head,middle,tail --within lang",
    "buckets of another metric": "--buckets head,middle,tail --metric max_nll",
    "bucket folders": "--buckets head,middle,tail --bucket-folders",
    "bucket folders, unscored": "--buckets head,tail --bucket-folders --unscored keep",
    "tokens, by default": "--budget-tokens 1500",
    "tokens, low": "--budget-tokens 1200 --prefer low",
    "tokens, high": "--budget-tokens 1.2k --prefer high",
    "tokens, middle": "--budget-tokens 1200 --prefer middle",
    "tokens, middle, odd": "--budget-tokens 1003 --prefer middle",
    "tokens, random": "--budget-tokens 1200 --prefer random",
    "tokens, random, seed 1": "--budget-tokens 1200 --prefer random --seed 1",
    "bytes, low": "--budget-bytes 1500 --prefer low",
    "bytes, high": "--budget-bytes 1500 --prefer high",
    "bytes, middle": "--budget-bytes 1.5k --prefer middle",
    "bytes, random, seed 2": "--budget-bytes 1500 --prefer random --seed 2",
    "bytes, ties, seed 0": "--budget-bytes 900 --prefer high --metric quality",
    "bytes, ties, seed 1": "--budget-bytes 900 --prefer high --metric quality --seed 1",
    "bytes, ties, middle, seed 5": "--budget-bytes 900 --prefer middle --metric quality --seed 5",
    "budget of what is kept": "--budget-tokens 800 --percentile 20:80 --within lang",
    "budget, unscored kept": "--budget-bytes 1500 --unscored keep",
    "sample": "--sample-toward {middle},{width}",
    "sample, seed 1": "--sample-toward {middle},{width} --seed 1",
    "sample of bits a byte": "--sample-toward {byte},1 --metric bits_per_byte --seed 7",
    "sample and budget": "--sample-toward {middle},{width} --budget-tokens 700 --seed 3",
    "minus": "--minus {other} --percentile 0:50",
    "minus, bound": "--minus {other} --max difference=0",
    "minus, budget": "--minus {other} --budget-tokens 1200 --prefer high",
    "over": "--over {other} --percentile 25:75 --within lang",
    "over, bounds": "--over {other} --min ratio=0.98 --max ratio=1.02",
    "over, and perplexity": "--over {other} --max ratio=1 --metric perplexity --percentile 0:90 "
    "--min ratio=0.9",
    "unscored kept": "--max perplexity={shared} --unscored keep",
    "unscored dropped": "--max perplexity={shared} --unscored drop",
    "without a value, kept": "--min quality=0.25 --unscored keep",
    "with columns": "--percentile 10:90 --add-columns",
    "minus, with columns": "--minus {other} --percentile 10:60 --add-columns",
}
"""Every rule of `winnow filter`. In braces what `figures` says."""

NEW_FILTERS: dict[str, str] = {
    "where": "--where lang=='en'and(num_tokens>=20)",
    "where, not": "--where not(lang=='de'or(quality>0.5))",
    "where, unscored kept": "--where lang!='en' --unscored keep",
    "where, of two runs": "--minus {other} --where difference<0",
    "copies, first": "--drop-copies first",
    "copies, low, of what is kept": "--drop-copies low --max perplexity={high}",
    "copies, high, and a budget": "--drop-copies high --metric quality --budget-tokens 900",
    "percentile of tokens": "--percentile 10:90 --weight tokens",
    "percentile of bytes within groups": "--percentile 20:70 --weight bytes --within lang",
    "buckets of tokens": "--buckets head,middle,tail --weight tokens",
    "budget within groups": "--budget-tokens 1200 --within lang --prefer middle",
    "budget by shares": "--budget-bytes 1500 --within lang --shares en=2 --shares de=1 "
    "--shares fi=0.5 --shares (null)=0",
    "budget, divided, of percentiles": "--budget-tokens 900 --percentile 10:90 --within lang "
    "--shares proportional",
    "cut-offs of an output of 0.1.0": "--cutoffs {at}/filtered/_filter.json --within lang",
}
"""The rules since 0.1.0, held to what they kept when their oracles in tests/filters agreed."""

PARTIAL = "--percentile 10:90 --partial --unscored keep"
"""The same of a run that is not finished."""


def figures(folder: Path) -> dict[str, Any]:
    """What FILTERS speak of: values of the run's own documents, the bounds that matter."""
    texts = json.loads((GOLDEN / "figures.json").read_text())
    return texts | {"other": folder / "other_run", "at": folder}


def keep(folder: Path, run: str, rules: str, out: Path) -> dict[str, Any]:
    """Filter a run: the exit code, what is said, and the rows that are in the output."""
    arguments = rules.format(**figures(folder)).split()
    ended = winnow("filter", folder / run, "--out", out, *arguments, "--json")
    said = json.loads(placed(ended.out, folder))
    for name in ("out", "versions", "fingerprint", "rules", "words"):
        said.pop(name)
    return {"code": ended.code, "kept": kept_rows(out), "said": said}


def kept_rows(out: Path) -> dict[str, list[Any]]:
    """Output file to the rows of the corpus in it, in order; with the bucket, if there is one."""
    found: dict[str, list[Any]] = {}
    for path in sorted(out.rglob("*.parquet")):
        table = pq.read_table(path)
        rows = [int(one.rpartition("/")[2]) for one in table["id"].to_pylist()]
        if "bucket" in table.column_names:
            rows = [list(pair) for pair in zip(rows, table["bucket"].to_pylist(), strict=True)]
        found[str(path.relative_to(out))] = rows
    return found


JSON: dict[str, str] = {
    "report of run": "report {at}/run --no-text",
    "report of run, by two, texts": "report {at}/run --by lang --by quality",
    "report of run, separated": "report {at}/run --separate lang=fi,de",
    "report of given_up": "report {at}/given_up",
    "compare two models": "compare {at}/run {at}/other_run --by lang",
    "compare datasets": "compare {at}/first_run {at}/run --resamples 200 --seed 5",
    "compare nights": "compare {at}/nights/2026-01-05 {at}/nights/2026-01-06 --by lang",
    "compare three, to the last": "compare {at}/run {at}/first_run {at}/other_run "
    "--baseline {at}/other_run",
    "verify run": "verify {at}/run --sample 0",
    "verify given_up": "verify {at}/given_up --sample 0",
    "status of run": "status {at}/run",
    "status of first_run": "status {at}/first_run",
    "status of given_up": "status {at}/given_up",
    "plan": "plan {at}/corpus --model {at}/model --shard-tokens 250",
    "resume, dry": "score {at}/corpus --out {at}/given_up --model {at}/model --carry lang "
    "--carry quality --dtype float32 --window-tokens 335 --shard-tokens 250 --token-logprobs "
    "--token-ids --dry-run",
    "finished, again": "score {at}/corpus --out {at}/run --model {at}/model --carry lang "
    "--carry quality --dtype float32 --window-tokens 96",
}
"""Commands that print JSON, all of it held but for NOT_HELD."""

NOT_HELD = frozenset(["generated_at", "detail", "notes", "method"])
"""Times of today, and words for people, which may be put better."""


def held(value: Any) -> Any:
    """Without what is not held, at any depth."""
    if isinstance(value, list):
        return [held(one) for one in value]
    if isinstance(value, dict):
        return {key: held(one) for key, one in value.items() if key not in NOT_HELD}
    return value


def ask(folder: Path, command: str) -> dict[str, Any]:
    """The exit code and what is printed."""
    ended = winnow(*command.format(at=folder).split(), "--json")
    return {"code": ended.code, "said": held(json.loads(placed(ended.out, folder)))}


CODES: dict[str, list[str]] = {
    "fail-if is false": ["report", "{at}/run", "--fail-if", "corpus_perplexity > 1e9"],
    "fail-if is true": ["report", "{at}/run", "--fail-if", "documents > 3"],
    "fail-if is true of one": [
        *("report", "{at}/run", "--fail-if", "documents > 1M"),
        *("--fail-if", "share(status == 'empty') > 1%"),
    ],
    "fail-if cannot be judged": ["report", "{at}/empty_run", "--fail-if", "p95(perplexity) > 3"],
    "fail-if is true, exit zero": [
        *("report", "{at}/run", "--fail-if", "documents > 3", "--exit-zero")
    ],
    "fail-if with a caret": ["report", "{at}/run", "--fail-if", "documents >"],
    "fail-if of no column": ["report", "{at}/run", "--fail-if", "p95(perplxity) > 3"],
    "report by no column": ["report", "{at}/run", "--by", "nothing"],
    "report of no run": ["report", "{at}/corpus"],
    "json and markdown": ["report", "{at}/run", "--json", "--md"],
    "filter keeps all": ["filter", "{at}/run", "--dry-run", "--max", "perplexity=1e9"],
    "filter keeps all, forced": [
        *("filter", "{at}/run", "--dry-run", "--max", "perplexity=1e9", "--force")
    ],
    "filter keeps none": ["filter", "{at}/run", "--dry-run", "--max", "perplexity=0.5"],
    "filter of a whole run": ["filter", "{at}/first_run", "--dry-run", "--percentile", "10:90"],
    "filter of a run with a torn file": [
        *("filter", "{at}/run", "--dry-run", "--percentile", "10:90")
    ],
    "filter of an unfinished run": [
        *("filter", "{at}/given_up", "--dry-run", "--percentile", "10:90")
    ],
    "filter without a rule": ["filter", "{at}/run", "--dry-run"],
    "filter without a place": ["filter", "{at}/run", "--percentile", "10:90"],
    "filter upside down": ["filter", "{at}/run", "--dry-run", "--percentile", "90:10"],
    "filter two budgets": [
        *("filter", "{at}/run", "--dry-run", "--budget-tokens", "9", "--budget-bytes", "9")
    ],
    "filter by a typo": ["filter", "{at}/run", "--dry-run", "--max", "perplxity=3"],
    "filter into the corpus": [
        *("filter", "{at}/run", "--out", "{at}/corpus/new", "--percentile", "10:90")
    ],
    "filter into a folder in use": [
        *("filter", "{at}/run", "--out", "{at}/filtered", "--percentile", "10:90")
    ],
    "compare with an unfinished run": ["compare", "{at}/run", "{at}/given_up"],
    "compare by other rules": ["compare", "{at}/run", "{at}/given_up", "--partial"],
    "compare one": ["compare", "{at}/run"],
    "status of a run with a torn file": ["status", "{at}/run"],
    "status of a whole run": ["status", "{at}/first_run"],
    "status of no run": ["status", "{at}/nights"],
    "verify": ["verify", "{at}/first_run", "--sample", "0"],
    "verify an unfinished run": ["verify", "{at}/given_up", "--sample", "0"],
    "gc": ["gc", "{at}/run", "--dry-run"],
    "score with other rules into a run": [
        *("score", "{at}/corpus", "--out", "{at}/run", "--model", "{at}/model", "--dry-run")
    ],
    "score without a model": ["score", "{at}/corpus", "--out", "{at}/new", "--dry-run"],
    "score no corpus": [
        *("score", "{at}/nothing", "--out", "{at}/new", "--model", "{at}/model", "--dry-run")
    ],
    "score strictly": [
        *("score", "{at}/corpus", "--out", "{at}/new", "--model", "{at}/model", "--strict"),
        "--dry-run",
    ],
    "unknown option": ["report", "{at}/run", "--colour"],
    "unknown command": ["reprot", "{at}/run"],
    "no command": [],
    "help": ["--help"],
    "version": ["--version"],
    "unknown key": ["filter", "--config", "{at}/bad.toml"],
    "no such file": ["audit", "{at}/nothing.toml"],
    "decided night that passed": ["audit", "{at}/audit.toml", "--night", "2026-01-05"],
    "decided night that failed": ["audit", "{at}/audit.toml", "--night", "2026-01-06"],
    "decided night that failed, exit zero": [
        *("audit", "{at}/audit.toml", "--night", "2026-01-06", "--exit-zero")
    ],
    "no date": ["audit", "{at}/audit.toml", "--night", "yesterday"],
}
"""Commands whose exit code is held."""
BAD = '[filter]\nrun = "run"\npercentil = [10, 90]\n'


def code_of(folder: Path, arguments: list[str]) -> int:
    (folder / "bad.toml").write_text(BAD)
    return winnow(*(one.format(at=folder) for one in arguments)).code


def _require(metric: str, **bounds: float | str) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in bounds.items()]
    return "\n".join(["[[audit.require]]", f'metric = "{metric}"', *lines, ""])


REQUIREMENTS: dict[str, str] = {
    "as configured": "",
    "bounds that hold": _require("corpus_perplexity", min=2, max=1e6)
    + _require("p95", max=1e6)
    + _require("bits_per_byte", min=0.5, max=50)
    + _require("num_documents", min=51, max=51)
    + _require("num_tokens", min=1000)
    + _require("error", max=0.02)
    + _require("empty", max=0.02)
    + _require("null", max=0.1)
    + _require("corpus_perplexity", max_increase=10, max_decrease=0.9)
    + _require("num_documents", max_increase=1),
    "bounds that do not": _require("corpus_perplexity", max=2)
    + _require("p50", min=1e6)
    + _require("num_documents", max=50)
    + _require("error", max=0.01),
    "bounds by group": _require("num_documents", by="lang", min=5)
    + _require("document_perplexity", by="lang", max=1e6)
    + _require("bits_per_byte", by="lang", min=1),
    "relative bounds that do not": _require("num_documents", max_increase=0.5)
    + _require("num_tokens", max_increase=0.1)
    + _require("bits_per_byte", max_decrease=0.0001, max_increase=0.0001),
    "relative bounds by group": _require("num_documents", by="lang", max_decrease=0.01)
    + _require("corpus_perplexity", by="lang", max_increase=0.02)
    + _require("ok", by="lang", max_decrease=0.05)
    + _require("bits_per_byte", max_psi=0.2)
    + _require("corpus_perplexity", max_psi=1e-6)
    + _require("p50", by="lang", max_psi=0.5),
}
"""Audit files: what stands in place of the fixture's own requirements."""


def audit(folder: Path, file: str, requirements: str = "", baseline: str = "") -> dict[str, Any]:
    """The next night, held against the fixture's: nothing of it is new, so no engine is needed."""
    path = folder / f"{file}.toml"
    head, mark, rest = path.read_text().partition("[[audit.require]]")
    if requirements:
        mark, rest = "", "" if requirements == "none" else requirements
    head += f'baseline = "{baseline}"\n' if baseline else ""
    path.write_text(head + mark + rest)
    ended = winnow("audit", path, "--night", NEXT_NIGHT, "--json")
    said = json.loads(placed(ended.out, folder))
    said["num_reasons"] = len(said.pop("reasons"))
    said.pop("run_id")
    return {"code": ended.code, "said": held(said)}


def sampled(folder: Path) -> dict[str, Any]:
    """The next night of the sampled nights, without the figures that the sample estimates."""
    found = audit(folder, "sampled")
    said = found["said"]
    for check in said["checks"]:
        check.pop("findings")
    sample = {key: said["sample"][key] for key in ("by", "seed", "num_rows", "num_drawn", "strata")}
    held = ("night", "verdict", "complete", "corpus", "checks", "num_reasons", "baseline", "reuse")
    kept = {key: said[key] for key in held}
    return {"code": found["code"], "said": kept | {"sample": sample}, "drawn": drawn_rows(folder)}


def drawn_rows(folder: Path) -> list[str]:
    """The ids of the documents in the sample."""
    files = sorted((folder / "sampled_nights/_sample").rglob("*.parquet"))
    return [row for path in files for row in pq.read_table(path)["id"].to_pylist()]
