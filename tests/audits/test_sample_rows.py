"""How many rows of each stratum, in proportion and never too few; and that chance is fair."""

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.audits.sample_rows import allocate, choose_rows
from pipeline.corpus.files import find_files, read_footers
from pipeline.errors import ConfigError

COUNTS = st.dictionaries(st.text(max_size=2), st.integers(1, 10_000), min_size=1, max_size=12)


@given(counts=COUNTS, rows=st.integers(24, 30_000))
def test_allocation(counts, rows):
    shares = allocate(counts, rows)
    total = sum(counts.values())
    assert sum(shares.values()) == min(rows, total)
    for value, count in counts.items():
        assert min(2, count) <= shares[value] <= count
        # Two rows each apart, in proportion.
        room, pool = count - min(2, count), total - sum(min(2, n) for n in counts.values())
        left = min(rows, total) - sum(min(2, n) for n in counts.values())
        exact = left * room / pool if pool else 0
        assert abs(shares[value] - min(2, count) - exact) <= 1


def test_more_values_than_rows():
    with pytest.raises(
        ConfigError, match="sample_rows = 5 is too few for the 3 values of lang"
    ) as e:
        allocate({"a": 9, "b": 9, "c": 9}, 5, "lang")
    assert e.value.hint.startswith("set it to at least 6")


def test_every_row_is_as_likely(tmp_path):
    for name in ("a", "b"):
        pq.write_table(pa.table({"text": ["x"] * 50}), tmp_path / f"{name}.parquet")
    root, found = find_files(str(tmp_path))
    footers, _ = read_footers(root, found, "text")
    drawn = pl.DataFrame({"file": [], "row": []}, schema={"file": pl.String, "row": pl.Int64})
    for seed in range(200):
        chosen = choose_rows(root, footers, None, None, {None: 100}, {None: 10}, seed)
        frame = pl.concat(chosen.values()).select("file", "row")
        assert frame.height == frame.unique().height == 10
        drawn = drawn.vstack(frame)
    times = drawn.group_by("file", "row").len()["len"].to_list()
    times += [0] * (100 - len(times))
    # Drawn without replacement, so a little less even than independent draws would be.
    assert stats.chisquare(times).pvalue > 1e-4
