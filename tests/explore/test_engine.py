"""Tokens scored when a person asks: by the run's model, in a process that ends with the server."""

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.explore.engine import EngineProcess
from pipeline.engine.backends import backend_of
from pipeline.planning.identity import engine_settings
from pipeline.runs.manifest import Manifest
from pipeline.runs.scores import read_scores
from pipeline.runs.store import RunStore
from tests.support.explored import Explored, explored_run, exploring, make_texts
from tests.support.fake_engine import LOAD_SECONDS, MODULE

NEVER = {LOAD_SECONDS: "600"}
SECONDS = 60


@pytest.fixture(scope="module")
def plain(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """The run of `scored`, without log-probabilities of tokens."""
    rows = [*make_texts(), ("null", "web", None), ("none", None, "a text of no source")]
    return explored_run(tmp_path_factory.mktemp("plain"), tiny_model, rows)


def engines_of(server: Explored) -> list[int]:
    """Processes that the server started and that are there."""
    found = []
    for process in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = process.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == server.process.pid and fields[0] != "Z":
            found.append(int(process.parent.name))
    return found


def wait_until(holds, what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def waiting(server: Explored) -> Iterator[None]:
    """A page that asked to have a document scored, and is not answered yet."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    kind = {"content-type": "application/json"}
    connection.request("POST", server.path + "api/score", json.dumps({"at": "0:1"}), kind)
    with contextlib.closing(connection):
        yield


def test_what_is_scored_now_is_what_the_run_has(scored, plain):
    stored = read_scores(scored.location).collect()
    with exploring(plain.location, "--no-open", module=MODULE) as server:
        for row in (0, 1, 7):
            offered = server.ask("tokens", at=f"0:{row}")
            assert offered["tokens"] == []
            assert offered["scorer"]["is_loaded"] is (row != 0)
            told = server.tell("score", at=f"0:{row}")
            own = stored.filter(file="0.parquet", row=row).row(0, named=True)
            assert told["missing"] is None
            assert [x for _, _, own in told["tokens"] for x in own] == own["token_logprobs"]
            assert told["nll"] == told["stored_nll"] == own["nll"]
        assert len(engines_of(server)) == 1


def test_nothing_is_loaded_before_a_person_asks(plain):
    with exploring(plain.location, "--no-open", module=MODULE) as server:
        server.ask("run")
        server.ask("document", at="0:1")
        server.ask("tokens", at="0:1")
        assert engines_of(server) == []


def test_a_run_that_has_them_offers_nothing(scored):
    with exploring(scored.location, "--no-open", module=MODULE) as server:
        assert "scorer" not in server.ask("tokens", at="0:1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_the_engine_ends_with_the_server_while_it_loads(plain, number):
    with (
        exploring(plain.location, "--no-open", module=MODULE, **NEVER) as server,
        waiting(server),
    ):
        wait_until(lambda: engines_of(server), "no engine was started")
        [engine] = engines_of(server)
        server.ask("count", metric=0)  # the loading holds nobody up
        started = time.monotonic()
        code, said = server.end(number)
        assert code == (130 if number == signal.SIGINT else -9)
        assert said == "Press Ctrl-C to stop.\n"
        assert time.monotonic() - started < 5
        wait_until(lambda: not is_there(engine), "the engine outlives its server")


def test_an_engine_that_is_killed_is_said_and_replaced(plain):
    with exploring(plain.location, "--no-open", module=MODULE) as server:
        server.tell("score", at="0:1")
        [engine] = engines_of(server)
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: not is_there(engine), "it lives")
        with pytest.raises(AssertionError, match="the engine's process ended: it was killed"):
            server.tell("score", at="0:1")
        assert server.tell("score", at="0:1")["missing"] is None


def test_what_is_missing_is_one_sentence(plain, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(plain.location, run)
    manifest = Manifest.model_validate_json((run / "manifest.json").read_text())
    gone = manifest.model.model_copy(update={"folder": "/models/gone"})
    changed = manifest.model_copy(update={"model": gone})
    (run / "manifest.json").write_text(changed.to_json())
    with exploring(run, "--no-open", module=MODULE) as server:
        assert server.ask("tokens", at="0:1")["missing"] == (
            "the run has no log-probabilities of tokens; "
            "the model's folder is not here: /models/gone"
        )


def test_no_engine_installed_is_said(plain, monkeypatch):
    process = EngineProcess(plain.location, plain.require_manifest())
    assert process.missing is None
    monkeypatch.setattr("jobs.explore.engine.find_spec", lambda name: None)
    assert process.missing is not None
    assert process.missing.startswith("scoring it now needs vllm, torch, transformers, which")
    assert "pip install 'winnow-ppl[cpu]'" in process.missing


def test_a_model_that_was_changed_is_said(tiny_model, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    store = explored_run(tmp_path / "own", model, make_texts(8))
    config = model / "config.json"
    config.write_text(config.read_text().replace("{", "{ ", 1))
    with (
        exploring(store.location, "--no-open", module=MODULE) as server,
        pytest.raises(AssertionError, match=r"configuration of the model in .* is no longer the"),
    ):
        server.tell("score", at="0:1")


def test_a_text_that_was_changed_is_not_scored(tiny_model, tmp_path):
    store = explored_run(tmp_path, tiny_model, make_texts(8))
    with exploring(store.location, "--no-open", module=MODULE) as server:
        server.ask("document", at="0:1")
        file = tmp_path / "corpus/0.parquet"
        table = pq.read_table(file)
        others = pa.array([f"{text}." for text in table["text"].to_pylist()])
        at = table.schema.get_field_index("text")
        pq.write_table(table.set_column(at, "text", others), file)
        assert server.tell("score", at="0:1")["missing"] == "there is no text"
        assert "not the one that was scored" in server.ask("document", at="0:1")["missing"]
        assert engines_of(server) == []


def test_the_real_engine_agrees_with_the_run(tiny_model, tmp_path):
    """Of two runs of one model by vLLM, one without log-probabilities of tokens."""
    rows = make_texts(12)
    pair = []
    for name, wanted in (("with", True), ("without", False)):
        # A first one only to be planned: the settings of the engine are the run's.
        planned = explored_run(tmp_path / name / "first", tiny_model, rows, window_tokens=64)
        manifest = planned.require_manifest()
        engine = backend_of(manifest.rules).engine(engine_settings(manifest))
        try:
            pair.append(
                explored_run(
                    tmp_path / name / "second",
                    tiny_model,
                    rows,
                    window_tokens=64,
                    engine=engine,
                    token_logprobs=wanted,
                )
            )
        finally:
            engine.close()
    stored = read_scores(pair[0].location).collect()
    plain = read_scores(pair[1].location).collect()
    texts = [text for _, _, text in rows[:3]]

    async def score_them() -> list[dict]:
        process = EngineProcess(pair[1].location, pair[1].require_manifest())
        try:
            return [await process.score(text) for text in texts]
        finally:
            process._process.stdin.close()  # as when the server is gone
            await process._process.wait()

    found = asyncio.run(score_them())
    assert max(stored["num_windows"][:3]) > 1
    for i, own in enumerate(found):
        assert own["token_logprobs"] == pytest.approx(stored["token_logprobs"][i].to_list(), 1e-4)
        assert -sum(own["token_logprobs"]) == pytest.approx(plain["nll"][i], rel=1e-5)
        assert own["nll"] == pytest.approx(plain["nll"][i], rel=1e-5)
