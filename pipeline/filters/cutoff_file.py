"""The file of `cutoffs`: values at which each group is cut, found by another filter or chosen.

Owns reading the file and matching its groups with those of the run. The file is the JSON that a dry
run printed, the `_filter.json` of an output, or as much of it as this, written by hand:

    {"metric": "perplexity", "rules": {"within": "lang"},
     "cutoffs": [{"group": "en", "low": 12.5, "high": 340.0}, {"group": null, "high": 500.0}]}

A bound that is missing or null does not apply.
"""

import json
from collections import Counter
from hashlib import sha256

import polars as pl

from pipeline.errors import ConfigError, RunError, counted, first_line, named
from pipeline.filters.config import FilterConfig
from pipeline.filters.record import CutoffTable
from pipeline.filters.rule import MOST_NAMED, group_value, names_given
from pipeline.reports.baseline import fingerprints_unlike
from pipeline.reports.groups import label_of
from pipeline.runs.manifest import Value
from pipeline.runs.records import load
from pipeline.settings.names import near_or_known
from pipeline.storage.filesystem import open_root
from pipeline.storage.locations import split_file


def load_table(config: FilterConfig) -> CutoffTable | None:
    """The file that `cutoffs` names; None without one. Raises ConfigError if it has no cut-offs, or
    has them for another metric or column than `config`."""
    if config.cutoffs is None:
        return None
    folder, name = split_file(config.cutoffs)
    hint = "give the JSON that a dry run printed, or the _filter.json of an output"
    try:
        table = load(open_root(folder), name, CutoffTable, hint=hint)
    except (OSError, RunError) as error:
        raise ConfigError(f"{named('cutoffs')}: {first_line(error)}", hint=hint) from error
    if table is None:
        raise ConfigError(f"{named('cutoffs')}: there is no file {config.cutoffs}", hint=hint)
    if not (table.metric and table.cutoffs):
        raise ConfigError(
            f"{config.cutoffs} has no cut-offs per group",
            hint="give a file that winnow filter wrote with percentiles, buckets or cut-offs: for "
            "other rules it writes none",
        )
    for setting, theirs, ours in (
        ("metric", table.metric, config.chosen_metric),
        ("within", table.within, config.within),
    ):
        if theirs != ours:
            raise ConfigError(
                f"{config.cutoffs} was written for {_asked(setting, theirs)}, and this filter is "
                f"for {_asked(setting, ours)}",
                hint=_instead(setting, theirs, ours),
            )
    ((twice, times),) = Counter(one.group for one in table.cutoffs).most_common(1)
    if times > 1:
        raise ConfigError(
            f"{config.cutoffs} has the group '{label_of(twice)}' more than once",
            hint="delete one of the two entries",
        )
    return table


def _asked(setting: str, value: str | None) -> str:
    if setting == "metric":
        return str(value)
    return "all documents together" if value is None else f"each group of '{value}'"


def _instead(setting: str, theirs: str | None, ours: str | None) -> str:
    if theirs is None:
        return f"leave out {named(setting)}"
    give = f"give {named(setting)} {theirs}"
    if setting == "metric" or ours is None:
        return give
    return f"{give}; or, if '{ours}' has the same groups, write it as within in the file"


def digest(table: CutoffTable) -> str:
    """A hash of what the table says to cut: how its file is laid out makes no difference."""
    return sha256(table.model_dump_json(exclude={"fingerprint"}).encode()).hexdigest()


def scored_otherwise(config: FilterConfig, fingerprint: dict[str, Value]) -> list[str]:
    """In a line for people, that the cut-offs of a file are of scores that a number means something
    else in; nothing if they are not, or the file does not say."""
    table = load_table(config)
    if table is None or not table.fingerprint:
        return []
    found = fingerprints_unlike(table.fingerprint, fingerprint)
    said = f"{config.cutoffs} is of a run that was scored with another model or settings"
    alone = f"so that {table.metric} differs by that alone"
    return [f"{said}, {alone}: {'; '.join(found)}"] if found else []


def of_groups(
    rows: pl.LazyFrame, within: str | None, table: CutoffTable, *ends: str
) -> pl.DataFrame:
    """[group, documents, and these ends]: each group that has a scored row, and its cut-offs in the
    table. Raises ConfigError if the table lacks a group."""
    found = (
        rows.filter("scored")
        .select("documents", group=group_value(within))
        .group_by("group")
        .agg(pl.col("documents").sum())
        .collect(engine="streaming")
        .sort("group")
    )
    by_name = {one.group: one for one in table.cutoffs}
    names = names_given(found["group"], by_name)
    if missing := [name for name in names if name not in by_name]:
        more = f", and {counted(len(missing) - 1, 'more group')}" if missing[1:] else ""
        known = near_or_known(label_of(missing[0]), list(map(label_of, by_name)), most=MOST_NAMED)
        entry = json.dumps({"group": missing[0], "low": 10, "high": 100}, ensure_ascii=False)
        raise ConfigError(
            f"{named('cutoffs')} has no cut-offs for '{label_of(missing[0])}'{more}",
            hint=f"add an entry to the file, as {entry}, or without low and high to keep all; "
            f"{known}",
        )
    return found.with_columns(
        pl.Series(end, [getattr(by_name[name], end) for name in names], pl.Float64) for end in ends
    )


def unused(groups: pl.Series, table: CutoffTable) -> list[str | None]:
    """Groups of the table that have no scored row."""
    there = set(names_given(groups, {one.group for one in table.cutoffs}))
    return [one.group for one in table.cutoffs if one.group not in there]
