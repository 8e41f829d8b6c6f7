"""The part of the README that is made: what each score column holds.

    python -m tests.support.readme        (or: make schemas)

Owns the rows of that table which follow from the registry; those before and behind are written by
hand. test_docs.py holds the README to it.
"""

import re
from pathlib import Path

from pipeline.schema import COLUMNS

README = Path(__file__).parents[2] / "README.md"
MADE = re.compile(r"(?<=\n)\| `status` \|.*?(?=\| `token_logprobs`)", re.DOTALL)


def column_rows() -> str:
    """One row for each column, or for several that share one."""
    rows: list[tuple[list[str], list[str]]] = []
    for name, column in COLUMNS.items():
        if not column.shares_row:
            rows.append(([], []))
        rows[-1][0].append(f"`{name}`")
        rows[-1][1].append(column.meaning)
    return "".join(f"| {', '.join(names)} | {'; '.join(said)} |\n" for names, said in rows)


def main() -> None:
    """Write them into the README."""
    text, num_made = MADE.subn(lambda _: column_rows(), README.read_text(encoding="utf-8"))
    if num_made != 1:
        raise SystemExit("README.md has no table of columns from `status` to `token_logprobs`")
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
