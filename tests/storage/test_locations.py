"""URIs: what they name, the options in them, limits on requests, and no secrets."""

import datetime

import pytest
from pyarrow import fs

from pipeline.errors import UsageError
from pipeline.storage import locations
from pipeline.storage.locations import open_uri, refuse_hub, split_file, split_options


def options_of(filesystem: fs.FileSystem) -> dict:
    return filesystem.__reduce__()[1][0]


@pytest.mark.parametrize(
    ("location", "parts"),
    [
        ("s3://b/x?region=eu-west-1&scheme=http", ("s3://b/x", "?region=eu-west-1&scheme=http")),
        ("s3://b/x/*.parquet", ("s3://b/x/*.parquet", "")),
        ("s3://b/x?", ("s3://b/x?", "")),
        ("s3://b/part-?.parquet", ("s3://b/part-?.parquet", "")),
        ("s3://b/?/key=a/*.parquet?region=x", ("s3://b/?/key=a/*.parquet", "?region=x")),
        ("data/part-?.parquet", ("data/part-?.parquet", "")),
        ("/a/b?c/d", ("/a/b?c/d", "")),
    ],
)
def test_options_are_split_off_a_uri_and_only_there(location, parts):
    assert split_options(location) == parts
    assert "".join(parts) == location


@pytest.mark.parametrize(
    ("location", "parts"),
    [
        ("s3://b/x/c.json?region=eu-west-1", ("s3://b/x?region=eu-west-1", "c.json")),
        ("s3://b/c.json", ("s3://b", "c.json")),
        ("a/b/c.json", ("a/b", "c.json")),
        ("/c.json", ("/", "c.json")),
        ("c.json", (".", "c.json")),
        ("a/b/", ("a/b", "")),
    ],
)
def test_a_file_has_a_folder_which_keeps_the_options(location, parts):
    assert split_file(location) == parts


def test_options_of_a_uri_are_kept_and_limits_added():
    filesystem, path = open_uri(
        "s3://bucket/folder?region=eu-west-1&scheme=http&endpoint_override=127.0.0.1:9"
        "&allow_bucket_creation=true"
    )
    assert path == "bucket/folder"
    options = options_of(filesystem)
    assert options["region"] == "eu-west-1"
    assert options["scheme"] == "http"
    assert options["endpoint_override"] == "127.0.0.1:9"
    assert options["allow_bucket_creation"] is True
    assert options["connect_timeout"] == locations.CONNECT_SECONDS
    assert options["request_timeout"] == locations.SILENCE_SECONDS
    assert options["allow_delayed_open"] is True


def test_google_does_not_wait_silently_for_a_quarter_of_an_hour():
    filesystem, _ = open_uri("gs://anonymous@bucket/folder?endpoint_override=127.0.0.1:9")
    options = options_of(filesystem)
    limit = datetime.timedelta(seconds=locations.GCS_RETRY_SECONDS)
    assert options["retry_time_limit"] == limit
    assert options["anonymous"] is True
    assert options["endpoint_override"] == "127.0.0.1:9"


def test_azure_takes_its_account_from_the_environment(monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(UsageError, match="AZURE_STORAGE_ACCOUNT_NAME is not set"):
        open_uri("az://container/folder")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    filesystem, path = open_uri(
        "az://container/folder?blob_storage_authority=127.0.0.1:9&enable_tls=false"
    )
    assert path == "container/folder"
    assert filesystem.type_name == "abfs"
    with pytest.raises(UsageError, match="unknown option 'endpoint'"):
        open_uri("az://container/folder?endpoint=127.0.0.1:9")


@pytest.mark.parametrize(
    "location",
    [
        "s3://key:SECRET@bucket/x",
        "abfs://container@account/x?client_secret=SECRET",
        "az://container/x?sig=SECRET",
        "az://container/x?account_key=SECRET",
        "s3://bucket/x?region=eu-west-1&session_token=SECRET",
    ],
)
def test_a_secret_in_a_location_is_refused_and_not_repeated(location):
    with pytest.raises(UsageError, match="has a secret in it") as caught:
        open_uri(location)
    assert "SECRET" not in f"{caught.value} {caught.value.hint}"


def test_the_hub_is_not_asked_where_the_environment_forbids_it(monkeypatch):
    asked = []
    monkeypatch.setattr(locations, "with_retries", lambda *args, **_: asked.append(args))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="hf://datasets/org/set is on the hub") as caught:
        open_uri("hf://datasets/org/set")
    assert "HF_HUB_OFFLINE is set" in str(caught.value)
    assert asked == []


def test_only_what_is_on_the_hub_is_refused():
    refuse_hub("s3://hf/x", "data/hf:", None, "")
    with pytest.raises(UsageError, match=r"^hf://datasets/b is on the hub"):
        refuse_hub("s3://a", None, "hf://datasets/b")


def test_a_secret_is_not_repeated_where_the_hub_is_refused():
    with pytest.raises(UsageError, match="has a secret in it") as caught:
        refuse_hub("hf://me:SECRET@datasets/org/set")
    assert "SECRET" not in f"{caught.value} {caught.value.hint}"
