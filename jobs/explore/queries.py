"""What the page asks of the run, one question at a time.

Owns reading a request, what is remembered between requests, and that a later question of a page
takes the place of an earlier one: Polars cannot be stopped, and three counts at once take longer
than three in turn.
"""

import asyncio
import json
import struct
from collections.abc import Callable
from dataclasses import asdict, replace
from inspect import iscoroutinefunction
from typing import Any, TypeVar, cast, get_args

import numpy as np
import numpy.typing as npt
from starlette.requests import Request

from jobs.explore.engine import EngineProcess
from jobs.explore.export import as_command, as_toml
from jobs.explore.shown import fit
from jobs.explore.words import Words, bands, number, one_of, whole
from pipeline.errors import ConfigError
from pipeline.explore.bins import CELL_COLUMNS, Bins, fill_bins
from pipeline.explore.cache import cached_bins
from pipeline.explore.counting import count
from pipeline.explore.examples import Place, Whole, find_examples, read_document
from pipeline.explore.rule import Asked, Decision, Narrowing, Unit, decide, exported
from pipeline.explore.run import ExploredRun
from pipeline.rendering.shading import EDGES, shade
from pipeline.reports.document_text import NO_LOGPROBS, read_tokens
from pipeline.reports.groups import Grouping
from pipeline.reports.sorting import sorts_by
from pipeline.runs.judgements import Judgement, Judgements, Key
from pipeline.schema import SCORED

T = TypeVar("T")
REMEMBERED = 32
LARGEST_ROW = 2**63 - 1


class Superseded(Exception):
    """Whoever asked has asked something else meanwhile, or left."""


