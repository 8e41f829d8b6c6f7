"""docs/reference/ and docs/library.md: made from the code, so that they say what the code does.

    python -m tests.support.reference        (or: make schemas)

Owns the pages: columns from the registry of metrics, keys of configuration files from the models
that read them, every command's own help, the words of expressions, and exit codes from the
exceptions; the library's page from the script beside it. test_docs.py holds the pages to it.
"""

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from typer.main import get_command

from jobs.cli.config import TABLES
from jobs.cli.main import app
from jobs.console.ending import INTERRUPTED, OUTPUT_CLOSED, TERMINATED
from pipeline import errors
from pipeline.reports import terms
from pipeline.schema import COLUMNS, LOCATOR_FIELDS, METRICS, SCORE_FIELDS, TOKEN_FIELDS
from pipeline.settings.fields import Shown

DOCS = Path(__file__).parents[2] / "docs"
WIDTH = 100
HEAD = "<!-- Written by `make schemas`. -->\n"
BESIDE = {
    "file": "path of the document's file below the corpus root",
    "row": "0-based row in that file",
    "doc_id": "the corpus's own id, where it has one (`--id-column`, else `doc_id` or `id`)",
    "token_logprobs": "ln p of each scored token, in order; with `--token-logprobs`",
    "token_ids": "id of each scored token, in order; with `--token-ids`",
}
"""Columns that are not metrics, in words."""


def columns_page() -> str:
    """What each column of a part holds."""
    types = {one.name: one for one in [*LOCATOR_FIELDS, *SCORE_FIELDS, *TOKEN_FIELDS.values()]}
    rows = []
    meanings = BESIDE | {name: column.meaning for name, column in COLUMNS.items()}
    order = ["file", "row", "doc_id", *COLUMNS, *TOKEN_FIELDS]
    for name in order:
        field = types.get(name)
        kind = "as in the corpus" if field is None else str(field.type)
        metric = METRICS.get(name)
        rows.append((f"`{name}`", kind, metric.unit if metric else "", meanings[name]))
    return _page(
        "Columns of the scores",
        "One row per input row, in order; carried columns stand after `doc_id`. A metric of a row "
        "without a score is null, never 0, NaN or infinity.",
        _table(("column", "type", "unit", "meaning"), rows),
    )


def settings_page() -> str:
    """Every key of a TOML file."""
    tables: dict[str, type[BaseModel]] = {}
    for of_command in TABLES.values():
        tables |= of_command
    parts = [text for name, model in tables.items() for text in _settings_of(name, model)]
    return _page(
        "Settings in files",
        "Tables and keys of a TOML file. `[score]` and `[filter]` keys are also options and "
        "environment variables (`WINNOW_SCORE_MODEL`), of the same names. An option beats a "
        "variable, which beats the file; `winnow config show COMMAND` says which it was. What may "
        "be repeated has its values in one variable, with blanks between them "
        "(`WINNOW_SCORE_CARRY='source lang'`), so that a column with a blank in its name needs the "
        "option or the file; expressions, which have blanks in them, one per line "
        "(`WINNOW_REPORT_FAIL_IF`).",
        *parts,
    )


def _settings_of(name: str, model: type[BaseModel]) -> Iterator[str]:
    rows, inner = [], []
    for key, field in model.model_fields.items():
        nested = _model_in(field.annotation)
        if nested:
            repeated = "tuple" in str(field.annotation)
            named = f"{name}.{key}" + (".NAME" if "dict" in str(field.annotation) else "")
            inner.append((f"[{named}]" if repeated else named, nested))
            continue
        shown = next((one for one in field.metadata if isinstance(one, Shown)), Shown())
        default = "required" if field.is_required() else shown.default or _default(field)
        rows.append((f"`{key}`", default, field.description or ""))
    yield f"## `[{name}]`\n\n{_table(('key', 'default', 'meaning'), rows)}"
    for title, nested in inner:
        yield from _settings_of(title, nested)


def _model_in(kind: Any) -> type[BaseModel] | None:
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        return kind
    return next((found for one in get_args(kind) if (found := _model_in(one))), None)


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if value in (None, (), {}, ""):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def commands_page() -> str:
    """`--help` of every command."""
    group = get_command(app)
    names = [
        (name, *inner)
        for name, command in sorted(group.commands.items())
        for inner in ([(one,) for one in sorted(getattr(command, "commands", ()))] or [()])
    ]
    return _page(
        "Commands",
        "What `winnow COMMAND --help` prints.",
        *(f"## winnow {' '.join(name)}\n\n```\n{_help(group, name)}\n```\n" for name in names),
    )


