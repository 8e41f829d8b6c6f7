"""What `winnow explore` does: open a run, make its bins, serve a page and say where it is."""

import os
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from jobs.console import screen
from pipeline.errors import RunError, UsageError, named, require_modules
from pipeline.explore.pairs import open_two
from pipeline.explore.run import ExploredRun, open_run
from pipeline.reports.excerpts import METRIC
from pipeline.reports.groups import check_group
from pipeline.runs.judgements import Judgements

if TYPE_CHECKING:
    from jobs.explore.queries import Queries

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def explore_and_serve(
    run: str,
    other: str | None,
    *,
    by: str | None,
    corpus: str | None,
    judgements: str | None,
    partial: bool,
    host: str,
    port: int,
    allow_remote: bool,
    opens: bool,
) -> None:
    """Serve until a signal ends the process. Raises WinnowError before that."""
    require_modules("winnow explore", "starlette", "uvicorn")
    if host not in LOOPBACK and not allow_remote:
        raise UsageError(
            f"{named('host')} {host} can be reached from other machines",
            hint=f"leave {named('host')} out and forward the port with ssh -L; or add "
            f"{named('allow_remote')}, which lets anyone with the address read the run and its "
            "texts and mark documents good or bad, unencrypted",
        )
    from jobs.explore.app import make_app
    from jobs.explore.queries import Queries
    from jobs.explore.serve import new_token, open_port, serve

    two = None if other is None else open_two(run, other, corpus=corpus, partial=partial)
    opened = open_run(run, corpus=corpus, partial=partial) if two is None else two.run
    if by is not None:
        check_group(by, opened.manifest)
        if by not in opened.columns:
            raise RunError(f"cannot group by '{by}': it is the text")
    kept = Judgements(opened.store.root) if judgements is None else Judgements.at(judgements)
    sock = open_port(host, port)
    queries = Queries(opened, by if by is not None else opened.default_column(), kept)
    _fill(queries, opened, METRIC if two is None else two.metric)
    token = new_token()
    number = sock.getsockname()[1]
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{number}/{token}/"
    app = make_app(queries, token, two=two, is_remote=host not in LOOPBACK)
    serve(app, sock, lambda: _tell(address, number, opened, host, opens=opens))


def _fill(queries: "Queries", run: ExploredRun, metric: str) -> None:
    """The first distribution, so that the page is there at once."""
    messages = screen.messages()
    bar = Progress(
        TextColumn("Reading the scores"),
        BarColumn(),
        MofNCompleteColumn(),
        console=messages,
        transient=True,
        disable=not messages.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=run.num_rows)
        queries.bins_of(metric, queries.by, progress=lambda rows: bar.update(task, advance=rows))


def _tell(address: str, port: int, run: ExploredRun, host: str, *, opens: bool) -> None:
    messages = screen.messages()
    if run.corpus_fault:
        messages.print(f"No texts will be shown: {run.corpus_fault}", style="yellow")
    if not run.parts.is_complete:
        messages.print(
            "The run is not complete: only the documents scored so far are shown.", style="yellow"
        )
    if host not in LOOPBACK:
        messages.print(
            "Anyone who has this address and reaches this machine can read the run and its texts.",
            style="yellow",
        )
    print(address, flush=True)
    if "SSH_CONNECTION" in os.environ and host in LOOPBACK:
        messages.print(
            f"To open the page from your machine: ssh -L {port}:127.0.0.1:{port} THIS_MACHINE"
        )
    messages.print("Press Ctrl-C to stop.")
    has_screen = sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    # Without a screen a browser of the terminal would take it.
    if opens and has_screen and "SSH_CONNECTION" not in os.environ:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
