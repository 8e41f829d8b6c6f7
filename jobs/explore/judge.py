"""What the page asks about judging, and what it has saved.

Owns reading those requests. A judgement is on disk before it is answered; what it counts for is
decided by pipeline/explore/judging.py.
"""

from dataclasses import asdict
from typing import Any, Literal, cast, get_args

import polars as pl

from jobs.explore.queries import Queries, told_of
from jobs.explore.words import Words
from pipeline.errors import ConfigError
from pipeline.explore.estimate import Aim, Proposal, Quality
from pipeline.explore.examples import read_document
from pipeline.explore.judging import Judging, Scope
from pipeline.explore.rule import Decision
from pipeline.runs.judgements import Key

SAID = {"good": True, "bad": False, "unsure": None}


class JudgeQueries:
    """Answers for the page's judging, and its only changes."""

    def __init__(self, queries: Queries) -> None:
        self._queries, self._run = queries, queries.run
        bins_of = lambda metric: queries.bins_of(metric, None)  # noqa: E731
        self._judging = Judging(queries.run, queries.kept, bins_of)

    def next(self, words: Words) -> dict[str, Any]:
        """The next document, whole; its score is not told, so that it does not judge."""
        scope = words.get("scope", "all")
        if scope not in get_args(Scope):
            raise ConfigError(f"unknown scope '{scope}'")
        draw = self._judging.next(self._decision(words), cast(Scope, scope))
        if draw is None:
            return {"at": None}
        whole = read_document(self._run, draw.key.file, draw.key.row)
        return {
            "at": self._place_of(draw.key),
            "file": draw.key.file,
            "row": draw.key.row,
            "text": whole.text,
            "missing": whole.missing,
            "judged": told_of(draw.before),
        }

    def standing(self, words: Words) -> dict[str, Any]:
        """Precision and recall of the rule, and what they rest on."""
        told = asdict(self._judging.standing(self._decision(words)))
        return {**told, "file": self._queries.kept.location}

    def propose(self, words: Words) -> dict[str, Any]:
        """The cut that serves an aim."""
        aim, side = words.get("aim", ""), words.get("side", "")
        try:
            share = float(words.get("share", "")) / 100
        except ValueError:
            share = -1.0
        if aim not in get_args(Aim) or side not in ("low", "high") or not 0 < share <= 1:
            raise ConfigError("the target must be a percentage above 0 and at most 100")
        decision, end = self._decision(words), cast(Literal["low", "high"], side)
        pair = self._judging.propose(decision, end, cast(Aim, aim), share)
        likely, sure = (_told(one) for one in pair)
        return {"likely": likely, "sure": sure}

    def judge(self, words: Words) -> dict[str, Any]:
        """Save what is said of a document."""
        if words.get("said") not in SAID:
            raise ConfigError("a judgement must be good, bad or unsure")
        file, row = self._queries.locator(words)
        own = self._run.parts.scan().filter(pl.col("file") == file, pl.col("row") == row)
        found = own.select("text_hash").head(1).collect(engine="streaming")["text_hash"].to_list()
        if not found or found[0] is None:
            raise ConfigError("this document has no text to judge")
        drawn_by = self._decision(words).asked.metric if words.get("drawn") == "yes" else None
        key = Key(file, row, found[0])
        self._judging.judge(key, SAID[words["said"]], drawn_by=drawn_by)
        return {"at": words["at"], "judged": told_of(self._queries.kept.get(key))}

    def undo(self, _: Words) -> dict[str, Any]:
        """Take the last one of this session back."""
        key = self._judging.undo()
        if key is None:
            return {"at": None, "judged": None}
        return {"at": self._place_of(key), "judged": told_of(self._queries.kept.get(key))}

    def _decision(self, words: Words) -> Decision:
        return self._queries.decision(self._queries.asked(words))

    def _place_of(self, key: Key) -> str:
        names = [file.path for file in self._run.manifest.files]
        return f"{names.index(key.file)}:{key.row}"


def _told(proposal: Proposal | None) -> dict[str, Any] | None:
    if proposal is None:
        return None
    quality: Quality = proposal.quality
    return {"cut": proposal.cut, **asdict(quality)}