def _help(group: Any, name: tuple[str, ...]) -> str:
    context = group.make_context("winnow", [], resilient_parsing=True, terminal_width=WIDTH)
    context.max_content_width = WIDTH
    command = group
    for word in name:
        command = command.commands[word]
        context = command.make_context(
            word, [], parent=context, resilient_parsing=True, terminal_width=WIDTH
        )
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines()).strip()


def exit_codes_page() -> str:
    """What each exit code means, and the exceptions behind it."""
    kinds = [
        one
        for _, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, errors.WinnowError) and one is not errors.WinnowError
    ]
    rows = [
        ("0", "done"),
        ("1", "done, with findings; or something was given up and recorded"),
        ("2", "the request cannot be carried out as given; nothing was written"),
        (str(INTERRUPTED), "interrupted (Ctrl-C): run it again to go on"),
        (str(OUTPUT_CLOSED), "whatever read the output closed the pipe"),
        (str(TERMINATED), "terminated (SIGTERM): run it again to go on"),
    ]
    raised = sorted((str(one.exit_code), f"`{one.__name__}`", _first(one)) for one in kinds)
    return _page(
        "Exit codes and exceptions",
        "The same for every command. The library raises the exceptions of `pipeline.errors`; each "
        "has a `hint`.",
        _table(("exit code", "meaning"), rows),
        _table(("exit code", "exception", "meaning"), raised),
    )


def expressions_page() -> str:
    """What `--fail-if` and `fail_if` may say."""
    table = inspect.getdoc(terms).split("\n\n", 2)[2]
    return _page(
        "Expressions",
        "What `--fail-if` of `report` and `compare` and `fail_if` of `[[audit.require]]` may say. "
        "The gate fails where the expression is true, and where it cannot be judged. One that "
        "could never be true, such as `decrease(tokens) > 1`, is refused.",
        f"```\n{inspect.cleandoc(table)}\n```\n",
        f"Figures without an argument: {_names(terms.PLAIN)}. Quantiles are `p0` to `p100` of any "
        "metric; `mean` takes any metric, `share` a condition. Comparisons, `and`, `or`, `not`, "
        "parentheses; numbers such as `10k`, `2M`, `5%`; text in quotes.\n",
        "`filter --where` takes conditions on the metrics and carried columns of a document: "
        f'`lang == "en" and num_tokens > 50`. Metrics: {_names(METRICS)}.\n',
    )


def library_page() -> str:
    """The script docs/library.py, its comments as text and the rest as code."""
    source = (DOCS / "library.py").read_text(encoding="utf-8")
    body = source.split("def main(", 1)[1].split("\n", 1)[1].split("\n\nif __name__")[0]
    imports = re.search(r"^import .*?(?=\n+def main)", source, re.DOTALL | re.MULTILINE)
    assert imports is not None
    blocks = [("code", imports[0])]
    for line in textwrap.dedent(body).splitlines():
        kind = "text" if line.startswith("#") else blocks[-1][0] if not line else "code"
        line = re.sub(r"^# ?", "", line) if kind == "text" else line
        if blocks[-1][0] == kind:
            blocks[-1] = (kind, f"{blocks[-1][1]}\n{line}")
        else:
            blocks.append((kind, line))
    return _page(
        "The library",
        "`pip install .` reads runs; `pip install '.[cpu]'` or `'.[gpu]'` also scores. This page "
        "is a script: `python docs/library.py HuggingFaceTB/SmolLM2-135M first/` runs it, and "
        "`model` and `folder` are its arguments. In a notebook, set both (`folder` is a `Path`) "
        "and run the blocks in order. A script that scores on a GPU needs "
        '`if __name__ == "__main__":`, since the engine may start processes of its own.',
        *(
            f"{text.strip()}\n" if kind == "text" else f"```python\n{text.strip()}\n```\n"
            for kind, text in blocks
        ),
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _first(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    cells = ([re.sub(r"\|", r"\\|", cell) for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _page(title: str, intro: str, *parts: str) -> str:
    return "\n".join([HEAD, f"# {title}\n", f"{intro}\n", *parts])


PAGES = {
    "reference/columns.md": columns_page,
    "reference/settings.md": settings_page,
    "reference/commands.md": commands_page,
    "reference/expressions.md": expressions_page,
    "reference/exit-codes.md": exit_codes_page,
    "library.md": library_page,
}
"""Below docs/."""


def main() -> None:
    """Write them."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
