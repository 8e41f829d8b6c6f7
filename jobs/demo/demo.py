"""The demo: a small corpus, a small trained model, the whole path, a report.

    python -m jobs.demo [FOLDER]

The README shows its report. A second run finds everything there and scores nothing.
"""

import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from jobs.console import screen
from jobs.console.ending import run_process
from jobs.console.progress import ProgressListener
from jobs.demo.corpus import NOISE, build_demo_corpus
from jobs.demo.model import demo_model
from pipeline.errors import UsageError, require_modules
from pipeline.reports.output import print_report, write_report
from pipeline.reports.report import Report, build_report
from pipeline.runs.store import RunStore
from pipeline.settings.config import ScoreConfig
from pipeline.storage.cache import cache_folder


def run_demo(folder: Path) -> int:
    """Fetch, build, score, report; returns the exit code. Raises WinnowError."""
    # First, and not with the module: where the engine's packages are missing, nothing is fetched.
    require_modules("the demo", "ray", "vllm")
    from jobs.run.score import run_score

    started = time.monotonic()
    messages = screen.messages()
    messages.print(f"Model: SmolLM2-135M in {cache_folder()}")
    model = demo_model()
    corpus = build_demo_corpus(folder / "corpus")
    messages.print(f"Corpus: {corpus}")
    run = folder / "run"
    config = ScoreConfig(
        corpus=(str(corpus),), out=str(run), model=str(model), carry=("source", "lang")
    )
    with ProgressListener() as listener, _words_of_the_demo(folder):
        outcome = run_score(config, listener)
    store = RunStore(config.out)
    report = demo_report(store)
    page = write_report(report, store.root)

    print()
    print_report(report, screen.data())
    winnow = _winnow()
    print(f"\nReport: {page}")
    print(f"Took {time.monotonic() - started:.0f} s. Next:")
    print(f"  {winnow} explore {run}")
    print(f"  {winnow} report {run} --by lang")
    print(f"  {winnow} plan YOUR.parquet")
    print(f"  {winnow} score YOUR.parquet --out runs/mine --model {shlex.quote(str(model))}")
    return outcome.exit_code


def demo_report(store: RunStore) -> Report:
    """By source, and how well scores separate noise from language."""
    return build_report(store, by=("source",), separate=f"source={','.join(NOISE)}")


@contextmanager
def _words_of_the_demo(folder: Path) -> Iterator[None]:
    """What an earlier version left cannot be continued: a hint without `out`, which is not ours.

    Nothing is removed here: what is in the folder need not be the demo's.
    """
    try:
        yield
    except UsageError as error:
        if "out" not in error.settings:
            raise
        old = f"{shlex.quote(str(folder / 'run'))} {shlex.quote(str(folder / 'corpus'))}"
        hint = f"start over: rm -r {old}; or use another folder: python -m jobs.demo FOLDER"
        raise type(error)(str(error), hint=hint) from error


def _winnow() -> str:
    """How to call the command from here."""
    if shutil.which("winnow"):
        return "winnow"
    beside = Path(sys.executable).with_name("winnow")
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return str(beside)


def main() -> NoReturn:
    """Run it in the folder that is named, or in ./demo."""
    run_process(lambda: run_demo(Path(sys.argv[1] if len(sys.argv) > 1 else "demo")))
