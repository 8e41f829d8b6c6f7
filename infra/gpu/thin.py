"""Zero the code for other GPUs in CUDA libraries, so that they compress to a fraction.

    python infra/gpu/thin.py CAPABILITY FOLDER        (90 for an H100 or H200, 80 for an A100)

A fat binary holds a header and, one after another, its code for each kind of GPU; the driver takes
the one that fits and never reads the others. Headers stay as they are, and so does every offset.
The layout is not documented by NVIDIA; it is as https://github.com/n-eiling/cuda-fatbin-decompression
reads it, and what is not laid out so is left alone.
"""

import mmap
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAGIC = struct.pack("<I", 0xBA55ED50)
HEADER = struct.Struct("<IHHQ")
ENTRY = struct.Struct("<HHIQIIHHI")
PTX, MACHINE_CODE = 1, 2
SMALLEST_BYTES = 1 << 20


class Code(NamedTuple):
    """Code for one kind of GPU: where its bytes are."""

    kind: int
    capability: int
    start: int
    end: int


def binaries(data: mmap.mmap | bytes) -> Iterator[list[Code]]:
    """The codes of each fat binary in a library."""
    at = data.find(MAGIC)
    while at >= 0:
        codes: list[Code] = []
        end = at + len(MAGIC)
        if at + HEADER.size <= len(data):
            _, _, header_size, size = HEADER.unpack_from(data, at)
            if header_size == HEADER.size and at + header_size + size <= len(data):
                end = at + header_size + size
                codes = list(_codes(data, at + header_size, end))
        yield codes
        at = data.find(MAGIC, end)


def _codes(data: mmap.mmap | bytes, at: int, end: int) -> Iterator[Code]:
    while at + ENTRY.size <= end:
        kind, _, header_size, size, _, _, _, _, capability = ENTRY.unpack_from(data, at)
        at += header_size + size
        if kind not in (PTX, MACHINE_CODE) or header_size < ENTRY.size or at > end:
            return
        yield Code(kind, capability, at - size, at)


def wanted(codes: list[Code], capability: int) -> Code | None:
    """What the driver takes: code of the same major version, else the newest PTX to compile."""

    def newest(kind: int, oldest: int) -> Code | None:
        fitting = [c for c in codes if c.kind == kind and oldest <= c.capability <= capability]
        return max(fitting, key=lambda code: code.capability, default=None)

    return newest(MACHINE_CODE, capability // 10 * 10) or newest(PTX, 0)


def thin(library: Path, capability: int) -> tuple[int, int]:
    """Returns the bytes of code kept and zeroed."""
    kept = zeroed = 0
    with library.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        for codes in binaries(data):
            choice = wanted(codes, capability)
            for code in codes:
                if choice and code[:2] == choice[:2]:  # more than one: each for some functions
                    kept += code.end - code.start
                else:
                    data[code.start : code.end] = bytes(code.end - code.start)
                    zeroed += code.end - code.start
    return kept, zeroed


def main() -> None:
    capability, folder = int(sys.argv[1]), Path(sys.argv[2])
    kept = zeroed = 0
    for library in sorted(folder.rglob("*.so*")):
        if library.is_file() and library.stat().st_size >= SMALLEST_BYTES:
            # A package may be linked from a cache: what is changed is a copy.
            copy = library.with_suffix(".copy")
            copy.write_bytes(library.read_bytes())
            copy.chmod(library.stat().st_mode)
            copy.replace(library)
            one = thin(library, capability)
            kept, zeroed = kept + one[0], zeroed + one[1]
    print(f"code for sm_{capability}: {kept >> 20} MiB; {zeroed >> 20} MiB for other GPUs zeroed")


if __name__ == "__main__":
    main()
