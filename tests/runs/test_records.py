"""Stored records: those of 0.1.0 are read for ever, and damage is one clear line."""

import copy
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.audits.nights import Nights, record_of
from pipeline.audits.sample_draw import read_sample_record
from pipeline.errors import RunError
from pipeline.filters.record import FilterPlan, begin
from pipeline.runs.lock import read_holder
from pipeline.runs.manifest import Failure
from pipeline.runs.records import Record, load, parse, save
from pipeline.runs.store import RunStore
from pipeline.schema import SCORE_VERSION
from pipeline.storage.filesystem import open_root
from pipeline.verification.verify import read_verification
from tests.nights.test_webhook import make_record
from tests.support.old_records import KINDS, OLD, at, levels
from tests.support.runs import make_run

FORMS = {
    "manifest.json": ("schema_version", 2),
    "footer.json": ("schema_version", 2),
    "_SUCCESS": ("schema_version", 2),
    "verify.json": ("verify_version", 1),
    "audit.json": ("audit_version", 1),
    "_filter.json": ("filter_version", 1),
    "_filter_plan.json": ("filter_version", 1),
}


def read(name: str, content: Any) -> Record:
    """A record from its text, or from what the text says."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return parse(text, KINDS[name], f"/RUN/{name}", hint="delete it")


def old(name: str) -> Any:
    return json.loads((OLD / name).read_bytes())


def test_every_kind_has_an_old_one():
    assert {path.name for path in OLD.iterdir()} == KINDS.keys()


# What 0.1.0 wrote


def without_added(new: Any, old: Any) -> Any:
    """What is written now, without keys that were not there then."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: without_added(new[key], value) for key, value in old.items()}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [without_added(*pair) for pair in zip(new, old, strict=True)]
    return new


@pytest.mark.parametrize("name", KINDS)
def test_a_record_of_0_1_0_is_read_and_nothing_of_it_is_lost(name):
    record = read(name, (OLD / name).read_bytes())
    assert without_added(json.loads(record.to_json()), old(name)) == old(name)


def test_a_score_means_what_it_meant():
    """Or no run of 0.1.0 is resumed, and none of its parts is taken over."""
    fingerprint = old("manifest.json")["fingerprint"]
    assert fingerprint["schema_version"] == SCORE_VERSION
    assert old("footer.json")["fingerprint"] == fingerprint


@pytest.mark.parametrize("name", KINDS)
def test_a_record_is_read_back_as_it_was(name, tmp_path):
    record = read(name, (OLD / name).read_bytes())
    root = open_root(str(tmp_path))
    save(root, "x.json", record)
    again = load(root, "x.json", KINDS[name], hint="")
    assert again == record
    assert load(root, "y.json", KINDS[name], hint="") is None


@pytest.mark.parametrize("name", KINDS)
def test_a_key_of_a_newer_minor_version_is_left_alone(name):
    record = read(name, old(name))
    content = old(name)
    found = list(levels(record))
    for level in found:
        at(content, level.path)["surprise"] = {"of": [1, None, "later"]}
    again = read(name, content)
    if KINDS[name] is Failure:  # which is shown as it is
        assert again.model_dump(exclude={"surprise"}) == record.model_dump()
    else:
        assert again == record


@pytest.mark.parametrize("name", KINDS)
def test_a_key_that_is_missing_is_named(name):
    required = 0
    for level in levels(read(name, old(name))):
        for key, field in level.kind.model_fields.items():
            content = copy.deepcopy(old(name))
            at(content, level.path).pop(key, None)
            if not field.is_required():
                read(name, content)
                continue
            required += 1
            where = ".".join(str(step) for step in (*level.path, key))
            with pytest.raises(RunError) as raised:
                read(name, content)
            assert str(raised.value) == f"/RUN/{name} is damaged: {where}: Field required"
            assert raised.value.hint == "delete it"
    assert required


@pytest.mark.parametrize("name", FORMS)
def test_another_form_is_refused_by_its_number(name):
    key, newest = FORMS[name]
    assert old(name)[key] == newest
    for content in (old(name) | {key: newest + 1}, {key: newest + 1, "all": "is new"}):
        with pytest.raises(RunError) as raised:
            read(name, content)
        assert str(raised.value) == (
            f"/RUN/{name} was written by a newer Winnow, in format {newest + 1}; "
            f"this one reads {newest}"
        )
        assert raised.value.hint == "use the Winnow that wrote it, or else delete it"
    with pytest.raises(RunError, match="was written by an older Winnow, in format 0"):
        read(name, old(name) | {key: 0})


# Damage


