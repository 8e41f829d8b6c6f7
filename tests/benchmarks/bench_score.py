"""`winnow score` against a bare `LLM.generate` loop over the same token ids.

    make bench            (or: python tests/benchmarks/bench_score.py [ROUNDS] [DOCUMENTS])

Both do the same model work with the same engine arguments in fresh processes, in turn, so that a
machine that drifts drifts for both; neither clock runs while an engine starts. The bare loop gets
its token ids ready-made; winnow reads Parquet, tokenizes, scores, folds and commits parts.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs.demo.corpus import build_demo_corpus
from jobs.demo.model import demo_model

ROUNDS = 3
DOCUMENTS = 60
WINDOW_TOKENS = 2048


def bare(model: str, windows_file: str) -> None:
    """Child process: score ready-made windows with LLM.generate, print {tokens, seconds, nll}."""
    from pipeline.engine.protocol import EngineSettings
    from pipeline.engine.vllm.engine import SAMPLING
    from pipeline.engine.vllm.sizing import engine_arguments, prepare_process

    windows: list[tuple[list[int], int]] = json.loads(Path(windows_file).read_text())
    vocab_size = json.loads((Path(model) / "config.json").read_text())["vocab_size"]
    prepare_process()
    from vllm import LLM, SamplingParams

    settings = EngineSettings(model, "bfloat16", WINDOW_TOKENS, vocab_size)
    llm = LLM(**engine_arguments(settings))
    params = SamplingParams(**SAMPLING)
    started = time.monotonic()
    inputs = [{"prompt_token_ids": prompt} for prompt, _ in windows]
    outputs = llm.generate(inputs, params, use_tqdm=False)
    seconds = time.monotonic() - started
    # Tokens that a later window repeats as context cost time on both sides and count on neither.
    scored = [
        output.prompt_logprobs.logprobs[num_context - 1 :]
        for output, (_, num_context) in zip(outputs, windows, strict=True)
    ]
    nll = -sum(sum(logprobs) for logprobs in scored)
    tokens = sum(len(logprobs) for logprobs in scored)
    print(json.dumps({"tokens": tokens, "seconds": seconds, "nll": nll}))


def write_windows(model: str, corpus: Path, documents: int, target: Path) -> None:
    """The same windows that winnow makes of the corpus's first documents."""
    import polars as pl

    from pipeline.engine.vllm.tokenizer import HubTokenizer
    from pipeline.engine.windows import plan_windows

    tokenizer = HubTokenizer(model)
    prefix = tokenizer.prefix("auto").token_id
    texts = pl.scan_parquet(corpus / "*.parquet").head(documents).collect()["text"].to_list()
    windows = [
        window
        for encoded in tokenizer.encode(texts)
        for window in plan_windows(
            encoded.ids, prefix=prefix, window_tokens=WINDOW_TOKENS, context_tokens=1
        )
    ]
    target.write_text(json.dumps(windows))


def child(*arguments: str) -> str:
    # Ray's workers yield to everybody else by default; on a busy machine only one side would.
    environment = os.environ | {"RAY_worker_niceness": "0"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def main(rounds: int, documents: int) -> None:
    model = str(demo_model())
    with tempfile.TemporaryDirectory() as scratch:
        corpus = build_demo_corpus(Path(scratch) / "corpus")
        windows = Path(scratch) / "windows.json"
        write_windows(model, corpus, documents, windows)
        ratios = []
        for number in range(rounds):
            run = Path(scratch) / f"run-{number}"
            arguments = ["-m", "jobs.cli", "score", str(corpus), "--out", str(run)]
            arguments += ["--model", model, "--limit", str(documents), "--json", "--no-dedup"]
            arguments += ["--window-tokens", str(WINDOW_TOKENS), "--dtype", "bfloat16"]
            sides = [[__file__, "--bare", model, str(windows)], arguments]
            # The other way round in every second round: a drift must not favour one side.
            answers = [child(*side) for side in (sides if number % 2 == 0 else sides[::-1])]
            bare_answer, our_answer = answers if number % 2 == 0 else answers[::-1]
            plain, ours = json.loads(bare_answer.splitlines()[-1]), json.loads(our_answer)
            bare_rate = plain["tokens"] / plain["seconds"]
            ratios.append(ours["tokens_per_second"] / bare_rate)
            print(
                f"round {number + 1}: winnow score {ours['tokens_per_second']:,.0f} tokens/s "
                f"({ours['totals']['num_tokens']:,} tokens, nll {ours['totals']['nll']:.1f}), "
                f"LLM.generate {bare_rate:,.0f} tokens/s "
                f"({plain['tokens']:,} tokens, nll {plain['nll']:.1f}), ratio {ratios[-1]:.3f}, "
                f"engine idle {ours['engine_idle_share']:.1%}",
                flush=True,
            )
        low, high = min(ratios), max(ratios)
        print(f"ratio: median {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f}), goal 0.95")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        bare(*sys.argv[2:])
    else:
        numbers = [int(argument) for argument in sys.argv[1:]]
        main(*numbers, *(ROUNDS, DOCUMENTS)[len(numbers) :])
