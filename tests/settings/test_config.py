"""Settings: what wins over what, and every mistake named with its key and its place."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, UsageError
from pipeline.settings.config import ScoreConfig, Workers, load_score_config
from pipeline.settings.loading import read_table
from pipeline.settings.names import near_name

REQUIRED = {"corpus": "data/", "out": "runs/a", "model": "org/tiny"}
BOUNDED = {
    "window_tokens": (2, 1),
    "context_tokens": (1, 0),
    "min_k_percent": (100, 100.5),
    "limit": (1, 0),
    "shard_tokens": (1, -1),
    "max_num_batched_tokens": (1, 0),
    "max_attempts": (1, 0),
}
"""Setting -> (the last value that is allowed, one that is not)."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "winnow.toml"


def load(file: Path | None = None, **options: Any) -> ScoreConfig:
    return load_score_config(file, options)


# Precedence


def test_an_option_wins_over_the_file_and_the_file_over_the_default(file):
    file.write_text(
        '[score]\ncorpus = "file/"\nout = "file"\nmodel = "file"\nlimit = 5\nworkers = 2\n'
    )
    config = load(file, corpus="option/", limit=9)
    assert (config.corpus, config.limit) == (("option/",), 9)
    assert (config.out, config.workers) == ("file", Workers(2, 2))
    assert (config.text_column, config.max_attempts) == ("text", 3)


def test_an_option_that_was_not_given_does_not_hide_the_file(file):
    # The command line hands in None for whatever was left out.
    file.write_text("[score]\nstrict = true\nlimit = 5\n")
    config = load(file, **REQUIRED, strict=None, limit=None)
    assert (config.strict, config.limit) == (True, 5)


def test_an_option_that_is_false_or_empty_was_given(file):
    file.write_text('[score]\nstrict = true\ncarry = ["source"]\n')
    config = load(file, **REQUIRED, strict=False, carry=[])
    assert (config.strict, config.carry) == (False, ())


def test_lists_are_replaced_and_not_joined(file):
    file.write_text('[score]\ncarry = ["source", "lang"]\n')
    assert load(file, **REQUIRED).carry == ("source", "lang")
    assert load(file, **REQUIRED, carry=["url"]).carry == ("url",)


def test_several_locations_are_one_corpus(file):
    file.write_text('[score]\ncorpus = ["a/", "b.parquet"]\n')
    named = {key: value for key, value in REQUIRED.items() if key != "corpus"}
    assert load(file, **named).corpus == ("a/", "b.parquet")
    assert load(file, **named, corpus=["c/"]).corpus == ("c/",)
    file.write_text("[score]\ncorpus = []\n")
    with pytest.raises(ConfigError, match=r"corpus in \[score\] .* at least 1 item"):
        load(file, **named)


def test_options_alone_are_enough():
    assert load(**REQUIRED) == ScoreConfig(**REQUIRED)


def test_every_setting_can_be_in_the_file(file):
    settings = {
        **REQUIRED,
        "revision": "main",
        "text_column": "body",
        "id_column": "key",
        "carry": ["a b", "é"],
        "window_tokens": 512,
        "context_tokens": 64,
        "prefix": "eos",
        "long_documents": "skip",
        "min_k_percent": 12.5,
        "token_logprobs": True,
        "token_ids": True,
        "dtype": "float32",
        "workers": "2:8",
        "limit": 10,
        "shard_tokens": 1000,
        "scoring": "fused",
        "tensor_parallel_size": 2,
        "engines_per_gpu": "auto",
        "max_num_batched_tokens": 100,
        "offline": True,
        "trust_remote_code": True,
        "reuse": "runs/last",
        "dedup": False,
        "trace": "trace.json",
        "strict": True,
        "address": "ray://head:10001",
        "max_attempts": 1,
        "wait_minutes": 5.0,
    }
    assert settings.keys() == ScoreConfig.model_fields.keys()
    lines = [f"{key} = {toml(value)}" for key, value in settings.items()]
    file.write_text("\n".join(["[score]", *lines]), encoding="utf-8")
    found = load(file)
    settings |= {"workers": [2, 8], "corpus": [REQUIRED["corpus"]]}
    assert found.model_dump(mode="json") == settings
    # Each of them differs from its default, so each of them was taken from the file.
    defaults = {key: field.get_default() for key, field in ScoreConfig.model_fields.items()}
    assert [key for key, value in defaults.items() if getattr(found, key) == value] == []


@pytest.mark.parametrize("value", ["auto", "2", 1])
def test_engines_per_gpu(value):
    found = load(**REQUIRED, engines_per_gpu=value).engines_per_gpu
    assert str(found) == str(value)


