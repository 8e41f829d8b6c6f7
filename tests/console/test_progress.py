"""jobs/console/progress.py: what is said of a verification while it rescores, and when it stops."""

import pytest

from jobs.console import progress
from jobs.console.progress import RescoringProgress
from pipeline.verification.rescoring import Progress

BEGUN = Progress("in float32", num_documents=20, num_tokens=41_234)


def test_a_log_says_what_is_ahead_and_then_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    with RescoringProgress() as shown:
        shown.check()
        shown.update(BEGUN)
        shown.update(BEGUN._replace(documents_done=3, tokens_done=12_345))
        shown.update(BEGUN._replace(way="each document alone"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "Checking every row …",
        "Rescoring 20 documents, 41,234 tokens, in float32 …",
        "Rescored 0 of 20 documents, 0 of 41,234 tokens",
        "Rescored 3 of 20 documents, 12,345 of 41,234 tokens",
        "Rescoring 20 documents, 41,234 tokens, each document alone …",
        "Rescored 0 of 20 documents, 0 of 41,234 tokens",
    ]


def test_a_log_is_not_filled(capsys):
    with RescoringProgress() as shown:
        shown.check()
        for done in range(1000):
            shown.update(BEGUN._replace(tokens_done=done))
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (None, ""),
        (
            BEGUN._replace(documents_done=3, tokens_done=12_345),
            "Rescored 3 of 20 documents, 12,345 of 41,234 tokens. ",
        ),
    ],
    ids=["before it rescores", "while it rescores"],
)
def test_one_that_is_stopped_starts_over(seen, said):
    shown = RescoringProgress()
    if seen is not None:
        shown.update(seen)
    assert shown.how_far() == (
        f"{said}A verification starts over; a smaller --sample takes less time."
    )