def flipped(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def replaced(content: Any, chance: random.Random) -> Any:
    """One value, anywhere, that is something else."""
    others = [None, [], {}, "", "x\n\x1b[2J\u2028y", True, -1, 10**400, 2**63, 1e308, [[]]]
    others += [{"a": 1}, float("nan"), float("inf")]
    if isinstance(content, dict) and content and chance.random() < 0.9:
        key = chance.choice(list(content))
        return content | {key: replaced(content[key], chance)}
    if isinstance(content, list) and content and chance.random() < 0.9:
        index = chance.randrange(len(content))
        return [*content[:index], replaced(content[index], chance), *content[index + 1 :]]
    return chance.choice(others)


def damages(content: bytes, rounds: int = 150) -> Iterator[bytes]:
    yield from (b"", b"null", b"[]", b"{}", b"1", b'"x"', b"NaN", b"\xff\xfe", b"\x00")
    yield from (b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000, b"\xef\xbb\xbf" + content)
    yield from (content[:end] for end in range(0, len(content), 7))
    yield content.replace(b'"', b'"\xff')
    yield content.replace(b'"', b'"\\ud800')
    yield content.replace(b"_", b"\\n\\u001b\\u2028")
    chance = random.Random(5)
    for _ in range(rounds):
        yield flipped(content, chance)
        yield json.dumps(replaced(json.loads(content), chance)).encode()


def put_part(root: Path, content: bytes) -> None:
    table = pa.table({"x": [1]}).replace_schema_metadata({b"winnow": content})
    (root / "scores").mkdir(exist_ok=True)
    pq.write_table(table, root / "scores/part-00000.parquet")


def begin_again(root: Path) -> None:
    begin(open_root(str(root)), FilterPlan(identity={}, kept={}), "--out")


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "manifest.json": ("manifest.json", lambda root: RunStore(str(root)).manifest()),
    "footer.json": ("scores/part-00000.parquet", lambda root: RunStore(str(root)).footer(0)),
    "_SUCCESS": ("_SUCCESS", lambda root: RunStore(str(root)).success()),
    "failed-shard.json": ("failed/00000.json", lambda root: RunStore(str(root)).failures()),
    "verify.json": ("verify.json", lambda root: read_verification(RunStore(str(root)))),
    "audit.json": ("audit.json", lambda root: record_of(open_root(str(root)))),
    "audit-sampled.json": ("audit.json", lambda root: record_of(open_root(str(root)))),
    "_sample.json": ("_sample.json", lambda root: read_sample_record(open_root(str(root)))),
    "_filter_plan.json": ("_filter_plan.json", begin_again),
}


def check_line(error: RunError, where: str) -> None:
    assert len(str(error).splitlines()) == 1
    assert str(error).isprintable()
    assert where in str(error)
    assert error.hint
    assert error.exit_code == 2


@pytest.mark.parametrize("name", READERS)
def test_damage_is_one_line_whatever_it_is(name, tmp_path):
    file, look = READERS[name]
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    refused = 0
    for content in damages((OLD / name).read_bytes()):
        if name == "footer.json":
            put_part(tmp_path, content)
        else:
            path.write_bytes(content)
        try:
            look(tmp_path)
        except RunError as error:
            # An output folder of another filter is refused as a whole.
            check_line(error, str(tmp_path if name == "_filter_plan.json" else path))
            refused += 1
    assert refused > 100 or name.startswith("failed")


def test_the_record_of_a_filter_is_judged_the_same():
    for content in damages((OLD / "_filter.json").read_bytes()):
        try:
            read("_filter.json", content)
        except RunError as error:
            check_line(error, "/RUN/_filter.json")


def test_a_damaged_lock_has_no_holder_and_a_damaged_pointer_is_written_anew(tmp_path):
    nights = Nights(str(tmp_path))
    night = make_record(night="2027-01-01")
    for content in damages((OLD / "_LOCK").read_bytes()):
        (tmp_path / "_LOCK").write_bytes(content)
        read_holder(nights.root)
    for content in damages((OLD / "latest.json").read_bytes(), rounds=20):
        (tmp_path / "latest.json").write_bytes(content)
        nights.point_to(night)
        assert json.loads((tmp_path / "latest.json").read_text())["night"] >= "2027-01-01"


COMMANDS = {
    "status": ["status"],
    "report": ["report", "--json"],
    "verify": ["verify", "--sample", "0"],
}
FILES = ["manifest.json", "_SUCCESS", "verify.json", "failed/00000.json", "_LOCK"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model) -> Path:
    texts = ["one", "two", "two", "", None, "three " * 9]
    store = make_run(tmp_path_factory.mktemp("damaged"), tiny_model, texts)
    for name, file in (
        ("verify.json", "verify.json"),
        ("failed-shard.json", "failed/00000.json"),
        ("_LOCK", "_LOCK"),
    ):
        store.root.write_bytes(file, (OLD / name).read_bytes())
    return Path(store.location)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("file", FILES)
def test_a_command_says_it_in_one_line(winnow, run, command, file):
    path = run / file
    whole = path.read_bytes()
    chance = random.Random(f"{command} {file}")
    found = list(damages(whole, rounds=80))
    try:
        for content in chance.sample(found, 12):
            path.write_bytes(content)
            code, _, said = winnow(*COMMANDS[command], run)
            assert code in (0, 1, 2)
            assert "bug in Winnow" not in said, content
            if code == 2:
                assert said.startswith("Error: ")
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("file", FILES)
def test_a_record_that_is_no_file_is_one_line_too(winnow, run, tmp_path, command, file, make):
    path = run / file
    whole = path.rename(tmp_path / "whole")
    make(path)
    try:
        code, _, said = winnow(*COMMANDS[command], run)
    finally:
        path.rmdir() if path.is_dir() else path.unlink()
        whole.rename(path)
    assert code in (0, 1, 2)
    assert "bug in Winnow" not in said
    if code == 2:
        [line] = [one for one in said.splitlines() if one.startswith("Error: ")]
        assert str(path) in line
