"""The page's addresses: its files, and the questions it may ask.

Owns how an error reaches the page. Who may ask is guard.py's, what is answered queries.py's.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from jobs.explore.guard import Guard
from jobs.explore.judge import JudgeQueries
from jobs.explore.queries import Queries, Superseded
from jobs.explore.shown import fit
from jobs.explore.two import TwoQueries
from jobs.explore.words import Words
from pipeline.errors import ConfigError, RunError, UsageError, WinnowError, first_line
from pipeline.explore.pairs import TwoRuns
from pipeline.settings.fields import option_of

FILES: list[str | tuple[str, str]] = [
    ("jobs.explore", "static"),
    ("pipeline.rendering", "templates"),
]
"""The page's own files, and the report's style: one design for both."""
CHANGED = "the run was scored again or moved since winnow explore started; start it again"
NO_LONGER_ASKED = 499

Handler = Callable[[Request], Awaitable[Response]]


def make_app(
    queries: Queries, token: str, *, two: TwoRuns | None = None, is_remote: bool = False
) -> ASGIApp:
    """Everything that is answered, behind its door."""
    judge, beside = JudgeQueries(queries), TwoQueries(queries, two)
    questions: dict[str, Callable[[Words], Any]] = {
        "run": queries.about,
        "count": queries.count,
        "cutoffs": queries.cutoffs,
        "examples": queries.examples,
        "document": queries.document,
        "tokens": queries.tokens,
        "sorts": queries.sorts,
        "bins": queries.bins,
        "next": judge.next,
        "standing": judge.standing,
        "propose": judge.propose,
        "two": beside.about,
        "outline": beside.outline,
        "density": beside.density,
    }
    # The last one only loads a model; no page of somebody else's can send it.
    changes: dict[str, Callable[[Words], Any]] = {
        "judge": judge.judge,
        "undo": judge.undo,
        "score": queries.score,
    }
    routes = [
        *(Route(f"/api/{name}", _answer(queries, ask)) for name, ask in questions.items()),
        *(
            Route(f"/api/{name}", _answer(queries, change), methods=["POST"])
            for name, change in changes.items()
        ),
        Mount("/", StaticFiles(packages=FILES, html=True)),
    ]
    return Guard(Starlette(routes=routes), token, is_remote=is_remote)


def _answer(queries: Queries, question: Callable[[Words], Any]) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            found = await queries.ask(request, question, await _words(request))
        except Superseded:
            return Response(status_code=NO_LONGER_ASKED)
        except Exception as error:
            return _failure(queries, error)
        if isinstance(found, bytes):
            return Response(found, media_type="application/octet-stream")
        return _json(found)

    return answer


async def _words(request: Request) -> Words:
    if request.method != "POST":
        return request.query_params
    try:
        told = json.loads(await request.body())
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or not all(isinstance(one, str) for one in told.values()):
        raise ConfigError("the request body is not a JSON object of strings")
    return told


def _failure(queries: Queries, error: Exception) -> Response:
    is_asked_wrongly = isinstance(error, UsageError) and not isinstance(error, RunError)
    if not is_asked_wrongly and queries.run.has_changed():
        return _json({"error": CHANGED, "hint": None}, 409)
    if isinstance(error, WinnowError):
        error.spell({"judgements": option_of("judgements")})  # the others are the rule's own
        return _json({"error": str(error), "hint": error.hint}, 422)
    said = f"{type(error).__name__}: {first_line(error)}"
    return _json({"error": said, "hint": "this is a fault in Winnow, please report it"}, 500)


def _json(content: Any, code: int = 200) -> Response:
    return Response(json.dumps(fit(content)), code, media_type="application/json")
