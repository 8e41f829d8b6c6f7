"""What `make check-image` says where it cannot build, and what it takes from this machine's pip.

The build and the commands in the image are `make check-image` itself: minutes, and gigabytes.
"""

import configparser
import sys

import pytest

from tests.infra import check_image as module


@pytest.mark.parametrize(("options", "code"), [([], 2), (["--where-possible"], 0)])
def test_what_is_missing_is_said_in_one_line(options, code, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["check_image", *options])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == code
    out, err = capsys.readouterr()
    assert not out
    assert err == (
        "The image was not built: no buildah, debootstrap, runc on PATH; "
        "apt-get install --no-install-recommends buildah debootstrap runc\n"
    )


def test_pip_is_configured_as_on_this_machine(monkeypatch, tmp_path):
    wheels, file = tmp_path / "wheels", tmp_path / "pip.conf"
    wheels.mkdir()
    index = f"extra-index-url = file://{tmp_path}/local/simple\n"
    (tmp_path / "local/simple").mkdir(parents=True)
    file.write_text(f"[global]\nfind-links = {wheels}\n  {tmp_path}/none\ntimeout = 7\n" + index)
    for name in ("PIP_FIND_LINKS", "PIP_DEFAULT_TIMEOUT", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_TIMEOUT", "9")
    monkeypatch.setenv("PIP_CERT", str(file))
    made = tmp_path / "made"
    made.mkdir()

    options = module.pip_configuration(made)

    mounted = [option for option in options if str(tmp_path) in option]
    assert mounted == [
        f"--volume={tmp_path}/local:{tmp_path}/local:ro",
        f"--volume={file}:{file}:ro",
        f"--volume={wheels}:{wheels}:ro",
        f"--volume={made}/pip.conf:/etc/pip.conf:ro",
    ]
    parser = configparser.RawConfigParser()
    parser.read(made / "pip.conf")
    settings = parser["global"]
    assert settings["timeout"] == "9"
    assert settings["find-links"] == f"{wheels} {tmp_path}/none"
    assert settings["cert"] == str(file)
    assert not [option for option in options if "TORCH_INDEX" in option]

    [pin] = [line for line in module.LOCK.read_text().splitlines() if line.startswith("torch==")]
    (wheels / f"torch-{pin.removeprefix('torch==')}-cp311-none-any.whl").touch()
    assert "--build-arg=TORCH_INDEX=file:///none" in module.pip_configuration(made)
