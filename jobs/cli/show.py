"""What `winnow show` prints: a document's scores, its place, and its text shaded by surprise."""

from typing import Any

from rich.text import Text

from jobs.console import screen
from jobs.console.quiet import quiet
from pipeline.library import Scorer
from pipeline.rendering.formats import count, number, share
from pipeline.rendering.page import Page, Section
from pipeline.rendering.shading import legend, readable, shaded
from pipeline.rendering.table import Table, Words, facts_table
from pipeline.rendering.terminal import print_page
from pipeline.reports.document import ShownDocument, show_document
from pipeline.reports.document_text import NO_LOGPROBS

MOST_CHARACTERS = 20_000
"""Characters of a text that are shown on a terminal; a pipe gets all of them."""


def show_and_print(
    run: str,
    file: str | None,
    row: int | None,
    *,
    doc_id: str | None,
    by: tuple[str, ...],
    corpus: str | None,
    partial: bool,
    score_tokens: bool,
    as_json: bool,
) -> int:
    """Find a document and print it. The exit code: 1 if its text is not to be had."""
    with screen.messages().status("Reading scores") as status:

        def score_text(text: str) -> dict[str, Any]:
            status.update("Loading the run's model to score the tokens")
            with quiet(), Scorer.of_run(run) as scorer:
                return scorer.score([text]).row(0, named=True)

        found = show_document(
            run,
            file,
            row,
            doc_id=doc_id,
            by=by,
            corpus=corpus,
            partial=partial,
            score_text=score_text if score_tokens else None,
        )
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        print_page(_to_page(found), screen.data())
        _print_text(found)
    _say_what_is_missing(found)
    return 1 if found.text is None and found.status not in ("null", "error") else 0


def _to_page(found: ShownDocument) -> Page:
    known = [
        ("file", found.file),
        ("row", count(found.row)),
        ("id", found.doc_id),
        ("status", found.status),
        ("error", found.error),
        *found.carried.items(),
    ]
    facts = [(name, value) for name, value in known if value]
    facts += [
        (name.replace("_", " "), count(value) if isinstance(value, int) else number(value))
        for name, value in found.metrics.items()
        if value is not None
    ]
    places = Table(
        columns=("rank among", Words("metric"), "value", "percentile", "lower", "higher"),
        rows=[
            (
                "all scored" if one.by is None else f"{one.by} {one.group}",
                one.metric.replace("_", " "),
                number(found.metrics[one.metric]),
                share(one.rank),
                count(one.num_below),
                count(one.num_documents - one.num_below - one.num_equal),
            )
            for one in found.places
        ],
    )
    shown = [facts_table(facts), places] if found.places else [facts_table(facts)]
    return Page(title="Document", sections=[Section("", [table]) for table in shown])


def _print_text(found: ShownDocument) -> None:
    """The text; on a terminal in shades where there are log-probabilities, and not endlessly."""
    if not found.text:
        return
    console = screen.data()
    print()
    if not console.is_terminal:
        print(readable(found.text))
        return
    if found.tokens is not None and console.color_system is not None:
        console.print(legend())
        shown = shaded((span.text, span.nll) for span in found.tokens)
    else:
        shown = shaded([(found.text, None)])
    cut = len(shown) > MOST_CHARACTERS
    console.print(shown[:MOST_CHARACTERS] if cut else shown)
    if cut:
        left = count(len(shown) - MOST_CHARACTERS)
        console.print(
            Text(f"... and {left} more characters: pipe the output to see all of it", "dim")
        )


def _say_what_is_missing(found: ShownDocument) -> None:
    if found.text is None:
        hint = "; if the corpus was moved, give its new location with --corpus"
        scored = found.status not in ("null", "error")
        screen.say(f"No text: {found.text_missing}{hint if scored else ''}", "yellow")
    elif found.tokens is None and found.places:
        hint = (
            ": --score-tokens scores them now, winnow score --token-logprobs stores them"
            if found.tokens_missing == NO_LOGPROBS
            else ""
        )
        screen.say(f"No shades: {found.tokens_missing}{hint}", "yellow")