@pytest.mark.parametrize("value", [0, "0", "-1", "two", True, 1.5])
def test_engines_per_gpu_that_are_none(value):
    with pytest.raises(ConfigError, match=r"engines_per_gpu.* at least 1, or auto"):
        load(**REQUIRED, engines_per_gpu=value)


def test_an_engine_of_several_gpus_shares_none():
    with pytest.raises(ConfigError, match="engines_per_gpu 2 needs tensor_parallel_size 1"):
        load(**REQUIRED, engines_per_gpu=2, tensor_parallel_size=2)
    assert load(**REQUIRED, engines_per_gpu="auto", tensor_parallel_size=2)


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(toml(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


# What is missing


@pytest.mark.parametrize("value", [None, ""], ids=["not given", "empty"])
@pytest.mark.parametrize("key", ["corpus", "out", "model"])
def test_a_setting_that_is_needed_is_named(key, value):
    with pytest.raises(ConfigError, match=f"(?m)^{key} is not set$") as raised:
        load(**REQUIRED | {key: value})
    assert raised.value.hint.startswith(f"give {key}, or {key} = ... under [score]")


# Unknown keys


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("window-tokens", "window_tokens"),
        ("windowtokens", "window_tokens"),
        ("Workers", "workers"),
        ("OUT", "out"),
        ("text_colum", "text_column"),
    ],
)
def test_an_unknown_key_is_named_with_the_near_one(file, key, near):
    file.write_text(f"[score]\n{key} = 1\n")
    with pytest.raises(
        ConfigError, match=re.escape(f"unknown key '{key}' in [score] of {file}")
    ) as e:
        load(file, **REQUIRED)
    assert e.value.hint == f"did you mean '{near}'?"


PLACED = {
    "a value": ("# one\n[plan]\nlimit = 1\n\n[score]\n  limit = 0 # two", 6),
    "a quoted key": ('[score]\n\n"limit" = 0', 3),
    "an unknown key": ("[score]\ntext_column = 'a'\nlimt = 0", 3),
    "a table": ("[score]\nlimit = 1\n[ scroe ]", 3),
}


@pytest.mark.parametrize(("content", "line"), PLACED.values(), ids=PLACED)
def test_a_mistake_in_a_file_names_its_line(file, content, line):
    file.write_text(content)
    with pytest.raises(ConfigError, match=rf"(?m)\(at line {line}\)$"):
        load(file, **REQUIRED)


def test_a_mistake_in_an_option_has_no_line(file):
    file.write_text("[score]\nlimit = 1")
    with pytest.raises(ConfigError, match=r"(?m)^limit = 0: [^()]+$"):
        load(file, **REQUIRED, limit=0)


def test_nesting_without_end_is_a_mistake_too(file):
    file.write_text(f"[score]\ncarry = {'[' * 100_000}")
    with pytest.raises(ConfigError, match="is not TOML"):
        load(file, **REQUIRED)


def test_an_unknown_key_that_is_near_to_none_lists_them_all(file):
    file.write_text("[score]\nzzzzzz = 1\n")
    with pytest.raises(ConfigError, match="unknown key 'zzzzzz'") as raised:
        load(file, **REQUIRED)
    assert raised.value.hint == f"known: {', '.join(ScoreConfig.model_fields)}"


def test_an_unknown_key_is_told_before_a_missing_one(file):
    # "model is not set" would be no help to someone who wrote `modle = ...`.
    file.write_text('[score]\nmodle = "org/tiny"\n')
    with pytest.raises(ConfigError, match="unknown key 'modle'") as raised:
        load(file, corpus="data/", out="runs/a")
    assert raised.value.hint == "did you mean 'model'?"


@pytest.mark.parametrize(
    ("text", "name", "hint"),
    [
        ("[scores]\n", "scores", "did you mean 'score'?"),
        ("[score]\n[zzzzzz]\n", "zzzzzz", "known: score, plan, filter, audit, schedule"),
        ("limit = 5\n[score]\n", "limit", "known: score, plan, filter, audit, schedule"),
    ],
    ids=["near", "not near", "a key above the table"],
)
def test_an_unknown_table_is_named(file, text, name, hint):
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(f"unknown table '{name}' in {file}")) as raised:
        load(file, **REQUIRED)
    assert raised.value.hint == hint


# Files


@pytest.mark.parametrize("text", ["", "# nothing\n", "score = 1\n", "[[score]]\n"], ids=repr)
def test_a_file_without_the_table_says_where_keys_go(file, text):
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(f"{file} has no [score] table")) as raised:
        load(file, **REQUIRED)
    assert raised.value.hint == "put the keys under [score]"


