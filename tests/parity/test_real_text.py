"""What the score of a trained model sorts real text by, as a report says it: with -s, the sentence.

Mail is of real people: it is fetched when the test runs, and skipped where no registry is reached.
"""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipeline import build_report, read_scores
from pipeline.reports.sorting import Factor, SortsBy, sorts_by
from tests.support.real_text import write_corpus

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(1200)
def test_the_score_sorts_real_text_by_language_before_anything_else(tmp_path: Path, smollm2: Path):
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    if not write_corpus(corpus):
        pytest.skip("needs npm and a registry that has the texts")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "jobs.cli", "score", str(corpus), "--out", str(run)]
    command += ["--model", str(smollm2), "--carry", "kind,lang,label"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr

    report = build_report(run, by="lang")
    shown("all, by lang", report.sorts_by)
    by = factors(report.sorts_by)
    assert report.sorts_by.factors[0].name == "lang"
    assert by["lang"].matters
    assert "are between languages: filter within lang." in report.sorts_by.verdict
    assert "--within lang" in str(report.sorts_by.command)
    perplexity = {one.value: one.perplexity for one in by["lang"].groups}
    assert perplexity["hi"] < perplexity["en"] < perplexity["sw"], "letters before sense"

    # Spam is no more surprising than ham: a cut at the high end would not remove it.
    mail = read_scores(run).filter(pl.col("kind") == "mail")
    found = sorts_by(mail, ["label"])
    shown("mail, by label", found)
    of_label = factors(found)["label"]
    assert not of_label.matters or of_label.groups[0].value == "spam"


def factors(found: SortsBy) -> dict[str, Factor]:
    return {one.name: one for one in found.factors}


def shown(what: str, found: SortsBy) -> None:
    print(f"{what}: {found.in_words()}")
    for one in found.factors:
        groups = ", ".join(f"{group.value} {group.perplexity:.3g}" for group in one.groups)
        print(f"  {one.name}: share {one.share}, {one.interval}; {groups}")
