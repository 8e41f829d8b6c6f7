"""jobs/run/auth.py: tokens, who may read them, and what a dashboard must not be told."""

import os
from pathlib import Path

import pytest

from jobs.run.auth import (
    dashboard_url,
    exposure_warning,
    is_loopback,
    keep_token_private,
    refuse_secrets,
    use_given_token,
)
from pipeline.errors import ConfigError, UsageError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        # Set first, so that what is set in a test is taken back after it.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def token(home: Path) -> Path:
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("secret")
    file.chmod(0o644)
    return file


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://head:8265", "http://head:8265"),
        ("https://ray.example.com/", "https://ray.example.com"),
        ("https://example.com/ray/", "https://example.com/ray"),
        ("http://[::1]:8265", "http://[::1]:8265"),
    ],
)
def test_the_address_of_a_dashboard(given, url):
    assert dashboard_url(given) == url


@pytest.mark.parametrize(
    "given",
    [
        "",
        "auto",
        "head:8265",
        "ray://head:10001",
        "http://",
        "file:///etc",
        "http://head:no",
        "//x",
    ],
)
def test_what_is_no_address(given):
    with pytest.raises(UsageError, match="is not the address of a Ray dashboard"):
        dashboard_url(given)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="password") as raised:
        dashboard_url("http://me:hunter2@head:8265")
    assert "hunter2" not in f"{raised.value} {raised.value.hint}"


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("http://127.0.0.1:8265", True),
        ("http://127.9.9.9:8265", True),
        ("http://[::1]:8265", True),
        ("http://localhost:8265", True),
        ("http://10.0.0.1:8265", False),
        ("http://0.0.0.0:8265", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
    ],
)
def test_who_can_be_meant(address, loopback):
    assert is_loopback(address) is loopback
    assert (exposure_warning(address, has_token=False) is None) is loopback
    assert exposure_warning(address, has_token=True) is None


def test_the_warning_names_the_risk():
    warning = exposure_warning("http://head:8265", has_token=False)
    assert warning
    assert "CVE-2023-48022" in warning


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_given_token_is_used(monkeypatch, name):
    assert use_given_token() is False
    monkeypatch.setenv(name, "x")
    assert use_given_token() is True
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_the_mode_that_was_asked_for_stays(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert use_given_token() is False


def test_the_token_at_home_is_not_sent_unasked(token):
    assert use_given_token() is False
    assert "RAY_AUTH_MODE" not in os.environ


def test_rays_token_file_is_made_private(token):
    assert "the file is private now" in (keep_token_private() or "")
    assert token.stat().st_mode & 0o777 == 0o600
    assert keep_token_private() is None


def test_no_token_file_is_no_matter(home):
    assert keep_token_private() is None


def test_a_link_is_not_followed(token, home):
    other = home / "other"
    other.write_text("x")
    other.chmod(0o644)
    token.unlink()
    token.symlink_to(other)
    assert keep_token_private() is None
    assert other.stat().st_mode & 0o777 == 0o644


def test_a_token_file_of_ones_own_is_only_spoken_of(home, monkeypatch):
    own = home / "team-token"
    own.write_text("x")
    own.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(own))
    assert "chmod 600" in (keep_token_private() or "")
    assert own.stat().st_mode & 0o777 == 0o644
    own.chmod(0o640)
    assert keep_token_private() is None


SECRET = {
    "password in a URL": ("x", "s3://key:hunter2@bucket"),
    "AWS": ("x", "AKIAIOSFODNN7EXAMPLE"),
    "hub": ("x", "hf_" + "a" * 30),
    "GitHub": ("x", "ghp_" + "a" * 36),
    "Slack": ("x", "https://hooks.slack.com/services/T0/B0/x"),
    "key": ("x", "-----BEGIN RSA PRIVATE KEY-----"),
    "named": ("HF_TOKEN", "x"),
    "password": ("db_password", "x"),
}
HARMLESS = {
    "bucket": ("corpus", "s3://corpora/web"),
    "port": ("url", "http://head:8265/x@y"),
    "tokens": ("max_num_batched_tokens", "4096"),
    "tokenizer": ("tokenizer", "org/model"),
    "hash": ("text", "a" * 64),
    "nothing": ("secret", ""),
}


@pytest.mark.parametrize(("name", "text"), SECRET.values(), ids=SECRET)
def test_a_secret_is_refused_and_not_repeated(name, text):
    with pytest.raises(ConfigError, match="looks like a secret, and it shows") as raised:
        refuse_secrets({name: text}, "it shows")
    assert text == "x" or text not in str(raised.value)


@pytest.mark.parametrize(("name", "text"), HARMLESS.values(), ids=HARMLESS)
def test_what_is_no_secret(name, text):
    refuse_secrets({name: text}, "it shows")
