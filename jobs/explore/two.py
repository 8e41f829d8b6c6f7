"""What the page asks about a second run beside the first."""

from dataclasses import asdict
from typing import Any

from jobs.explore.queries import Queries, encode, encode_bins
from jobs.explore.words import Words
from pipeline.errors import ConfigError
from pipeline.explore.bins import fill_bins, group_of
from pipeline.explore.cache import cached_bins
from pipeline.explore.pairs import TwoRuns, find_density
from pipeline.explore.rule import Narrowing


class TwoQueries:
    """Answers about two runs."""

    def __init__(self, queries: Queries, two: TwoRuns | None) -> None:
        self._queries, self._two = queries, two

    def about(self, _: Words) -> dict[str, Any]:
        """What the page says of the second run; nothing without one."""
        if self._two is None:
            return {}
        two = self._two
        missing = [None if two.is_made(name) else two.why_not(name) for name in two.run.metrics]
        return {
            "names": two.names,
            "said": two.said,
            "is_paired": two.is_paired,
            "missing": missing,
        }

    def outline(self, words: Words) -> bytes:
        """The second run's distribution."""
        two, metric, where = self._asked(words)
        if (narrowing := Narrowing.of(two.other, where)) is None:
            return encode_bins(cached_bins(two.other, metric, None))
        groups = group_of(two.other, None)
        return encode_bins(fill_bins(two.other, metric, groups, where=narrowing.holds))

    def density(self, words: Words) -> bytes:
        """Documents by a metric in both, as the page's scatter.js reads it."""
        two, metric, where = self._asked(words)
        if not two.is_paired:
            raise ConfigError("the two runs have no documents in common")
        found = find_density(two, metric, where)
        return encode({"scale": asdict(found.scale), "side": len(found.counts)}, found.counts)

    def _asked(self, words: Words) -> tuple[TwoRuns, str, str | None]:
        metric = self._queries.asked(words).metric
        if self._two is None:
            raise ConfigError("there is no second run")
        if not self._two.is_made(metric) and (why := self._two.why_not(metric)):
            raise ConfigError(why)
        return self._two, metric, words.get("where") or None
