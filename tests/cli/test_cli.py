"""jobs/cli/main.py, the commands: words, exit codes and what is left behind. Starts no Ray."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.main import get_command

from jobs.cli.main import app
from jobs.cli.parsing import Command
from jobs.cli.runs import documents_of
from jobs.console import progress
from jobs.console.ending import run_command
from jobs.console.signals import on_signal, resumable
from pipeline.engine.vllm.reference import ReferenceScorer
from pipeline.runs.manifest import Totals
from pipeline.runs.store import RunStore
from tests.support.made_runs import row, write_run
from tests.support.runs import make_run

COMMANDS = [
    "score",
    "doctor",
    "plan",
    "status",
    "verify",
    "gc",
    "compare",
    "report",
    "show",
    "explore",
    "filter",
    "audit",
]
COMMANDS += [
    "schedule",
    "submit",
    "jobs list",
    "jobs status",
    "jobs logs",
    "jobs stop",
    "config show",
]


def every_command() -> dict[str, Any]:
    """By what a user types."""
    commands = dict(get_command(app).commands)
    for group in ("jobs", "config"):
        inner = commands.pop(group).commands
        commands |= {f"{group} {name}": command for name, command in inner.items()}
    return commands


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("WINNOW_", "RAY_ADDRESS")):
            monkeypatch.delenv(name)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    table = pa.table({"id": [1, 2], "body": ["one", "two"], "text": ["one", "two"]})
    pq.write_table(table, folder / "a.parquet")
    return folder


BAD_REQUESTS = {
    "no corpus": (["/nowhere/at-all"], "no such file or folder: /nowhere/at-all"),
    "no column": (["{corpus}", "--text-column", "txt"], "did you mean --text-column text?"),
    "not text": (["{corpus}", "--text-column", "id"], "column 'id' is int64, not text"),
    "no model": (["{corpus}", "--model", "/nowhere/model"], "no such model folder: /nowhere/model"),
    "not a model": (["{corpus}", "--model", "{corpus}"], "it has no config.json"),
    "window too long": (["{corpus}", "--window-tokens", "5000"], "exceeds the maximum"),
    "window too short": (["{corpus}", "--window-tokens", "1"], "--window-tokens = 1: must be"),
    "context too long": (["{corpus}", "--context-tokens", "511"], "leaves no room"),
    "no such dtype": (["{corpus}", "--dtype", "int8"], "--dtype = 'int8': must be"),
    "no such prefix": (["{corpus}", "--prefix", "box"], "--prefix = 'box': must be"),
    "no such carry": (["{corpus}", "--carry", "bdy"], "did you mean 'body'?"),
    "foreign folder": (["{corpus}", "--out", "{corpus}"], "is not empty and is not a run"),
    "no such config": (["{corpus}", "--config", "no.toml"], "cannot read the configuration"),
    "not a number": (["{corpus}", "--limit", "many"], "--limit: must be a valid integer"),
    "no such option": (["{corpus}", "--modle", "x"], "--model"),
    "two that do not go together": (
        ["{corpus}", "--engines-per-gpu", "2", "--tensor-parallel-size", "2"],
        "Error: --engines-per-gpu 2 needs --tensor-parallel-size 1: ",
    ),
    "twice": (["{corpus}", "--limit", "1", "--limit=2"], "Error: --limit is given twice\n"),
}


def test_a_command_line_is_parsed_once(monkeypatch):
    parsers = []
    make = Command.make_parser
    monkeypatch.setattr(
        Command, "make_parser", lambda self, ctx: parsers.append(self) or make(self, ctx)
    )
    command = get_command(app).commands["show"]
    context = command.make_context("show", ["run", "--by", "a", "--by", "b"])
    assert context.params["by"] == ["a", "b"]
    assert parsers == [command]


@pytest.mark.parametrize(("arguments", "message"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_is_one_clear_line(winnow, corpus, tiny_model, tmp_path, arguments, message):
    out = tmp_path / "run"
    given = [argument.format(corpus=corpus) for argument in arguments]
    defaults = [] if "--model" in given else ["--model", tiny_model]
    defaults += [] if "--out" in given else ["--out", out]
    before = sorted(corpus.iterdir())

    code, stdout, stderr = winnow("score", *given, *defaults)

    assert code == 2
    assert message in stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert not out.exists()
    assert sorted(corpus.iterdir()) == before


SPELT = {
    "compare r r --resamples 5": "--resamples: must be greater than or equal to 100",
    "verify r --sample -1": "--sample: must be greater than or equal to 0",
    "explore r --port 99999": "--port: must be less than or equal to 65535",
    "show r f x": "Error: ROW: must be a valid integer",
    "plan {corpus} --carry bdy": "no column 'bdy' in the corpus (--carry)",
    "plan {corpus} --id-column idd": "no column 'idd' in the corpus (--id-column)",
    "report {run} --by sorce": "no carried column 'sorce' (--by)",
    "report {run} --separate sorce=a": "no carried column 'sorce' (--separate)",
    "compare {run} {run} --by sorce": "no carried column 'sorce' (--by)",
    "show {run} 0.parquet 0 --by sorce": "no carried column 'sorce' (--by)",
    "filter {run} --dry-run --min nll=1 --by sorce": "no carried column 'sorce' (--by)",
}


@pytest.mark.parametrize("line", SPELT)
def test_an_error_names_the_option(winnow, corpus, tiny_model, tmp_path, line):
    places = {"corpus": corpus, "run": tmp_path / "made/run"}
    if "{run}" in line:
        make_run(tmp_path / "made", tiny_model, ["one", "two"])
    code, _, err = winnow(*line.format(**places).split())
    assert (code, SPELT[line] in err) == (2, True), err


def test_a_missing_setting_is_named(winnow):
    code, _, err = winnow("score", "--out", "x", "--model", "y")
    assert code == 2
    assert "corpus is not set" in err


def test_an_unknown_key_in_the_file(winnow, tmp_path):
    (tmp_path / "c.toml").write_text('[score]\nmodle = "x"\n')
    code, _, err = winnow("score", "--config", tmp_path / "c.toml")
    assert code == 2
    assert "unknown key 'modle' in [score]" in err
    assert "did you mean 'model'?" in err


def test_option_beats_environment_beats_file(winnow, corpus, tiny_model, tmp_path, monkeypatch):
    settings = {"corpus": corpus, "out": tmp_path / "run", "model": tiny_model}
    lines = [f'{key} = "{value}"' for key, value in settings.items()]
    lines += ["window_tokens = 100", "context_tokens = 10", "limit = 1"]
    (tmp_path / "c.toml").write_text("\n".join(["[score]", *lines]))
    monkeypatch.setenv("WINNOW_SCORE_WINDOW_TOKENS", "90")
    monkeypatch.setenv("WINNOW_SCORE_CONTEXT_TOKENS", "9")

    options = ["--dry-run", "--json", "--context-tokens", "8"]
    code, out, err = winnow("score", "--config", tmp_path / "c.toml", *options)

    assert code == 0, err
    plan = json.loads(out)
    assert (plan["window_tokens"], plan["context_tokens"], plan["rows"]) == (90, 8, 1)
    assert not (tmp_path / "run").exists()


def test_plan(winnow, corpus):
    (corpus / "b.parquet").write_text("not Parquet")
    code, out, err = winnow("plan", corpus, "--json")
    assert code == 1
    plan = json.loads(out)
    assert plan["rows"] == 2
    assert plan["estimated_tokens"] == plan["text_bytes"] // 4
    assert "not a readable Parquet file" in plan["unreadable"]["b.parquet"]
    assert "b.parquet" in err


def test_a_glob_that_the_shell_expanded(winnow, corpus, tiny_model, tmp_path):
    pq.write_table(pa.table({"text": ["three"]}), corpus / "b.parquet")
    expanded = sorted(corpus.iterdir())
    code, out, _ = winnow("plan", *expanded, "--json")
    assert code == 0
    assert out == winnow("plan", f"{corpus}/*.parquet", "--json")[1]
    options = ["--out", tmp_path / "r", "--model", tiny_model, "--dry-run", "--json"]
    code, out, _ = winnow("score", *expanded, *options)
    assert (code, json.loads(out)["rows"], json.loads(out)["files"]) == (0, 3, 2)
    code, out, _ = winnow("config", "show", "score", *expanded, *options[:4], "--json")
    shown = {one["name"]: one["value"] for one in json.loads(out)["settings"]}
    assert shown["corpus"] == [str(path) for path in expanded]


def test_sizes_are_named_as_what_they_are(winnow, corpus, tiny_model, tmp_path):
    what = "uncompressed bytes of the text column as encoded in Parquet"
    _, out, _ = winnow("plan", corpus)
    shown = " ".join(out.split())
    assert f": {what}" in shown
    assert f"4 bytes per token, of {what}" in shown
    plan = json.loads(winnow("plan", corpus, "--json")[1])
    assert (plan["text_bytes_are"], plan["source"]) == (what, f"4 bytes per token, of {what}")
    _, out, _ = winnow("score", corpus, "--out", tmp_path / "r", "--model", tiny_model, "--dry-run")
    assert f": {what}" in " ".join(out.split())


def test_a_dry_run_names_unreadable_files_and_what_is_reused(winnow, tiny_model, tmp_path):
    run = make_run(tmp_path, tiny_model, ["one", "two", "three"]).location
    corpus = tmp_path / "corpus"
    (corpus / "z.parquet").symlink_to("gone")
    options = ["--out", tmp_path / "r", "--model", tiny_model, "--dtype", "float32", "--dry-run"]

    code, out, err = winnow("score", corpus, *options, "--reuse", run, "--json")
    assert code == 0
    plan = json.loads(out)
    assert (plan["rows"], plan["rows_reused"], plan["not_reused"]) == (3, 3, None)
    assert plan["unreadable"] == {"z.parquet": "a broken link to gone (No such file or directory)"}

    (corpus / "0.parquet").unlink()
    _, out, err = winnow("score", corpus, *options, "--reuse", run)
    assert "Unreadable: z.parquet: a broken link to" in " ".join(err.split())
    assert "of 3 rows there, 2 are in files that are gone (0.parquet)" in " ".join(out.split())


def test_a_plan_says_what_it_would_take_over_and_counts_the_rest(winnow, tiny_model, tmp_path):
    texts = [word * 30 for word in ("one ", "two ", "three ")]
    run = make_run(tmp_path, tiny_model, texts).location
    options = [tmp_path / "corpus", "--reuse", run, "--model", tiny_model]
    code, out, _ = winnow("plan", *options, "--dtype", "float32", "--json")
    plan = json.loads(out)
    assert (code, plan["rows"], plan["rows_reused"], plan["not_reused"]) == (0, 3, 3, None)
    assert plan["estimated_tokens"] == 0

    _, out, _ = winnow("plan", *options, "--dtype", "bfloat16", "--json")
    plan = json.loads(out)
    assert (plan["rows_reused"], plan["not_reused"]) == (0, "dtype float32 -> bfloat16")
    assert plan["estimated_tokens"] == len("".join(texts))

    pq.write_table(pa.table({"text": ["four", "five"]}), tmp_path / "corpus/0.parquet")
    code, out, _ = winnow("plan", *options, "--dtype", "float32")
    shown = " ".join(out.split())
    assert "rows reused 1 not reused of 3 rows there, 2 are in files that changed" in shown
    assert "estimated tokens 8 " in shown
    assert "every document counted; reused rows are not counted" in shown

    code, out, err = winnow("plan", tmp_path / "corpus", "--reuse", run)
    assert (code, out) == (2, "")
    assert "--reuse needs a model" in err
    code, out, err = winnow("plan", *options[:2], tmp_path / "gone", *options[3:])
    assert (code, out) == (2, "")
    assert "is not a run directory" in err


def test_status_verify_report_and_compare(winnow, tiny_model, tmp_path):
    store = make_run(tmp_path, tiny_model, ["one", "two", None])
    run = store.location

    code, out, _ = winnow("status", run, "--json")
    assert code == 0
    assert json.loads(out)["rows_done"] == json.loads(out)["rows"] == 3
    code, out, _ = winnow("verify", run, "--sample", "0")
    assert code == 0
    assert "every input row once" in out
    code, out, _ = winnow("report", run)
    assert code == 0
    assert "Documents without a score: 1 null." in out
    code, out, _ = winnow("compare", run, run, "--json")
    assert code == 0
    assert len(json.loads(out)["runs"]) == 2

    store.root.remove("_SUCCESS")
    code, out, _ = winnow("verify", run, "--sample", "0")
    assert code == 1
    assert "FAILED" in out


@pytest.mark.parametrize("command", ["status", "verify", "report", "compare"])
def test_not_a_run(winnow, tmp_path, command):
    code, out, err = winnow(command, tmp_path)
    assert code == 2
    assert out == ""
    assert "is not a run directory" in err
    assert err.endswith("give the output folder of a scoring run\n")


def test_runs_in_the_folder_that_was_named_are_told(winnow, tmp_path):
    for i in range(5):
        write_run(tmp_path / f"run-{i}", {"a.parquet": [row(2, 3.0, 5)]})
    _, _, err = winnow("report", tmp_path)
    named = ", ".join(f"{tmp_path}/run-{i}" for i in range(3))
    assert err.endswith(f"give the output folder of a scoring run, as {named}, ...\n")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (
            ["--dry-run", "filter", "runs/x"],
            "winnow filter --dry-run",
        ),
        (["--by", "lang", "report", "runs/x"], "winnow report --by"),
        (["--by=lang", "report", "runs/x"], "winnow report --by"),
        (["--nonsense"], "winnow --help"),
    ],
)
def test_an_option_before_its_command_is_told_where_it_goes(winnow, line, hint):
    code, _, err = winnow(*line)
    assert code == 2
    assert err.splitlines()[-1].endswith(f": {hint}")


def test_every_command_has_help_with_an_example():
    commands = every_command()
    assert sorted(commands) == sorted(COMMANDS)
    for name, command in commands.items():
        assert f"Example: winnow {name}" in (command.help or "")
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name} has no help"


def test_every_option_names_its_environment_variable(winnow):
    for name, command in every_command().items():
        code, out, _ = winnow(*name.split(), "--help")
        assert code == 0
        for option in command.params:
            if option.param_type_name == "option":
                own = f"WINNOW_{name.replace(' ', '_').upper()}_{option.name.upper()}"
                named = option.envvar or [own]
                for variable in [named] if isinstance(named, str) else named:
                    assert re.search(rf"\b{variable}\b", out), f"{name} --{option.name}"


def test_what_prints_figures_prints_json():
    without = {
        name
        for name, command in every_command().items()
        if "--json" not in {word for param in command.params for word in param.opts}
    }
    assert without == {"schedule", "jobs logs", "explore"}  # files, logs and a page


def test_a_fault_of_ours_is_one_line_too(capsys):
    def broken() -> None:
        raise ZeroDivisionError("by nought")

    with pytest.raises(SystemExit) as ended:
        run_command(broken)
    assert ended.value.code == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: by nought" in err
    assert "WINNOW_DEBUG=1" in err
    assert "Traceback" not in err


class Panic(BaseException):
    """As of Rust, of which it is no Exception."""


def signalled(number: signal.Signals, made_of_it: type[BaseException] | None) -> None:
    """A signal arrives in compiled code, which makes an error of its own of it, or does not."""
    try:
        on_signal(number, None)
    except BaseException:
        if made_of_it is not None:
            raise made_of_it("compiled code made this of it") from None
        raise


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("made_of_it", [None, SystemError, TypeError, Panic])
def test_a_signal_is_no_fault_of_ours_wherever_it_arrives(number, code, made_of_it, capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: signalled(number, made_of_it))
    assert ended.value.code == code
    assert capsys.readouterr().err.endswith(". Run the same command again.\n")


@pytest.mark.parametrize("made_of_it", [None, SystemError])
def test_what_keeps_its_work_can_be_continued(made_of_it, capsys):
    """Whatever compiled code makes of the signal; and said once, where it is part of another."""

    @resumable()
    def night() -> None:
        with resumable():
            signalled(signal.SIGINT, made_of_it)

    with pytest.raises(SystemExit) as ended:
        run_command(night)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted. Run the same command again to continue.\n"


SETTINGS = ["{corpus}", "--out", "{new}", "--model", "{model}"]


@pytest.mark.parametrize(
    ("step", "arguments", "is_continued"),
    [
        ("jobs.run.score.open_run", ["score", *SETTINGS], True),
        ("pipeline.filters.output.FilterWriter.write", ["filter", "{run}", "--out", "{new}"], True),
        ("jobs.cli.filter.decide", ["filter", "{run}", "--dry-run"], False),
        ("jobs.cli.report.build_report", ["report", "{run}"], False),
        ("jobs.cli.compare.compare_runs", ["compare", "{run}", "{run}"], False),
        ("jobs.cli.runs.require_planned", ["status", "{run}"], False),
        ("jobs.cli.runs.open_run", ["score", *SETTINGS, "--dry-run"], False),
    ],
    ids=lambda given: " ".join(given[::2]) if isinstance(given, list) else "",
)
def test_what_only_reads_has_nothing_to_continue(
    winnow, tiny_model, tmp_path, monkeypatch, step, arguments, is_continued
):
    places = {"run": tmp_path / "run", "corpus": tmp_path / "corpus", "new": tmp_path / "new"}
    places["model"] = tiny_model
    make_run(tmp_path, tiny_model, ["one", "two"])
    if arguments[0] == "filter":
        arguments = [*arguments, "--max", "perplexity=1e9"]
    monkeypatch.setattr(step, lambda *_, **__: on_signal(signal.SIGINT, None))
    code, out, err = winnow(*(each.format(**places) for each in arguments))
    end = " to continue." if is_continued else "."
    assert (code, out) == (130, "")
    assert err.endswith(f"Interrupted. Run the same command again{end}\n")


@pytest.mark.parametrize("other", ["nowhere", "file"])
@pytest.mark.parametrize(
    ("setting", "arguments"),
    [
        ("--reuse", ["score", *SETTINGS, "--dry-run"]),
        ("--reuse", ["plan", "{corpus}", "--model", "{model}"]),
        ("--baseline", ["report", "{run}", "--fail-if", "increase(corpus_perplexity) > 5%"]),
        ("--baseline", ["compare", "{run}", "{run}"]),
        ("--minus", ["filter", "{run}", "--max", "difference=1", "--dry-run"]),
        ("--over", ["filter", "{run}", "--max", "ratio=1", "--dry-run"]),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else given,
)
def test_a_setting_that_names_no_run_is_named(
    winnow, tiny_model, tmp_path, setting, arguments, other
):
    places = {"run": tmp_path / "run", "corpus": tmp_path / "corpus", "new": tmp_path / "new"}
    places["model"] = tiny_model
    make_run(tmp_path, tiny_model, ["one", "two"])
    (tmp_path / "file").write_text("no run")
    where = tmp_path / other
    code, out, err = winnow(*(each.format(**places) for each in arguments), setting, where)
    assert (code, out) == (2, "")
    assert f"Error: {setting}: {where} is " in err
    assert "Hint: " in err


def test_an_earlier_signal_is_not_this_ones():
    with pytest.raises(KeyboardInterrupt):
        on_signal(signal.SIGINT, None)
    with pytest.raises(ValueError, match="of its own"), resumable():
        raise ValueError("of its own")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_verification_that_is_stopped_says_how_far_it_came(
    winnow, tiny_model, tmp_path, monkeypatch, number, code
):
    """Nothing of it is kept, so there is nothing to continue."""
    make_run(tmp_path, tiny_model, ["one", "two", "three"])
    nll, texts = ReferenceScorer.nll, []

    def stopped(self, text, on_tokens):
        if texts:
            on_signal(number, None)
        texts.append(text)
        return nll(self, text, on_tokens)

    monkeypatch.setattr(ReferenceScorer, "nll", stopped)
    monkeypatch.setattr(progress, "LOG_SECONDS", float("inf"))  # however long a model is loaded
    ended, out, err = winnow("verify", tmp_path / "run")
    assert (ended, out) == (code, "")
    said = err.splitlines()
    assert said[1] == "Rescoring 3 documents, 11 tokens, in float32 …"
    assert f". Rescored 1 of 3 documents, {len(texts[0])} of 11 tokens. A verification" in said[2]
    assert "to continue" not in err


def test_a_verification_reads_the_records_once(winnow, tiny_model, tmp_path, monkeypatch):
    """And before it says that it checks rows: of a record that is damaged there are none."""
    make_run(tmp_path, tiny_model, ["one", "two"])
    reads = list[str]()
    for name in ("manifest", "success"):
        read = getattr(RunStore, name)
        monkeypatch.setattr(
            RunStore, name, lambda self, name=name, read=read: reads.append(name) or read(self)
        )
    code, _, err = winnow("verify", tmp_path / "run", "--sample", 0)
    assert (code, reads) == (0, ["manifest", "success"])
    assert err == "Checking every row …\n"
    for record in ("_SUCCESS", "manifest.json"):
        (tmp_path / "run" / record).write_text("{")
        code, out, err = winnow("verify", tmp_path / "run", "--sample", 0)
        assert (code, out) == (2, "")
        assert [line.partition(":")[0] for line in err.splitlines()] == ["Error", "Hint"]


def test_a_disk_that_is_full_is_named(capsys):
    def full() -> None:
        raise OSError(
            errno.ENOSPC, "No space left on device", "/runs/one/scores/part-00007.parquet"
        )

    with pytest.raises(SystemExit) as ended:
        run_command(full)
    assert ended.value.code == 1
    err = capsys.readouterr().err
    assert "Error: /runs/one/scores/part-00007.parquet: No space left on device" in err
    assert "bug in Winnow" not in err


@pytest.fixture(scope="module")
def scored(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_run(tmp_path_factory.mktemp("scored"), tiny_model, ["ab", "cde"]).location)


HEAVY = {"ray", "vllm", "torch", "transformers"}
FRAMES = {"polars", "pyarrow", "numpy", "scipy"}
PAGES = {"altair", "vl_convert", "jinja2"}
NOT_IMPORTED = {
    "help": (["--help"], HEAVY | FRAMES | PAGES | {"pydantic"}),
    "help of a command": (["score", "--help"], HEAVY | FRAMES | PAGES),
    "version": (["--version"], HEAVY | FRAMES | PAGES),
    "status": (["status", "{run}"], HEAVY | PAGES),
    "plan": (["plan", "{run}/../corpus"], HEAVY | PAGES),
    "filter": (["filter", "{run}", "--min", "num_chars=3", "--dry-run"], HEAVY | PAGES),
    "report": (["report", "{run}"], HEAVY),
    "verify": (["verify", "{run}", "--sample", "0"], HEAVY),
    "compare": (["compare", "{run}", "{run}"], HEAVY),
}


@pytest.mark.parametrize(("arguments", "heavy"), NOT_IMPORTED.values(), ids=NOT_IMPORTED)
def test_a_command_imports_no_more_than_it_needs(scored, arguments, heavy):
    """Slow imports are felt at every start, and people who only read scores lack an engine."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('IMPORTED', *sys.modules))\n"
        "from jobs.cli.main import main\n"
        "main()\n"
    )
    given = [argument.format(run=scored) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-c", code, *given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    imported = done.stdout.rpartition("IMPORTED")[2].split()
    assert "jobs.cli" in imported
    assert heavy & set(imported) == set()


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ({"ok": 17, "empty": 1, "null": 1}, "19 documents, 17 with a score"),
        ({"ok": 1200, "truncated": 34}, "1,234 documents"),
        ({"null": 2}, "2 documents, 0 with a score"),
    ],
)
def test_what_was_scored_is_not_every_document(statuses, said):
    totals = Totals(num_rows=sum(statuses.values()), statuses=statuses)
    assert documents_of(totals) == said
