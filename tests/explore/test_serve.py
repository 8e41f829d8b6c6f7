"""The server's life: ports, signals, exit codes, and what is refused before it begins."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.explored import ROOT, begin_exploring, explored_run, exploring, make_texts
from tests.support.fake_engine import ENDLESS_PASS, MODULE, PASSING
from tests.support.made_runs import row, write_run
from tests.support.runs import score_corpus
from tests.support.servers import free_ports

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.parametrize(("number", "code"), SIGNALS.items(), ids=lambda one: str(int(one)))
def test_a_signal_ends_it(scored, number, code):
    with exploring(scored.location, "--no-open") as server:
        started = time.monotonic()
        assert server.end(number) == (code, "Press Ctrl-C to stop.\n")
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_pass_before_it(scored, number):
    process = begin_exploring(scored.location, "--no-open", module=MODULE, **{ENDLESS_PASS: "1"})
    assert process.stderr is not None
    assert process.stderr.readline().strip() == PASSING
    time.sleep(0.5)
    process.send_signal(number)
    out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (SIGNALS[number], "")
    assert said.count("\n") == 1
    assert said.endswith("Run the same command again.\n")


def test_it_ends_while_somebody_is_connected(scored):
    with exploring(scored.location, "--no-open") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", server.path)
        connection.getresponse().read()
        assert server.end()[0] == 130
        connection.close()


def test_the_address_is_all_there_is_on_stdout(scored):
    with exploring(scored.location) as server:
        assert server.address.startswith(f"http://127.0.0.1:{server.port}/")
        assert len(server.path) > 30
        server.process.send_signal(signal.SIGINT)
        out, _ = server.process.communicate(timeout=20)
        assert out == ""


def test_a_browser_is_opened_if_there_is_one(scored, tmp_path):
    there, nothing = tmp_path / "browser", tmp_path / "empty"
    there.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/asked\n')
    there.chmod(0o755)
    with exploring(scored.location, DISPLAY=":99", BROWSER=str(there)) as server:
        deadline = time.monotonic() + 20
        while not (asked := tmp_path / "asked").exists() or not asked.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert asked.read_text().strip() == server.address
    with exploring(scored.location, DISPLAY=":99", PATH=str(nothing)) as server:
        time.sleep(0.5)
        assert server.ask("run")["documents"]
        assert server.end() == (130, "Press Ctrl-C to stop.\n")


def test_two_have_two_tokens(scored):
    with exploring(scored.location) as one, exploring(scored.location) as other:
        assert one.path != other.path
        assert one.port != other.port


def test_a_port_of_ones_own(scored):
    [port] = free_ports(1)
    with exploring(scored.location, "--port", str(port)) as server:
        assert server.port == port


def refused(winnow, *arguments: str | Path) -> str:
    code, out, err = winnow("explore", *arguments)
    assert (code, out) == (2, "")
    return err


def test_a_port_in_use(scored, winnow):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(winnow, scored.location, "--port", str(port))
    assert said.splitlines() == [
        f"Error: port {port} of 127.0.0.1 is in use",
        "Hint: choose another --port, or leave it out to use a free one",
    ]


def test_an_address_that_is_not_this_machines(scored, winnow):
    said = refused(winnow, scored.location, "--host", "192.0.2.1", "--allow-remote")
    assert "cannot listen on 192.0.2.1, port 0" in said


def test_other_machines_are_let_in_on_request_alone(scored, winnow):
    said = refused(winnow, scored.location, "--host", "0.0.0.0")
    assert "--host 0.0.0.0 can be reached from other machines" in said
    assert "--allow-remote, which lets anyone with the address read the run" in said
    with exploring(scored.location, "--host", "0.0.0.0", "--allow-remote") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", server.path, headers={"Host": "192.0.2.7:80"})
        assert connection.getresponse().status == 200
        connection.close()
        connection.request("GET", server.path, headers={"Host": "evil.example"})
        assert connection.getresponse().status == 421
        connection.close()
        _, said = server.end()
    assert "Anyone who has this address and reaches this machine can read the run" in said


def test_over_ssh_it_says_how_to_get_there(scored):
    environment = {**os.environ, "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "explore", scored.location],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert process.stdout is not None
    port = process.stdout.readline().split(":")[2].partition("/")[0]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert f"ssh -L {port}:127.0.0.1:{port} " in said


def test_an_unfinished_run(tmp_path, winnow):
    store = write_run(tmp_path / "run", {"a": [row(10, 10.0, 40)]}, finished=False)
    assert "is not finished" in refused(winnow, store.location)
    with exploring(store.location, "--partial") as server:
        _, said = server.end()
    assert "No texts will be shown: /data/corpus/a is no longer in the corpus" in said
    assert "The run is not complete: only the documents scored so far are shown." in said


def test_a_damaged_file_of_judgements(tmp_path, scored, winnow):
    (tmp_path / "mine.parquet").write_bytes(b"damaged")
    said = refused(winnow, scored.location, "--judgements", tmp_path / "mine.parquet")
    assert "cannot read judgements of" in said
    assert "Hint: move it away, or name another file by --judgements" in said
    assert (tmp_path / "mine.parquet").read_bytes() == b"damaged"


def test_no_run_and_no_such_column(tmp_path, scored, winnow):
    assert "is not a run directory" in refused(winnow, tmp_path)
    assert "no carried column 'sauce'" in refused(winnow, scored.location, "--by", "sauce")


def test_a_run_that_is_scored_again_meanwhile(scored, tmp_path):
    shutil.copytree(scored.location, tmp_path / "run")
    with exploring(tmp_path / "run") as server:
        for part in Path(tmp_path, "run/scores").iterdir():
            part.write_bytes(b"another")
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", f"{server.path}api/count?metric=0&low=4.8")
        answer = connection.getresponse()
        assert answer.status == 409
        assert b"the run was scored again or moved since winnow explore started" in answer.read()
        connection.close()
        assert server.end()[0] == 130


def test_a_run_that_is_scored_again_and_whole(tiny_model, tmp_path):
    """Its new parts are as good as the old ones were, and not those that the page is of."""
    texts = make_texts(40)
    store = explored_run(tmp_path, tiny_model, texts)
    with exploring(store.location, "--no-open") as server:
        for name in ("count", "examples"):
            server.ask(name, metric=0)
        shutil.rmtree(store.location)
        again = {"carry": ("source",), "window_tokens": 16}
        score_corpus(tmp_path / "corpus", tmp_path / "run", tiny_model, **again)
        for name in ("count", "examples", "document"):
            with pytest.raises(AssertionError, match="scored again or moved since"):
                server.ask(name, metric=0, at="0:1")
