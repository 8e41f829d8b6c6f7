"""The door: who is answered, in which order it is asked, and what every answer carries."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from jobs.explore.guard import HEADERS
from tests.support.explored import Explored, exploring


@pytest.fixture(scope="module")
def server(scored) -> Iterator[Explored]:
    with exploring(scored.location, "--no-open", "--by", "source") as explored:
        yield explored


def ask(server: Explored, path: str | None = None, method: str = "GET", **headers: str):
    """(code, headers, body); `headers` with underscores for dashes, all that are sent."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest(
        method, server.path if path is None else path, skip_host=True, skip_accept_encoding=True
    )
    sent = {"Host": f"127.0.0.1:{server.port}", **headers}
    for name, value in sent.items():
        if value:
            connection.putheader(name.replace("_", "-"), value)
    if method == "POST":
        connection.putheader("Content-Length", "2")
    connection.endheaders(b"{}" if method == "POST" else None)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


ALLOWED = {
    "an address that was typed": {},
    "localhost, another port, as by ssh -L": {"Host": "localhost:9999"},
    "IPv6": {"Host": "[::1]:80"},
    "in capitals": {"Host": "LOCALHOST:80"},
    "the page itself": {"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "cors"},
    "a link that was followed": {
        "Sec_Fetch_Site": "cross-site",
        "Sec_Fetch_Mode": "navigate",
        "Sec_Fetch_Dest": "document",
    },
}
REFUSED = {
    "no host": ({"Host": ""}, (400, 421)),
    "a name that points here": ({"Host": "evil.example"}, (421,)),
    "a name that begins so": ({"Host": "127.0.0.1.evil.example"}, (421,)),
    "a port that is none": ({"Host": "127.0.0.1:evil"}, (421,)),
    "an address of the network": ({"Host": "192.168.0.7"}, (421,)),
    "another origin": ({"Origin": "http://evil.example"}, (403,)),
    "another port": ({"Origin": "http://127.0.0.1:1"}, (403,)),
    "no origin of its own": ({"Origin": "null"}, (403,)),
    "a script of another site": ({"Sec_Fetch_Site": "cross-site"}, (403,)),
    "another port's page": ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "no-cors"}, (403,)),
    "a frame of another site": (
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"},
        (403,),
    ),
}


@pytest.mark.parametrize("headers", ALLOWED.values(), ids=ALLOWED)
def test_who_was_given_the_address_is_answered(server, headers):
    code, _, body = ask(server, **headers)
    assert code == 200
    assert b"<title>Where to cut</title>" in body


@pytest.mark.parametrize(("headers", "codes"), REFUSED.values(), ids=REFUSED)
def test_others_are_not(server, headers, codes):
    code, _, body = ask(server, **headers)
    assert code in codes
    assert b"<title>" not in body


