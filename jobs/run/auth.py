"""What protects a Ray cluster from strangers: its token, and who can reach its dashboard.

Ray runs whatever code reaches its Jobs API, so a dashboard without token authentication hands the
cluster to anyone on the network (ShadowRay, CVE-2023-48022). Owns switching token authentication
on before Ray is imported, the mode of the token file that Ray writes, and refusing to put a secret
where the dashboard shows it. Imports no Ray.
"""

import ipaddress
import os
import re
import stat
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pipeline.errors import ConfigError, UsageError

SECRETS = re.compile(
    r"""://[^/@\s]+:[^/@\s]+@        # a password in a URL
    |\b(?:AKIA|ASIA)[A-Z0-9]{16}\b   # an AWS access key
    |\bhf_[A-Za-z0-9]{20,}\b         # a Hugging Face token
    |\bgh[pousr]_[A-Za-z0-9]{20,}\b  # a GitHub token
    |\bxox[abprs]-[A-Za-z0-9-]{10,}  # a Slack token
    |hooks\.slack\.com/services/\w   # a Slack webhook, which is its own password
    |-----BEGIN[ A-Z]*PRIVATE[ ]KEY  # a private key
    """,
    re.VERBOSE,
)
SECRET_NAME = re.compile(r"secret|passw|token(?!s|iz)|credential|api_?key|private_?key", re.I)


def dashboard_url(address: str) -> str:
    """The address of a dashboard, checked and without a trailing slash. Raises UsageError."""
    parts = urlsplit(address)
    try:
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        named = False
    if not named:
        raise UsageError(
            f"{address!r} is not the address of a Ray dashboard",
            hint="give --address http://HOST:8265, or set RAY_API_SERVER_ADDRESS",
        )
    if parts.username or parts.password:
        raise UsageError(
            f"the address of {parts.hostname} has a password in it",
            hint="remove the password; Ray authenticates by token: set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN_PATH",
        )
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def is_loopback(address: str) -> bool:
    """Whether only this machine can be meant by the address."""
    host = urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def use_given_token() -> bool:
    """Switch token authentication on where a token was given; whether it is on.

    Has to come before Ray is imported: Ray reads RAY_AUTH_MODE once. The token that Ray keeps in
    the home folder is used only if RAY_AUTH_MODE asks for it, so that no unknown host gets it.
    """
    given = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if given and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def exposure_warning(address: str, *, has_token: bool) -> str | None:
    """The warning for a dashboard that strangers may be able to reach."""
    if has_token or is_loopback(address):
        return None
    return (
        f"{address} is reached without a token: anyone who reaches that dashboard runs code on "
        "the cluster (ShadowRay, CVE-2023-48022). Start it with RAY_AUTH_MODE=token."
    )


def keep_token_private() -> str | None:
    """Make the token file that Ray wrote readable to its owner alone; what was found, if anything.

    Ray writes ~/.ray/auth_token with mode 644. A file named by RAY_AUTH_TOKEN_PATH was made by
    somebody, perhaps for a group on purpose: it is only warned about, if everybody can read it.
    """
    if named := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        path = Path(named)
        if path.is_file() and path.stat().st_mode & stat.S_IROTH:
            return f"everyone on this machine can read the token in {path}: run chmod 600 {path}"
        return None
    path = Path.home() / ".ray" / "auth_token"
    try:
        # Neither a link nor another's file is followed or touched.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        found = os.fstat(file)
        if found.st_uid != os.geteuid() or not stat.S_IMODE(found.st_mode) & 0o077:
            return None
        os.fchmod(file, 0o600)
    finally:
        os.close(file)
    return f"others could read the token in {path}: the file is private now (mode 600)"


def refuse_secrets(texts: dict[str, str], where: str) -> None:
    """Raise ConfigError if a text looks like a secret: `where` is shown to whoever asks.

    `texts` maps what to call each text to the text itself, which is never repeated.
    """
    for name, text in texts.items():
        if SECRETS.search(text) or (SECRET_NAME.search(name) and text):
            raise ConfigError(
                f"{name} looks like a secret, and {where}",
                hint="keep it on the cluster: a Kubernetes Secret, workload identity, or the "
                "environment that Ray was started in",
            )
