"""`winnow score` beside other ways of getting the same numbers: same documents, model and dtype.

    make bench-peers      (or: python -m tests.benchmarks.bench_peers [DOCUMENTS] [ROUNDS] [OUT])

Each peer is a process of its own (peer_loops.py), whose clock runs from texts to sums. Peers take
turns within a round, in another order each round. Rates divide by the tokens that winnow scores,
whatever a peer calls a token; documents fit one window, so that none of them may cut anything.
What cannot run is in the table with its reason. Writes OUT (default peers.json).
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from jobs.demo.corpus import build_demo_corpus
from jobs.demo.model import demo_model
from pipeline.engine.vllm.tokenizer import HubTokenizer
from tests.benchmarks.peer_loops import DTYPE, PEERS, WINDOW_TOKENS

DOCUMENTS = 60
ROUNDS = 5
OUT = "peers.json"
ROOT = Path(__file__).parents[2]
PACKAGES = (ROOT / ".venv-peers", ROOT / ".venv-lm-eval")
OURS = {"winnow score": "fused", "winnow score, prompt_logprobs": "prompt_logprobs"}
NOT_RUN = {"ray.data.llm": "ray[llm] 2.60 pins vllm[audio]==0.29.0: not installable beside 0.32.0"}
TIMEOUT = 1800


def write_documents(model: str, folder: Path, documents: int) -> tuple[Path, Path]:
    """The corpus as Parquet, and its texts as JSON."""
    tokenizer = HubTokenizer(model)
    found = pl.read_parquet(build_demo_corpus(folder / "demo") / "*.parquet").sort("doc_id")
    texts = found.sample(fraction=1.0, shuffle=True, seed=0)["text"].drop_nulls().to_list()
    lengths = [len(encoded.ids) for encoded in tokenizer.encode(texts)]
    fitting = [text for text, n in zip(texts, lengths, strict=True) if 1 < n < WINDOW_TOKENS - 1]
    if len(fitting) < documents:
        sys.exit(f"the demo corpus has {len(fitting)} documents that fit one window")
    corpus, listed = folder / "corpus.parquet", folder / "texts.json"
    pl.DataFrame({"text": fitting[:documents]}).write_parquet(corpus)
    listed.write_text(json.dumps(fitting[:documents]))
    return corpus, listed


def run_ours(scoring: str, model: str, corpus: Path, run: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "jobs.cli", "score", str(corpus), "--out", str(run)]
    command += ["--model", model, "--scoring", scoring, "--dtype", DTYPE, "--json", "--no-dedup"]
    command += ["--window-tokens", str(WINDOW_TOKENS)]
    answer = child(command)
    if "error" in answer:
        return answer
    totals = answer["totals"]
    return {
        "seconds": totals["num_tokens"] / answer["tokens_per_second"],
        "nll": totals["nll"],
        "tokens": totals["num_tokens"],
    }


def child(command: list[str]) -> dict[str, Any]:
    """What it prints last, or {error}."""
    paths = [str(ROOT), *map(str, PACKAGES)]
    # Ray's workers yield to everybody else by default; here they are measured beside them.
    variables = {"HF_HUB_OFFLINE": "1", "RAY_worker_niceness": "0"}
    variables["PYTHONPATH"] = os.pathsep.join(paths)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | variables,
            check=False,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"still running after {TIMEOUT} s"}
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return {"error": lines[-1][:160] if lines else f"exit code {done.returncode}"}
    # winnow's answer is one document over several lines; a peer's is its last line.
    text = done.stdout if done.stdout.startswith("{") else done.stdout.splitlines()[-1]
    answer: dict[str, Any] = json.loads(text)
    return answer


def table(answers: dict[str, list[dict[str, Any]]]) -> str:
    reference = next((a for a in answers["winnow score"] if "tokens" in a), None)
    if reference is None:
        sys.exit(f"winnow itself did not run: {answers['winnow score'][0]['error']}")
    tokens = reference["tokens"]
    base = statistics.median(a["seconds"] for a in answers["winnow score"] if "seconds" in a)
    lines = [
        f"{tokens:,} tokens",
        "| way | tokens/s, median (spread) | time / winnow score | nll / winnow score |",
        "|---|---|---|---|",
    ]
    for name, found in answers.items():
        seconds = [answer["seconds"] for answer in found if "seconds" in answer]
        if not seconds:
            lines.append(f"| {name} | did not run: {found[0]['error']} | | |")
            continue
        rates = [tokens / value for value in seconds]
        nll = next(answer["nll"] for answer in found if "nll" in answer)
        compared = (
            "a yardstick: nothing is scored" if nll is None else f"{nll / reference['nll']:.5f}"
        )
        lines.append(
            f"| {name} | {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) "
            f"| {statistics.median(seconds) / base:.2f} | {compared} |"
        )
    lines += [f"| {name} | not run: {reason} | | |" for name, reason in NOT_RUN.items()]
    return "\n".join(lines)


def main(documents: int = DOCUMENTS, rounds: int = ROUNDS, out: str = OUT) -> None:
    model = str(demo_model())
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in (*OURS, *PEERS)}
    with tempfile.TemporaryDirectory() as scratch:
        corpus, texts = write_documents(model, Path(scratch), documents)
        for number in range(rounds):
            order = list(answers)
            random.Random(number).shuffle(order)
            for name in order:
                if name in OURS:
                    run = Path(scratch) / f"run-{number}-{OURS[name]}"
                    answer = run_ours(OURS[name], model, corpus, run)
                else:
                    module = "tests.benchmarks.peer_loops"
                    answer = child([sys.executable, "-m", module, name, model, str(texts)])
                answers[name].append(answer)
                print(f"round {number + 1}: {name}: {json.dumps(answer)}", file=sys.stderr)
    Path(out).write_text(json.dumps({"documents": documents, "answers": answers}, indent=1) + "\n")
    print(table(answers))


if __name__ == "__main__":
    counts = [int(argument) for argument in sys.argv[1:3]]
    main(*(counts + [DOCUMENTS, ROUNDS][len(counts) :]), *sys.argv[3:4])
