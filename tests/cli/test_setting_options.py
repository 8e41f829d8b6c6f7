"""Options of a command are the fields of its settings: none is declared a second time."""

import inspect
import json
import os
import subprocess
import sys
from typing import Any, get_args

import pytest
from typer.main import get_command

from jobs.cli.config import TABLES
from jobs.cli.main import app
from jobs.cli.parsing import SettingsCommand
from pipeline import Scorer
from pipeline.errors import ConfigError
from pipeline.settings.config import ScoreConfig
from pipeline.settings.fields import settings_of

OWN = {
    "score": {"config", "dry_run", "as_json", "color"},
    "filter": {"by", "config", "dry_run", "as_json", "color"},
    "plan": {"calibrate", "config", "as_json", "color"},
}
"""By command, the options that are no settings of a run."""


def command(name: str) -> Any:
    return get_command(app).commands[name]


@pytest.mark.parametrize("name", OWN)
def test_every_option_is_a_described_field_and_none_is_written_by_hand(winnow, name):
    asked = command(name)
    assert isinstance(asked, SettingsCommand)
    fields = {one.name: one for one in settings_of(asked.model())}
    options = {one.name: one for one in asked.params}
    written = set(inspect.signature(asked.callback).parameters) - {"context"}
    assert written | {"color"} == OWN[name]
    assert options.keys() == set(asked.only or fields) | OWN[name]
    _, out, _ = winnow(name, "--help")
    shown = " ".join(out.split())
    for field in options.keys() - OWN[name]:
        description = asked.model().model_fields[field].description
        assert description
        assert description.endswith(".")
        assert options[field].help == fields[field].help
        assert " ".join(description.split()) in shown, field


def test_an_error_names_a_setting_as_it_was_given(winnow, tmp_path):
    """An option of the command line, an argument in Python, a key and its line in a file."""
    rule = "must be greater than or equal to 2"
    code, _, err = winnow("score", "data", "--out", "o", "--model", "m", "--window-tokens", "1")
    assert (code, err.splitlines()[0]) == (2, f"Error: --window-tokens = 1: {rule}")

    with pytest.raises(ConfigError) as raised:
        Scorer("m", window_tokens=1)
    assert str(raised.value) == f"window_tokens = 1: {rule}"

    file = tmp_path / "night.toml"
    file.write_text('[score]\ncorpus = "data"\nmodel = "m"\nout = "o"\nwindow_tokens = 1\n')
    code, _, err = winnow("score", "--config", file)
    said = f"Error: window_tokens in [score] of {file} = 1: {rule} (at line 5)"
    assert (code, err.splitlines()[0]) == (2, said)


def test_a_default_is_shown_as_it_is(winnow):
    _, out, _ = winnow("score", "--help")
    shown = " ".join(out.split())
    for one in settings_of(ScoreConfig):
        if not isinstance(one.default, bool) and one.default not in (None, ()):
            plain = f"{one.default:g}" if isinstance(one.default, float) else one.default
            assert f"[default: {plain}] [env var: WINNOW_SCORE_{one.name.upper()}]" in shown
    assert "--dedup / --no-dedup Score exact copies" in shown
    assert "[default: dedup] [env var: WINNOW_SCORE_DEDUP]" in shown
    assert "[default: False]" not in shown


@pytest.mark.parametrize(
    ("line", "word", "choices"),
    [
        ("winnow score --dtype ", 3, ["auto", "bfloat16", "float16", "float32"]),
        ("winnow score --scoring f", 3, ["fused"]),
    ],
)
def test_choices_are_completed(line, word, choices):
    asked = {"_WINNOW_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(word)}
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == choices, done.stderr


def test_a_list_in_the_environment_and_one_that_is_not_given(winnow, tmp_path, monkeypatch):
    (tmp_path / "c.toml").write_text('[score]\ncarry = ["a"]\n')

    def carried(*options: str) -> tuple[Any, str]:
        asked = ["config", "show", "score", "--config", tmp_path / "c.toml", *options, "--json"]
        settings = json.loads(winnow(*asked)[1])["settings"]
        return next((one["value"], one["origin"]) for one in settings if one["name"] == "carry")

    assert carried()[0] == ["a"]
    monkeypatch.setenv("WINNOW_SCORE_CARRY", "b c")
    assert carried() == (["b", "c"], "WINNOW_SCORE_CARRY")
    assert carried("--carry", "d", "--carry", "e") == (["d", "e"], "--carry")


def test_the_settings_are_read_when_they_are_asked_for():
    code = "import sys; from jobs.cli.main import app; from typer.main import get_command\n"
    code += "found = get_command(app); assert 'pydantic' not in sys.modules\n"
    code += "found.commands['score'].params; assert 'pydantic' in sys.modules\n"
    code += "assert 'pyarrow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", TABLES)
def test_every_key_of_a_file_is_described(name):
    models = list(TABLES[name].values())
    for model in models:
        for key, field in model.model_fields.items():
            assert (field.description or "").endswith("."), f"{model.__name__}.{key}"
            kinds = [field.annotation, *get_args(field.annotation)]
            models += [one for one in kinds if hasattr(one, "model_fields")]
