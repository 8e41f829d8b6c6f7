"""The demo's corpus: labelled text that is on every machine with Python and a few packages.

Owns finding the text and writing it as Parquet. Texts are labelled, so that a report can be
checked by eye: prose, code, package READMEs and licences are language, the rest is seeded noise.
"""

import base64
import pydoc_data.topics
import random
import shutil
import sysconfig
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

SEED = 20
NUM_FILES = 4
ROW_GROUPS_PER_FILE = 3
SHORTEST = 400
LONGEST = 2200
LONG_TOPIC = "exceptions", "formatstrings", "assignment"
"""Reference topics that are longer than one window; the first that exists is taken whole."""


NOISE = "shuffled words", "random characters", "base64"
"""Sources that are noise instead of language."""


class Row(NamedTuple):
    """One document of the demo."""

    doc_id: str
    source: str
    lang: str
    text: str


def build_demo_corpus(folder: Path) -> Path:
    """Write the corpus to `folder`, unless it is there already."""
    if folder.is_dir():
        return folder
    rows = [*_prose(), *_code(), *_readmes(), *_licences()]
    rows += _noise([row.text for row in rows if row.source == "prose"])
    random.Random(SEED).shuffle(rows)
    scratch = folder.with_name(f".{folder.name}-unfinished")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for index in range(NUM_FILES):
        table = pa.Table.from_pylist([row._asdict() for row in rows[index::NUM_FILES]])
        pq.write_table(
            table,
            scratch / f"demo-{index}.parquet",
            row_group_size=-(-table.num_rows // ROW_GROUPS_PER_FILE),
            write_page_checksum=True,
        )
    scratch.rename(folder)
    return folder


def _prose() -> Iterator[Row]:
    """Topics of Python's language reference."""
    topics: dict[str, str] = pydoc_data.topics.topics
    fitting = [name for name in sorted(topics) if SHORTEST <= len(topics[name]) <= LONGEST]
    whole = [name for name in LONG_TOPIC if len(topics.get(name, "")) > 8192][:1]
    for name in [*fitting[:42], *whole]:
        yield Row(f"topic/{name}", "prose", "en", topics[name])


def _code() -> Iterator[Row]:
    """Small modules of the standard library, whole."""
    root = Path(sysconfig.get_path("stdlib"))
    found = [*root.glob("*.py"), *root.glob("json/*.py"), *root.glob("importlib/*.py")]
    found += [*root.glob("email/*.py"), *root.glob("concurrent/futures/*.py")]
    texts = ((path, path.read_text(errors="replace")) for path in sorted(found))
    fitting = [(path, text) for path, text in texts if SHORTEST <= len(text) <= 2 * LONGEST]
    for path, text in fitting[:26]:
        yield Row(f"stdlib/{path.relative_to(root).as_posix()}", "code", "python", text)


def _readmes() -> Iterator[Row]:
    """READMEs of installed packages, their beginnings."""
    readmes: dict[str, str] = {}
    for package in distributions():
        text = package.metadata.json.get("description")
        if isinstance(text, str) and len(text) >= SHORTEST:
            readmes[str(package.metadata["Name"]).lower()] = text
    for name in sorted(readmes)[:50]:
        text = readmes[name]
        end = text.rfind("\n\n", SHORTEST, 900)
        yield Row(f"readme/{name}", "markdown", "en", text[: end if end > 0 else 900])


def _licences() -> Iterator[Row]:
    """Licence files of installed packages: many are nearly the same."""
    licences: dict[str, str] = {}
    for package in distributions():
        for file in package.files or ():
            if file.name.upper().startswith(("LICENSE", "LICENCE")) and ".dist-info" in str(file):
                path = Path(str(package.locate_file(file)))
                if path.is_file() and SHORTEST <= path.stat().st_size <= 1700:
                    licences[str(package.metadata["Name"]).lower()] = path.read_text(
                        errors="replace"
                    )
    for name in sorted(licences)[:32]:
        yield Row(f"licence/{name}", "licence", "en", licences[name])


def _noise(prose: list[str]) -> Iterator[Row]:
    rng = random.Random(SEED)
    words = " ".join(prose).split()
    printable = "".join(chr(code) for code in range(32, 127))
    for i in range(14):
        text = " ".join(rng.choices(words, k=120))
        yield Row(f"noise/words-{i:02d}", NOISE[0], "none", text)
    for i in range(14):
        text = "".join(rng.choices(printable, k=260))
        yield Row(f"noise/characters-{i:02d}", NOISE[1], "none", text)
    for i in range(14):
        text = base64.b64encode(rng.randbytes(210)).decode()
        yield Row(f"noise/base64-{i:02d}", NOISE[2], "none", text)