@pytest.mark.parametrize(
    "content",
    [b"[score\n", b"[score]\nlimit = \n", b"[score]\nlimit = 1\nlimit = 2\n", b"\xff\xfe", b"PAR1"],
    ids=["open bracket", "no value", "twice", "not UTF-8", "Parquet"],
)
def test_a_file_that_is_not_toml(file, content):
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(f"{file} is not TOML: ")) as raised:
        load(file, **REQUIRED)
    assert "\n" not in str(raised.value)


def test_a_table_that_there_may_be_several_of(file):
    file.write_text("[audit.require]\nmax = 1\n[audit.require]\nmin = 1\n")
    with pytest.raises(ConfigError, match="is not TOML: Cannot declare") as raised:
        load(file, **REQUIRED)
    assert raised.value.hint == "write [[audit.require]] if there are several of them"


def test_a_file_that_is_missing(file):
    message = f"cannot read the configuration {file}: No such file or directory"
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(file, **REQUIRED)


@pytest.mark.parametrize(
    ("beside", "table", "hint"),
    [
        (["nightly.toml", "weekly.toml"], "audit", "did you mean {folder}/nightly.toml?"),
        (["weekly.json"], "audit", "infra/configs/audit.toml of Winnow's repository"),
        (["else.toml"], "schedule", "infra/configs/audit.toml of Winnow's repository"),
        ([], "score", "infra/configs/score.toml of Winnow's repository"),
    ],
    ids=["a near name", "no TOML", "another name", "an empty folder"],
)
def test_what_to_do_about_a_file_that_is_missing(tmp_path, beside, table, hint):
    for name in beside:
        (tmp_path / name).touch()
    with pytest.raises(ConfigError) as raised:
        read_table(tmp_path / "nigthly.toml", table)
    assert hint.format(folder=tmp_path) in raised.value.hint


def test_the_example_to_copy_is_there():
    for name in ("audit", "score"):
        assert read_table(Path(__file__).parents[2] / f"infra/configs/{name}.toml", name)


@pytest.mark.parametrize("key", ["corpus", "out", "reuse"])
def test_offline_no_location_is_on_the_hub(file, key):
    there = {key: "hf://datasets/org/set"}
    message = r"^hf://datasets/org/set is on the hub, which is not contacted: offline or"
    with pytest.raises(UsageError, match=message) as raised:
        load(**REQUIRED | there, offline=True)
    assert raised.value.hint
    file.write_text("[score]\noffline = true\n")
    with pytest.raises(UsageError, match=message):
        load(file, **REQUIRED | there)
    found = getattr(load(**REQUIRED | there), key)
    assert found == ((there[key],) if key == "corpus" else there[key])
    assert load(file, **REQUIRED, reuse="s3://hf/b").offline


def test_a_folder_instead_of_a_file(tmp_path):
    message = f"cannot read the configuration {tmp_path}: Is a directory"
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        load(tmp_path, **REQUIRED)
    assert raised.value.hint == "name a TOML file"


def test_a_name_that_no_file_can_have(tmp_path):
    with pytest.raises(ConfigError, match="File name too long"):
        load(tmp_path / f"{'n' * 300}.toml", **REQUIRED)


def test_a_link_to_nowhere_is_not_told_to_be_what_it_is(tmp_path):
    link = tmp_path / "score.toml"
    link.symlink_to(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match="No such file") as raised:
        load(link, **REQUIRED)
    assert "did you mean" not in raised.value.hint


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(file):
    file.touch(mode=0o000)
    with pytest.raises(ConfigError, match=": Permission denied"):
        load(file, **REQUIRED)


