"""Where in a TOML file a setting is, for the words of an error.

Owns finding a line; reading the file and judging what it says is loading.py's.
"""

import re
from pathlib import Path

HEADER = re.compile(r"\s*\[{1,2}\s*([^\[\]]+?)\s*\]{1,2}\s*(?:#.*)?$")


def at_line(file: Path, table: str, key: str | None = None, number: int = 1) -> str:
    """Where in a TOML file a key is, or a table: " (at line 3)"; nothing if it is not found."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    inside, seen = False, 0
    for at, line in enumerate(lines, 1):
        if header := HEADER.match(line):
            seen += header[1] == table
            inside = header[1] == table and seen == number
            if inside and key is None:
                return f" (at line {at})"
        elif inside and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
            return f" (at line {at})"
    return ""
