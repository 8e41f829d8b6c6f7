"""A flipped bit anywhere in a part is found or changes no figure, and never ends a process."""

from pathlib import Path

import pytest

from tests.support.flips import REFUSED, UNCHANGED, counted, flip_bits
from tests.support.made_runs import row, unscored, write_run
from tests.support.parts import write_as_before

QUICK = 40
MANY = 1000
ROWS = 300
MANY_FLIPS = pytest.param(MANY, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])


def made_run(folder: Path) -> Path:
    """One part with all kinds of columns, large enough that its pages outweigh its footer."""
    rows = [
        unscored(source=None)
        if i % 17 == 0
        else row(1 + i % 90, 2.5 * (1 + i % 90) + i / 7, 9 * (1 + i % 90), source=f"s{i % 3}")
        for i in range(ROWS)
    ]
    write_run(folder, {"a.parquet": rows})
    return folder / "scores/part-00000.parquet"


@pytest.mark.parametrize("number", [QUICK, MANY_FLIPS], ids=["quick", "many"])
@pytest.mark.parametrize("seed", [1])
def test_a_flipped_bit_of_a_part_is_refused(tmp_path, number, seed):
    part = made_run(tmp_path / "run")
    outcomes = list(flip_bits(tmp_path / "run", part, number, seed))
    wrong = [one for one in outcomes if one.kind not in (REFUSED, UNCHANGED)]
    print(counted(outcomes))
    assert not wrong, wrong[:3]
    # Every byte is covered; only in the name of the footer's own checksum nothing is lost.
    assert counted(outcomes)[REFUSED] >= number - 1


@pytest.mark.parametrize("number", [QUICK, MANY_FLIPS], ids=["quick", "many"])
@pytest.mark.parametrize("seed", [2])
def test_a_flipped_bit_of_a_part_of_0_1_0_changes_no_figure(tmp_path, monkeypatch, number, seed):
    write_as_before(monkeypatch)
    part = made_run(tmp_path / "run")
    outcomes = list(flip_bits(tmp_path / "run", part, number, seed))
    wrong = [one for one in outcomes if one.kind not in (REFUSED, UNCHANGED)]
    print(counted(outcomes))
    assert not wrong, wrong[:3]
