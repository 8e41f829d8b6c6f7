"""Post a verdict, or that a night ended without one, to a webhook.

Owns delivery: a few attempts, each with one limit for all of it, no redirects, and the address, a
secret, is never printed. A delivery that fails is recorded and does not fail the night.
"""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import tenacity

from pipeline.audits.config import Webhook
from pipeline.audits.record import Audit, Delivery, NoVerdict
from pipeline.rendering.escaping import plain

TIMEOUT_SECONDS = 10.0
"""How long an attempt may take in all, from the host's name to the end of the answer's headers."""
TRIES = 3
FIRST_WAIT_SECONDS = 1.0
MOST_REASONS = 20
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500
SLACK_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class _NotDelivered(Exception):
    """Why, without the address."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The verdict is for one host only; and a redirected POST becomes a GET."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def deliver(
    webhook: Webhook,
    url: str,
    record: Audit | NoVerdict,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Delivery:
    """POST it as JSON; never raises."""
    content = slack_message(record) if webhook.format == "slack" else record.model_dump(mode="json")
    body = json.dumps(content).encode()
    attempts = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(TRIES),
        wait=tenacity.wait_exponential(multiplier=FIRST_WAIT_SECONDS),
        retry=tenacity.retry_if_exception(lambda e: isinstance(e, _NotDelivered) and e.again),
        sleep=sleep,
        reraise=True,
    )
    made = 0
    try:
        for attempt in attempts:
            with attempt:
                made = attempt.retry_state.attempt_number
                _post_in_time(url, body)
    except _NotDelivered as error:
        return Delivery(delivered=False, attempts=made, error=str(error))
    return Delivery(delivered=True, attempts=made, error=None)


def _post_in_time(url: str, body: bytes) -> None:
    """`_post` with a limit for all of it: a socket's own begins again with every byte it gets."""
    answer: Future[None] = Future()

    def post() -> None:
        try:
            _post(url, body)
            answer.set_result(None)
        except Exception as error:
            answer.set_exception(error)

    # What is given up is left to itself, and does not keep the process from ending.
    threading.Thread(target=post, daemon=True).start()
    try:
        answer.result(TIMEOUT_SECONDS)
    except TimeoutError:
        raise _no_answer() from None


def _no_answer() -> _NotDelivered:
    return _NotDelivered(f"it did not answer within {TIMEOUT_SECONDS:g} s", again=True)


def _post(url: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "winnow"}
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
        with opener.open(request, timeout=TIMEOUT_SECONDS):
            return
    except urllib.error.HTTPError as error:
        error.close()
        again = error.code >= SERVER_ERROR or error.code == TOO_MANY_REQUESTS
        what = ", a redirect, which is not followed" if 300 <= error.code < 400 else ""
        raise _NotDelivered(f"it answered {error.code}{what}", again=again) from None
    except (ValueError, http.client.InvalidURL):
        # Their messages contain the address.
        raise _NotDelivered("its address is not a URL", again=False) from None
    except http.client.HTTPException as error:
        said = f"its answer is not HTTP's ({type(error).__name__})"
        raise _NotDelivered(said, again=True) from None
    except OSError as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, TimeoutError):
            raise _no_answer() from None
        said = getattr(cause, "strerror", None) or type(cause).__name__
        raise _NotDelivered(f"it cannot be reached: {said}", again=True) from None


def slack_message(record: Audit | NoVerdict) -> dict[str, str]:
    """It in the format of Slack, which other services accept too."""
    lines = [f"Winnow audit of {record.corpus}, night {record.night}: {record.verdict.upper()}"]
    lines += [f"• {reason}" for reason in record.reasons[:MOST_REASONS]]
    if (more := len(record.reasons) - MOST_REASONS) > 0:
        lines.append(f"and {more} more reasons")
    lines.append(record.run)
    text = "\n".join(plain(line) for line in lines)
    return {"text": "".join(SLACK_ESCAPES.get(letter, letter) for letter in text)}
