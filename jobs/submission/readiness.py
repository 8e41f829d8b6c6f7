"""Whether a cluster is starting, restarting or gone, and whether to ask it again."""

import re

import requests

NOT_READY = re.compile(r"status code (50[234])|No available agent|Failed to get head node agent")


def is_not_ready(error: BaseException) -> bool:
    """Whether the same request may succeed later: no server listens, or no agent is up yet."""
    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code >= 500
    if isinstance(error, requests.ConnectionError | requests.Timeout | ConnectionError):
        return True
    return isinstance(error, RuntimeError) and bool(NOT_READY.search(str(error)))


def reason(error: BaseException | None) -> str:
    """Why a cluster is not ready, in a few words: the libraries' own messages fill a screen."""
    said = f"{error} {error.__context__}" if error else ""
    if found := re.search(r"\[Errno -?\d+\] ([\w ]+)", said):
        return found[1].lower()
    if isinstance(error, requests.Timeout) or "timed out" in said:
        return "it does not answer"
    if "agent" in said:
        return "the dashboard has no job agent yet"
    if found := re.search(r"(?:status code )?(50\d)\b", said):
        return f"it answers HTTP {found[1]}"
    return "the connection broke"