class Queries:
    """Answers for a page, as JSON or bytes."""

    def __init__(self, run: ExploredRun, by: str | None, kept: Judgements) -> None:
        self.run = run
        self.kept = kept
        self.engine = EngineProcess(run.store.location, run.manifest)
        self.by = by
        """The column that is grouped by at first."""
        self._one_at_a_time = asyncio.Lock()
        self._bins: dict[tuple[str, str | None], Bins] = {}
        self._decisions: dict[Asked, Decision] = {}
        self._narrowed: dict[tuple[str, str | None, str], Bins] = {}
        self._sorted: dict[str | None, str] = {}

    async def ask(self, request: Request, question: Callable[[Words], Any], words: Words) -> Any:
        """The answer, once earlier questions are answered. Raises Superseded, and as it does."""
        if iscoroutinefunction(question):
            return await question(words)

        def answer() -> Any:
            self.run.rows()  # finds a part that was written anew
            return question(words)

        if question in (self.about, self.document, self.tokens):
            # Short, but for a tokenizer that takes seconds to load: no count waits for that.
            return await asyncio.to_thread(answer)
        async with self._one_at_a_time:
            if await request.is_disconnected():
                raise Superseded
            return await asyncio.to_thread(answer)

    def about(self, _: Words) -> dict[str, Any]:
        """What the page says of the run, and offers."""
        run, manifest = self.run, self.run.manifest
        return {
            "run": run.store.location,
            "corpus": manifest.corpus,
            "model": manifest.model.name,
            "documents": manifest.num_rows,
            "is_partial": not run.parts.is_complete,
            "no_texts": run.corpus_fault,
            "metrics": run.metrics,
            "columns": run.columns,
            "by": self.by,
            "judgements": {"file": self.kept.location, "number": len(self.kept)},
        }

    def bins_of(self, metric: str, by: str | None, **progress: Any) -> Bins:
        """The distribution of a metric."""
        return _remembered(
            self._bins, (metric, by), lambda: cached_bins(self.run, metric, by, **progress)
        )

    def bins(self, words: Words) -> bytes:
        """A distribution, as the page's bins.js reads it."""
        metric, by = self._metric_and_column(words)
        narrowed = self._narrowed_bins(metric, by, words.get("where") or None)
        return encode_bins(self.bins_of(metric, by) if narrowed is None else narrowed)

    def _narrowed_bins(self, metric: str, by: str | None, where: str | None) -> Bins | None:
        narrowing = Narrowing.of(self.run, where)
        if where is None or narrowing is None:
            return None
        holds, groups = narrowing.holds, Grouping(by, self.bins_of(metric, by).groups)
        return _remembered(
            self._narrowed,
            (metric, by, where),
            lambda: fill_bins(self.run, metric, groups, where=holds),
        )

    def count(self, words: Words) -> dict[str, Any]:
        """What a rule keeps, exactly, and the rule to take away."""
        asked = self.asked(words)
        kept = count(self.run, self.decision(asked), self.bins_of(asked.metric, asked.by))
        found: dict[str, Any] = {
            "before": kept.before.model_dump(),
            "after": kept.after.model_dump(),
            "groups": kept.groups,
            "num_unscored": kept.num_unscored,
            "command": None,
            "toml": None,
            "file": asked.file,
        }
        if asked.has_rule:
            settings = exported(self.run, asked)
            found |= {"command": as_command(settings), "toml": as_toml(settings)}
        return found

    def cutoffs(self, words: Words) -> bytes:
        """The file that the rule reads, where each group has a band of its own."""
        table = self.decision(self.asked(words)).table
        if table is None:
            raise ConfigError("no group has a band of its own")
        return table.model_dump_json(indent=1, exclude_defaults=True).encode()

    def examples(self, words: Words) -> dict[str, Any]:
        """Documents on both sides of a rule."""
        asked, place = self.asked(words), words.get("place", "random")
        if place not in get_args(Place):
            raise ConfigError(f"unknown place '{place}'")
        found = find_examples(
            self.run,
            self.decision(asked),
            cast(Place, place),
            groups=self._groups(asked),
            group=whole(words, "group"),
            seed=whole(words, "seed") or 0,
        )
        files = {file.path: at for at, file in enumerate(self.run.manifest.files)}
        told = asdict(found)
        for one in (*told["kept"], *told["removed"]):
            one["at"] = f"{files[one['file']]}:{one['row']}"
            key = Key(one["file"], one["row"], one.pop("text_hash"))  # no number of JavaScript's
            one["judged"] = told_of(self.kept.get(key))
            one.setdefault("missing", None)
            if self.run.corpus_fault:
                one["missing"] = self.run.corpus_fault
        return told

    def document(self, words: Words) -> dict[str, Any]:
        """One document whole."""
        file, row = self.locator(words)
        found = read_document(self.run, file, row)
        told = {"text": found.text, "missing": found.missing, "scores": found.scores}
        return {"file": file, "row": row, **told}

    def tokens(self, words: Words) -> dict[str, Any]:
        """Its tokens with their log-probabilities and how dark each is, or why there are none."""
        document = read_document(self.run, *self.locator(words))
        told = self._shades(document, document.row)
        if told["missing"] != NO_LOGPROBS:
            return told
        lacks = self.engine.missing
        if lacks is not None:
            told["missing"] += f"; {lacks}"
            return told
        model = self.run.manifest.model.name
        return {**told, "scorer": {"model": model, "is_loaded": self.engine.is_loaded}}

    async def score(self, words: Words) -> dict[str, Any]:
        """The same of a run that did not store them, by its model, which is loaded if need be."""
        at = self.locator(words)
        document = await asyncio.to_thread(read_document, self.run, *at)
        if document.text is None or document.row["status"] not in SCORED:
            return self._shades(document, document.row)
        scored = await self.engine.score(document.text)
        told = await asyncio.to_thread(self._shades, document, {**document.row, **scored})
        return {**told, "nll": scored["nll"], "stored_nll": document.row["nll"]}

    def _shades(self, document: Whole, row: dict[str, Any]) -> dict[str, Any]:
        found, missing = read_tokens(self.run.manifest, document.text, row)
        spans = [[one.text, shade(one.nll), one.logprobs] for one in found or ()]
        return {"tokens": spans, "missing": missing, "edges": EDGES}

    def sorts(self, words: Words) -> dict[str, Any]:
        """What the score sorts by, besides any quality."""
        by = one_of(self.run.columns, words, "by")
        columns = () if by is None else (by,)
        location = self.run.store.location

        def look() -> str:
            return sorts_by(self.run.rows(), columns, location).in_words()

        return {"said": _remembered(self._sorted, by, look)}

    def locator(self, words: Words) -> tuple[str, int]:
        """The file and the row of a document."""
        file, _, row = words.get("at", "").partition(":")
        files = self.run.manifest.files
        is_one = file.isascii() and file.isdecimal() and row.isascii() and row.isdecimal()
        if not is_one or int(file) >= len(files) or int(row) > LARGEST_ROW:
            raise ConfigError("no such document")
        return files[int(file)].path, int(row)

    def _metric_and_column(self, words: Words) -> tuple[str, str | None]:
        # By their places: a name that a page shows need not be the column's to the letter.
        metric = one_of(self.run.metrics, words, "metric")
        if metric is None:
            raise ConfigError("the request names no metric")
        return metric, one_of(self.run.columns, words, "by")

    def asked(self, words: Words) -> Asked:
        """The rule that a question is of. Raises ConfigError."""
        metric, by = self._metric_and_column(words)
        unit = words.get("unit", "value")
        if unit not in get_args(Unit):
            raise ConfigError(f"unknown unit '{unit}'")
        if unit in ("within", "each") and by is None:
            raise ConfigError("cut-offs in each group need a column to group by")
        band = (number(words.get("low")), number(words.get("high")))
        asked = Asked(metric, by, cast(Unit, unit), *band, words.get("where") or None)
        if unit == "each":
            own = bands(words.get("own"))
            each = tuple((name, own.get(i, band)) for i, name in enumerate(self._groups(asked)))
            asked = replace(asked, each=each)
        return asked

    def decision(self, asked: Asked) -> Decision:
        """The same with its cut-offs, found once."""
        bins = self.bins_of(asked.metric, asked.by)
        few = self._narrowed_bins(asked.metric, asked.by, asked.where)
        return _remembered(self._decisions, asked, lambda: decide(self.run, asked, bins, few))

    def _groups(self, asked: Asked) -> tuple[str, ...]:
        return self.bins_of(asked.metric, asked.by).groups


def encode_bins(bins: Bins) -> bytes:
    """Each column in turn."""
    header = {"scale": asdict(bins.scale), "groups": bins.groups, "length": bins.cells.height}
    columns = [bins.cells[name].cast(float).to_numpy() for name in CELL_COLUMNS]
    return encode(header, np.concatenate(columns))


def encode(header: dict[str, Any], numbers: npt.NDArray[Any]) -> bytes:
    """A JSON header, its length before it, then numbers as doubles, all little-endian."""
    head = json.dumps(fit(header)).encode()
    head += b" " * (-len(head) - 4 & 7)
    return b"".join([struct.pack("<I", len(head)), head, numbers.astype("<f8").tobytes()])


def told_of(judgement: Judgement | None) -> str | None:
    """A judgement as a page has it: good, bad or unsure; None without one."""
    if judgement is None:
        return None
    return {True: "good", False: "bad", None: "unsure"}[judgement.is_good]


K = TypeVar("K")


def _remembered(memory: dict[K, T], key: K, make: Callable[[], T]) -> T:
    if key not in memory:
        memory[key] = make()
        if len(memory) > REMEMBERED:
            del memory[next(iter(memory))]
    return memory[key]
