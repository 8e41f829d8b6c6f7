"""Which code of a CUDA library is kept for one GPU."""

import struct
from pathlib import Path

import pytest

from infra.gpu.thin import HEADER, thin

PTX, CODE = 1, 2


def fat_binary(*codes: tuple[int, int, bytes]) -> bytes:
    """(kind, capability, bytes) as a library holds them, by the published layout."""
    entries = b"".join(
        struct.pack("<HHIQIIHHI", kind, 0x101, 64, len(data), 0, 0, 0, 1, capability).ljust(
            64, b"\1"
        )
        + data
        for kind, capability, data in codes
    )
    return HEADER.pack(0xBA55ED50, 1, 16, len(entries)) + entries


@pytest.mark.parametrize(
    ("capability", "kept"),
    [
        (90, b"C" * 24),
        (86, b"B" * 16),  # an older minor version of the same major one
        (89, b"B" * 16),
        (120, b"p" * 8),  # nothing but PTX can be compiled for it
        (75, b""),
    ],
)
def test_what_a_driver_would_take_is_kept(tmp_path: Path, capability: int, kept: bytes):
    parts = (PTX, 80, b"p" * 8), (CODE, 80, b"B" * 16), (CODE, 90, b"C" * 24)
    library = tmp_path / "library.so"
    before = b"\x7fELF code" + fat_binary(*parts) + b"more" + fat_binary((CODE, 90, b"D" * 8))
    library.write_bytes(before)
    found = thin(library, capability)
    after = library.read_bytes()
    left = {data for _, _, data in parts if data in after} - {b""}
    assert left == ({kept} if kept else set())
    assert (b"D" * 8 in after) == (capability == 90)
    assert len(after) == len(before)
    assert sum(found) == 8 + 16 + 24 + 8
    changed = {at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
    assert {before[at] for at in changed} <= set(b"pBCD")  # no header


def test_what_is_laid_out_otherwise_is_left_alone(tmp_path: Path):
    library = tmp_path / "library.so"
    whole = fat_binary((CODE, 80, b"B" * 16))
    odd = whole[:-8]  # it claims more than there is
    library.write_bytes(b"code" + odd)
    assert thin(library, 90) == (0, 0)
    assert library.read_bytes() == b"code" + odd
