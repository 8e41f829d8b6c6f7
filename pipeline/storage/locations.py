"""What a location names: a local path, or a URI of an object store and how to reach it.

Owns schemes, the options in a URI, time limits of requests, and keeping secrets out of locations,
which are printed, logged and kept in manifests. Credentials come from the environment, or from the
machine's identity, as each store's own tools find them.
"""

import os
import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa
from pyarrow import fs

from pipeline.errors import UsageError, first_line, named, require_modules
from pipeline.storage import retries
from pipeline.storage.retries import with_retries

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 20.0
"""Seconds without any data after which a request is given up."""
S3_ATTEMPTS = 3
GCS_RETRY_SECONDS = 20
"""pyarrow's own retries are silent: enough for a hiccup. Longer waits are retries.py's."""

OPTIONS = re.compile(r"\?\w+=[^?]*$")
SECRET_OPTION = re.compile(r"[?&][^=&]*(?:secret|password|token|sig|key)[^=&]*=", re.IGNORECASE)
AZURE_OPTIONS = frozenset(["blob_storage_authority", "dfs_storage_authority", "enable_tls"])


def split_options(location: str) -> tuple[str, str]:
    """A location without the options that a URI has at its end, and those with their "?"."""
    if "://" not in location:
        return location, ""
    found = OPTIONS.search(location)  # a lone "?" is a glob's
    at = found.start() if found else len(location)
    return location[:at], location[at:]


def split_file(location: str) -> tuple[str, str]:
    """The folder of a file, with the options of its URI, and the file's name in it."""
    path, options = split_options(location)
    folder, slash, name = path.rpartition("/")
    return (folder or slash or ".") + options, name


def open_uri(location: str) -> tuple[fs.FileSystem, str]:
    """The file system and the path that a URI names; nothing need be there.

    Raises UsageError if it is not understood or has a secret in it, and as `with_retries` if the
    bucket cannot be looked up.
    """
    scheme, _, rest = location.partition("://")
    _refuse_secrets(location)
    if not rest.strip("/"):
        raise UsageError(f"cannot open {location}: it names no bucket")
    if scheme == "hf":
        require_modules("hf://", "fsspec", "huggingface_hub")
        from huggingface_hub.constants import HF_HUB_OFFLINE

        if HF_HUB_OFFLINE:
            refuse_hub(location)
        limit_hub()
    try:
        if scheme == "az":
            return _azure(rest)
        # Of S3 without a region and an endpoint, it asks where the bucket is.
        filesystem, path = with_retries(
            lambda: fs.FileSystem.from_uri(location),
            f"finding {location}",
            seconds=retries.RETRY_SECONDS,
        )
        return _limited(filesystem), path
    except (pa.ArrowException, ValueError, ImportError) as error:
        reason = first_line(error)
        raise UsageError(
            f"cannot open {location}: {reason}",
            hint="give a local path, or a URI with s3://, gs://, az:// or hf://",
        ) from error


def limit_hub() -> None:
    """Give up a request to the hub after a silence, as one to a store: its client never does."""
    from huggingface_hub import get_session

    session = get_session()
    hooks = session.event_hooks
    if _limit not in hooks["request"]:
        session.event_hooks = {**hooks, "request": [*hooks["request"], _limit]}


def _limit(request: Any) -> None:
    # Of a request, not of the session: the hub's own calls ask for no limit, in so many words.
    for what, seconds in (("connect", CONNECT_SECONDS), ("read", SILENCE_SECONDS)):
        if request.extensions["timeout"][what] is None:
            request.extensions["timeout"][what] = seconds


def refuse_hub(*locations: str | None) -> None:
    """Raises UsageError if one of them is on the hub: for where the hub must not be asked."""
    for location in locations:
        if location is not None and location.startswith("hf://"):
            _refuse_secrets(location)
            raise UsageError(
                f"{location} is on the hub, which is not contacted: {named('offline')} or "
                "HF_HUB_OFFLINE is set",
                hint="give a copy in a folder or an object store, or leave out "
                f"{named('offline')} and unset HF_HUB_OFFLINE",
            )


def _refuse_secrets(location: str) -> None:
    scheme, _, rest = location.partition("://")
    before, at, _ = rest.partition("@")
    if (at and ":" in before.partition("/")[0]) or SECRET_OPTION.search(location):
        raise UsageError(
            f"the {scheme}:// location has a secret in it",
            hint="leave the secret out; credentials come from the environment or the machine's "
            "identity",
        )


def _limited(filesystem: fs.FileSystem) -> fs.FileSystem:
    """The same, with limits on every request; a URI has no option for them."""
    if isinstance(filesystem, fs.S3FileSystem):
        return fs.S3FileSystem(
            **_options(filesystem)
            | {
                "connect_timeout": CONNECT_SECONDS,
                "request_timeout": SILENCE_SECONDS,
                "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS),
                # One put for a small object, instead of three requests.
                "allow_delayed_open": True,
            }
        )
    if filesystem.type_name == "gcs":
        limit = timedelta(seconds=GCS_RETRY_SECONDS)
        return fs.GcsFileSystem(**_options(filesystem) | {"retry_time_limit": limit})
    return filesystem


def _options(filesystem: fs.FileSystem) -> dict[str, Any]:
    """The keyword arguments that make such a file system, which is how pyarrow pickles it."""
    options: dict[str, Any] = filesystem.__reduce__()[1][0]
    return options


def _azure(rest: str) -> tuple[fs.FileSystem, str]:
    """az://CONTAINER/PATH, as fsspec has it: the account and its key are in the environment."""
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query, strict_parsing=True)) if query else {}
    if unknown := options.keys() - AZURE_OPTIONS:
        raise ValueError(f"unknown option {min(unknown)!r}")
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise ValueError("AZURE_STORAGE_ACCOUNT_NAME is not set")
    scheme = "http" if options.pop("enable_tls", "true") == "false" else "https"
    filesystem = fs.AzureFileSystem(
        account,
        account_key=os.environ.get("AZURE_STORAGE_ACCOUNT_KEY"),
        sas_token=os.environ.get("AZURE_STORAGE_SAS_TOKEN"),
        blob_storage_scheme=scheme,
        dfs_storage_scheme=scheme,
        **options,
    )
    return filesystem, path
