"""Filtering from Python: settings are keyword arguments, the record is the result."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from pipeline.errors import ConfigError
from pipeline.filters.config import DropCopies, FilterConfig, Prefer, load_filter_config
from pipeline.filters.filtering import decide
from pipeline.filters.output import FilterWriter
from pipeline.filters.record import FilterRecord
from pipeline.filters.spelling import Bucket
from pipeline.settings.arguments import checked
from pipeline.settings.names import near_or_known
from pipeline.settings.weights import Weight


class FilterSettings(TypedDict, total=False):
    """The keywords of `filter_run`, those of FilterConfig; what each means stands there."""

    corpus: str | Path
    rejects: str | Path
    max: dict[str, float]
    min: dict[str, float]
    where: str
    drop_copies: DropCopies
    metric: str
    percentile: tuple[float, float]
    buckets: Sequence[Bucket]
    bucket_percentiles: tuple[float, float]
    bucket_folders: bool
    cutoffs: str | Path
    weight: Weight
    within: str
    sample_toward: tuple[float, float]
    budget_tokens: int | str
    budget_bytes: int | str
    prefer: Prefer
    shares: dict[str, float] | Literal["proportional"]
    seed: int
    minus: str | Path
    over: str | Path
    unscored: Literal["keep", "drop"]
    add_columns: bool
    partial: bool
    force: bool


@checked
def filter_run(
    run: str | Path,
    *,
    out: str | Path | None = None,
    by: str | None = None,
    **settings: Unpack[FilterSettings],
) -> FilterRecord:
    """Filter the corpus that a run scored: into `out`, or without, only say what would be kept.

    A document is kept if every rule given keeps it. Settings are those of `winnow filter`, with the
    same names and defaults; `by` is a carried column to count the groups of. The record has the
    cut-offs, and documents, tokens and bytes before and after.

    >>> import polars as pl
    >>> from pipeline import filter_run
    >>> trial = filter_run("runs/first", percentile=(10, 90), by="source")
    >>> trial.after.documents < trial.before.documents
    True
    >>> record = filter_run("runs/first", out="kept", percentile=(10, 90), within="source")
    >>> pl.read_parquet("kept/*.parquet").height == record.after.documents
    True

    Raises ConfigError for settings that are unknown or contradict each other, RunError for a run
    that cannot be used, CorpusError for a corpus that is not there or not as it was scored.
    """
    known = list(FilterConfig.model_fields)
    if unknown := [key for key in settings if key not in known]:
        raise ConfigError(
            f"unknown key '{unknown[0]}' in the settings of filter_run",
            hint=near_or_known(unknown[0], known),
        )
    given: dict[str, Any] = {**settings, "run": run, "out": out}
    given |= {key: str(value) for key, value in given.items() if isinstance(value, Path)}
    config = load_filter_config(None, given)
    if config.rejects is not None and config.out is None:
        raise ConfigError(
            "rejects is given, but out is not",
            hint="give both to write both folders, or neither to write nothing",
        )
    request = decide(config, by=by)
    return request.record() if config.out is None else FilterWriter(request, config.out).write()
