"""Names of groups, and that a missing value is not the text that stands for it."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.groups import (
    MOST_GROUPS_SHOWN,
    NULL,
    OTHERS,
    WHOLE,
    group_tables,
    grouping_of,
    label_of,
    largest_query,
    value_of,
)
from pipeline.reports.tally import tally_rows

SPECIAL = st.sampled_from([None, NULL, OTHERS, f'"{NULL}"', f'""{OTHERS}""', '"', "", "web"])


def scores_of(values: list[str | None]) -> pl.LazyFrame:
    count = len(values)
    return pl.LazyFrame(
        {
            "source": pl.Series(values, dtype=pl.String),
            "num_tokens": pl.Series(range(1, count + 1), dtype=pl.Int64),
            "num_bytes": pl.Series(range(1, count + 1), dtype=pl.Int64),
            "num_scored_bytes": pl.Series(range(1, count + 1), dtype=pl.Int64),
            "num_scored_words": pl.Series(range(1, count + 1), dtype=pl.Int64),
            "nll": pl.Series([1.0] * count, dtype=pl.Float64),
            "perplexity": pl.Series([2.0 + i for i in range(count)], dtype=pl.Float64),
            "bits_per_byte": pl.Series([0.5] * count, dtype=pl.Float64),
        }
    )


def grouped(values: list[str | None]):
    scores = scores_of(values)
    grouping = grouping_of("source", largest_query(scores, "source").collect())
    (tally,) = tally_rows(scores, [grouping.tallied()])
    return group_tables(grouping, tally)


@given(st.lists(SPECIAL, min_size=1, max_size=30))
def test_every_value_is_a_group_of_its_own(values):
    groups = grouped(values).groups
    assert len({group.value for group in groups}) == len(groups) == len(set(values))
    sizes = {}
    for value in values:
        sizes[value] = sizes.get(value, 0) + 1
    for value, count in sizes.items():
        name = label_of(value)
        (group,) = (group for group in groups if group.value == name)
        assert group.figures.num_documents == count
        assert group.kind == ("null" if value is None else "value")


@given(st.lists(st.none() | st.text('"()nul alothers', max_size=14), unique=True))
def test_labels_are_unique(values):
    labels = [label_of(value) for value in values]
    assert [value_of(name) for name in labels] == values
    assert len(set(labels)) == len(labels)
    assert OTHERS not in labels
    assert (NULL in labels) == (None in values)


@pytest.mark.parametrize("null_is_large", [True, False])
def test_the_others_are_not_the_missing(null_is_large):
    values: list[str | None] = [f"{i:04}" for i in range(200)]
    values[199 if null_is_large else 0] = None
    tables = grouped(values)
    kinds = {group.value: group.kind for group in tables.groups}
    assert (kinds.get(NULL) == "null") is null_is_large
    assert kinds[OTHERS] == "others"
    assert len(kinds) == MOST_GROUPS_SHOWN + 1
    sizes = {group.value: group.figures.num_documents for group in tables.groups}
    assert sizes[OTHERS] == 200 - MOST_GROUPS_SHOWN
    assert sum(sizes.values()) == 200
    for sketches in tables.sketches.values():
        assert list(sketches) == list(kinds)
        assert sketches[OTHERS].num_documents == sizes[OTHERS]


def test_a_literal_name_of_the_others_keeps_its_documents():
    values = [OTHERS] * 3 + [f"{i:04}" for i in range(100)]
    groups = {g.value: g.figures.num_documents for g in grouped(values[::-1]).groups}
    assert groups[f'"{OTHERS}"'] == 3
    assert groups[OTHERS] == 101 - MOST_GROUPS_SHOWN


def test_no_column_is_one_group():
    (tally,) = tally_rows(scores_of(["a", None]), [WHOLE.tallied()])
    ((figures, _),) = tally.by_code().values()
    assert figures.num_documents == 2
