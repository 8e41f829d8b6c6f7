"""`cutoffs`: cut-offs of groups that another run had, or that somebody wrote down, read again.

Owns the file, and which of its groups are those of this run. It is what a dry run printed as JSON,
or the `_filter.json` of an output:

    {"metric": "perplexity", "rules": {"within": "lang"},
     "cutoffs": [{"group": "en", "low": 12.5, "high": 340.0}, {"group": null, "high": 500.0}]}

A bound that is not there, or null, is none.
"""

from collections import Counter
from hashlib import sha256

import polars as pl

from pipeline.errors import ConfigError, RunError, first_line, named
from pipeline.filters.config import FilterConfig
from pipeline.filters.record import CutoffTable
from pipeline.filters.rule import NO_GROUP, group_names, group_value
from pipeline.runs.records import load
from pipeline.settings.names import near_or_known
from pipeline.storage.filesystem import open_root

SHOWN = 20


def load_table(config: FilterConfig) -> CutoffTable | None:
    """The file that is asked for. Raises ConfigError if it is none, or of another metric or column
    than the other rules."""
    if config.cutoffs is None:
        return None
    folder, _, name = config.cutoffs.rpartition("/")
    hint = "give the JSON that a dry run printed, or the _filter.json of an output"
    try:
        root = open_root(folder or ("/" if config.cutoffs.startswith("/") else "."))
        table = load(root, name, CutoffTable, hint=hint)
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
                f"{config.cutoffs} has cut-offs {_of(setting, theirs)}, not {_of(setting, ours)}",
                hint=f"give {named(setting)} {theirs}" if theirs else f"leave out {named(setting)}",
            )
    ((twice, times),) = Counter(one.group for one in table.cutoffs).most_common(1) or [("", 1)]
    if times > 1:
        raise ConfigError(
            f"{config.cutoffs} has the group '{_shown(twice)}' more than once",
            hint="delete one of the two entries",
        )
    return table


def _of(setting: str, value: str | None) -> str:
    if setting == "metric":
        return f"of {value}"
    return "of all documents" if value is None else f"per group of '{value}'"


def _shown(group: str | None) -> str:
    return NO_GROUP if group is None else group


def digest(table: CutoffTable) -> str:
    """Of what it says."""
    return sha256(table.model_dump_json().encode()).hexdigest()


def of_groups(
    rows: pl.LazyFrame, within: str | None, table: CutoffTable, *ends: str
) -> pl.DataFrame:
    """[group, documents, and these ends]: the groups of the scored rows, with the cut-offs that the
    table has for them. Raises ConfigError if it lacks one."""
    found = (
        rows.filter("scored")
        .select("documents", group=group_value(within))
        .group_by("group")
        .agg(pl.col("documents").sum())
        .collect(engine="streaming")
        .sort("group")
    )
    by_name = {one.group: one for one in table.cutoffs}
    names = list(group_names(found["group"]))
    if missing := [name for name in names if name not in by_name]:
        known = [_shown(name) for name in list(by_name)[:SHOWN]]
        more = f", and {len(missing) - 1:,} more groups" if len(missing) > 1 else ""
        raise ConfigError(
            f"{named('cutoffs')} has no cut-offs for '{_shown(missing[0])}'{more}",
            hint=near_or_known(_shown(missing[0]), known),
        )
    return found.with_columns(
        pl.Series(end, [getattr(by_name[name], end) for name in names], pl.Float64) for end in ends
    )


def unused(groups: pl.Series, table: CutoffTable) -> list[str | None]:
    """Groups of the table that no scored row is of."""
    there = set(group_names(groups))
    return [one.group for one in table.cutoffs if one.group not in there]