def test_toml_is_utf8_whatever_the_locale(file):
    file.write_text('[score]\ntext_column = "köpfe 😀"\n', encoding="utf-8")
    assert load(file, **REQUIRED).text_column == "köpfe 😀"
    # A locale of another encoding may not be installed here, so ask Python whether it would matter.
    code = f"from pipeline.settings.loading import *; read_table(Path({str(file)!r}), 'score')"
    options = [
        "-X",
        "warn_default_encoding",
        "-W",
        "error::EncodingWarning:pipeline.settings.loading",
    ]
    done = subprocess.run([sys.executable, *options, "-c", code], stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()


def test_a_table_is_read_as_it_is(file):
    file.write_text('[audit]\nname = "x"\n[audit.inner]\ny = 1\n')
    assert read_table(file, "audit") == {"name": "x", "inner": {"y": 1}}


# Types and bounds


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('limit = "many"', "limit in [score] of {file} = 'many': must be a valid integer"),
        ("limit = 1.5", "limit in [score] of {file} = 1.5: must be a valid integer"),
        ("carry = 5", "carry in [score] of {file} = 5: must be a valid tuple"),
        ("carry = [5]", "carry in [score] of {file} = 5: must be a valid string"),
        ("text_column = 7", "text_column in [score] of {file} = 7: must be a valid string"),
        ('dtype = "fp8"', "dtype in [score] of {file} = 'fp8': must be 'auto', 'bfloat16'"),
        ('strict = "maybe"', "strict in [score] of {file} = 'maybe': must be a valid boolean"),
        ("min_k_percent = nan", "min_k_percent in [score] of {file} = nan: must be less than"),
        ("limit = true", "limit in [score] of {file} = True: must be a valid integer"),
    ],
    ids=lambda text: text.split(" ")[0] if "=" in text and "{" not in text else "",
)
def test_a_wrong_type_in_the_file_names_key_and_file(file, line, message):
    file.write_text(f"[score]\n{line}\n")
    with pytest.raises(ConfigError, match=re.escape(message.format(file=file))):
        load(file, **REQUIRED)


def test_a_wrong_option_is_named_as_an_option(file):
    # The file sets it too, and rightly: it is the option that must be corrected.
    file.write_text('[score]\nlong_documents = "skip"\n')
    message = "^long_documents = 'drop': must be 'window', 'truncate' or 'skip'"
    with pytest.raises(ConfigError, match=message):
        load(file, **REQUIRED, long_documents="drop")


def test_a_word_is_one_column_and_not_a_list_of_letters(file):
    file.write_text('[score]\ncarry = "source"\n')
    assert load(file, **REQUIRED).carry == ("source",)


def test_a_byte_order_mark_is_passed_over(file):
    file.write_bytes(b"\xef\xbb\xbf[score]\ncarry = ['a']\nstrct = true\n")
    with pytest.raises(ConfigError, match=r"unknown key 'strct' in .* \(at line 3\)"):
        load(file, **REQUIRED)
    file.write_bytes(b"\xef\xbb\xbf[score]\ncarry = ['a']\n")
    assert load(file, **REQUIRED).carry == ("a",)


@pytest.mark.parametrize("key", ["text_column", "reuse", "address", "trace", "revision", "carry"])
@pytest.mark.parametrize("how", ["option", "file"])
def test_an_empty_text_is_no_setting(file, key, how):
    file.write_text(f'[score]\n{key} = ""\n' if how == "file" else "[score]\n")
    options = {key: [""] if key == "carry" else ""} if how == "option" else {}
    with pytest.raises(ConfigError, match=f"(?m)^{key} is empty$") as raised:
        load(file, **REQUIRED, **options)
    assert "shell variable unset" in raised.value.hint


def test_an_empty_id_column_is_none(file):
    assert load(**REQUIRED, id_column="").id_column == ""


@pytest.mark.parametrize(
    ("key", "allowed"), [(key, last) for key, (last, _) in BOUNDED.items()], ids=BOUNDED.keys()
)
def test_the_last_value_within_bounds_is_allowed(key, allowed):
    assert getattr(load(**REQUIRED, **{key: allowed}), key) == allowed


@pytest.mark.parametrize(
    ("key", "refused"), [(key, first) for key, (_, first) in BOUNDED.items()], ids=BOUNDED.keys()
)
def test_a_value_out_of_bounds_is_refused(key, refused):
    setting = f"{key} = {refused}: must be "
    with pytest.raises(
        ConfigError, match="^" + re.escape(setting) + "(greater|less) than or equal to"
    ):
        load(**REQUIRED, **{key: refused})


@pytest.mark.parametrize("value", ["0", "two", "4:2", "1:2:3", "-1", ":3"])
def test_workers_that_are_no_number_or_range_are_refused(value):
    with pytest.raises(ConfigError, match=f"^workers = '{value}': must be "):
        load(**REQUIRED, workers=value)


def test_zero_percent_is_refused():
    with pytest.raises(ConfigError, match=r"^min_k_percent = 0: must be greater than 0"):
        load(**REQUIRED, min_k_percent=0)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load(**REQUIRED).limit = 5


# Near names


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("TEXT", ["text", "id"], "text"),
        ("txt", ["Text", "id"], "Text"),
        ("content", ["text", "id"], None),
        ("text", [], None),
        ("", ["text"], None),
    ],
    ids=["case", "case of the known", "too far", "none known", "nothing"],
)
def test_near_name(name, known, near):
    assert near_name(name, known) == near