def test_two_hosts_are_none(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("GET", server.path, skip_host=True)
    for host in ("127.0.0.1", "evil.example"):
        connection.putheader("Host", host)
    connection.endheaders()
    assert connection.getresponse().status in (400, 421)
    connection.close()


@pytest.mark.parametrize("path", ["/", "/x/", "/api/run", "//", "/%C3%A9/", "/%FF/", "/%2e%2e/"])
def test_without_the_token_nothing_is_there(server, path):
    code, _, body = ask(server, path)
    assert code == 401
    assert body == b"Open the address that `winnow explore` printed.\n"


def test_a_token_but_for_a_letter(server):
    token = server.path.strip("/")
    for wrong in (token[:-1], token + "x", token[:-1] + chr(ord(token[-1]) ^ 1), token.upper()):
        assert ask(server, f"/{wrong}/")[0] == 401


def test_the_order_of_the_questions(server):
    """Nobody learns about the token who comes by another name or from another site."""
    evil = {"Host": "evil", "Origin": "http://x", "Sec_Fetch_Site": "cross-site"}
    expected = [("Host", 421), ("Origin", 403), ("Sec_Fetch_Site", 403), (None, 401)]
    for header, code in expected:
        assert ask(server, "/wrong/", "POST", **evil)[0] == code
        if header:
            del evil[header]
    assert ask(server, method="POST", Content_Type="text/plain")[0] == 415
    assert ask(server, method="POST")[0] == 415
    assert ask(server, method="POST", Content_Type="application/json")[0] == 405


def test_a_slash_that_was_lost(server):
    code, headers, _ = ask(server, server.path.rstrip("/"))
    assert (code, headers["location"]) == (307, server.path)


@pytest.mark.parametrize(
    "path", ["", "explore.js", "page.css", "api/run", "api/count?metric=99", "nothing", "../x"]
)
def test_every_answer_has_the_headers(server, path):
    _, headers, _ = ask(server, server.path + path)
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "server" not in headers
    assert "set-cookie" not in headers
    _, refused, _ = ask(server, Host="evil.example")
    assert {name: refused[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(server, method):
    assert ask(server, method=method, Content_Type="application/json")[0] == 405


def post(server: Explored, name: str, body: object, **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    sent = {"Content-Type": "application/json", **headers}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", f"{server.path}api/{name}", content, sent)
    answer = connection.getresponse()
    told = answer.status, answer.read()
    connection.close()
    return told


GOOD = {"metric": "0", "at": "0:0", "said": "good"}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        (
            {
                "Sec-Fetch-Site": "cross-site",
                "Sec-Fetch-Mode": "navigate",
                "Sec-Fetch-Dest": "document",
            },
            403,
        ),
        ({"Host": "evil.example"}, 421),
    ],
)
def test_nobody_else_judges(server, scored, headers, code):
    assert post(server, "judge", GOOD, **headers)[0] == code
    assert not Path(scored.location, "judgements.parquet").exists()


def test_the_pages_own_judgement_is_on_disk_when_it_is_answered(scored, tmp_path):
    file = tmp_path / "mine.parquet"
    with exploring(scored.location, "--judgements", str(file)) as own:
        code, told = post(own, "judge", GOOD, Origin=f"http://127.0.0.1:{own.port}")
        assert (code, json.loads(told)) == (200, {"at": "0:0", "judged": "good"})
        assert pl.read_parquet(file).select("row", "is_good", "bands").rows() == [(0, True, None)]
        assert ask(own, f"{own.path}api/judge")[0] == 405
        code, told = post(own, "undo", {})
        assert (code, json.loads(told)) == (200, {"at": "0:0", "judged": None})
        assert pl.read_parquet(file).height == 0
        assert json.loads(post(own, "undo", {})[1])["at"] is None
        assert own.end()[0] == 130


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff"),
        *({**GOOD, "said": "so-so"}, {**GOOD, "said": None}, {**GOOD, "at": "0:99999"}),
        *({**GOOD, "at": 3}, {"said": "good"}, {**GOOD, "drawn": "yes", "metric": "99"}),
    ],
    ids=lambda body: str(body)[:20],
)
def test_a_judgement_that_makes_no_sense_is_a_line(server, scored, body):
    code, told = post(server, "judge", body)
    assert code == 422, told
    assert "\n" not in json.loads(told)["error"]
    assert not Path(scored.location, "judgements.parquet").exists()


def test_head_is_answered_without_a_body(server):
    code, _, body = ask(server, method="HEAD")
    assert (code, body) == (200, b"")


@pytest.mark.parametrize(
    "question",
    [
        *("bins", "bins?metric=x", "bins?metric=-1", "count?metric=0&low=abc"),
        *("count?metric=0&unit=none&low=1", "count?metric=0&unit=within&low=1"),
        *("count?metric=0&low=9&high=2", "count?metric=0&low=nan", "count?metric=0&low=inf"),
        *("examples?metric=0&place=nowhere", "document", "document?at=0:x", "document?at=99:0"),
        *("document?at=0:99999", "document?at=../x:0", "count?metric=%C0%AF&low=%00"),
    ],
)
def test_a_question_that_makes_no_sense_is_a_line(server, question):
    code, _, body = ask(server, f"{server.path}api/{question}")
    assert code == 422, body
    told = json.loads(body)
    assert told["error"]
    assert "\n" not in told["error"]


def test_the_page_of_an_answer_is_json_that_any_browser_reads(server):
    code, _, body = ask(server, f"{server.path}api/count?metric=0&by=0&low=4.8&high=5.3")
    assert code == 200
    told = json.loads(body, parse_constant=pytest.fail)
    assert 0 < told["after"]["documents"] < told["before"]["documents"] == 242
