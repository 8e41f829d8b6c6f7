"""pipeline/costs and `winnow plan`: hours and prices by hand, a speed that is known, bad tables."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import plan as command
from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.backend import VllmBackend
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.errors import ConfigError, CorpusError, ModelError
from pipeline.planning.calibration import (
    Calibration,
    Trial,
    calibrate,
    chunks_of,
    fastest,
    speed_of,
)
from pipeline.planning.cost import WorkerKind, cost_of, load_plan_config
from pipeline.planning.estimate import Quantity, Sample
from pipeline.schema import Window, WindowScore
from tests.support.fakes import fake_logprobs
from tests.support.plans import make_manifest

MILLION = Quantity(value=3_600_000, low=2_880_000, high=4_320_000)


def test_hours_and_price_by_hand():
    kind = WorkerKind(tokens_per_second=100, price_per_hour=2.0, count=4)
    cost = cost_of(MILLION, "a", kind, currency="EUR")
    assert (cost.hours.value, cost.hours.low, cost.hours.high) == pytest.approx((2.5, 2.0, 3.0))
    assert cost.price is not None
    found = (cost.price.value, cost.price.low, cost.price.high)
    assert found == pytest.approx((20.0, 16.0, 24.0))
    # 20% of the tokens and 15% of the speed: 25% together.
    cost = cost_of(MILLION, "a", WorkerKind(tokens_per_second=100), spread=0.15)
    assert (cost.hours.low, cost.hours.high) == pytest.approx((7.5, 12.5))
    assert cost.price is None
    nothing = Quantity(value=0, low=0, high=0)
    assert cost_of(nothing, "a", kind).hours.high == 0


MISTAKES = {
    "a key": ("curency = 'X'", "unknown key 'curency' in [plan] of "),
    "a worker's key": (
        "[plan.workers.a]\ntokens_per_second = 1\nprice = 2",
        "unknown key 'price' in [plan.workers.a] of ",
    ),
    "no speed": (
        "[plan.workers.a]\nprice_per_hour = 1",
        "tokens_per_second is not set in [plan.workers.a] of ",
    ),
    "no tokens": (
        "[plan.workers.a]\ntokens_per_second = 0",
        "tokens_per_second in [plan.workers.a] of {file} = 0: must be greater than 0",
    ),
    "a price below nothing": (
        "[plan.workers.a]\ntokens_per_second = 1\nprice_per_hour = -1",
        "price_per_hour in [plan.workers.a] of {file} = -1: must be greater than or equal to 0",
    ),
    "no number": (
        "[plan.workers.a]\ntokens_per_second = nan",
        "tokens_per_second in [plan.workers.a] of {file} = nan: ",
    ),
    "a list": ("workers = [1]", "workers in [plan] of {file} is not a table of tables"),
    "a number": (
        "[plan.workers]\na = 5",
        "a in [plan.workers] of {file} is not a table",
    ),
}


@pytest.mark.parametrize(("table", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_its_place(tmp_path, table, message):
    file = tmp_path / "c.toml"
    file.write_text(f"[plan]\n{table}")
    with pytest.raises(ConfigError, match=re.escape(message.replace("{file}", str(file)))):
        load_plan_config(file)


# Calibration, by a clock of our own


class SteadyEngine:
    """Computes `speed` prompt tokens a second of its clock, and answers a step at a time."""

    def __init__(self, speed: float, step: int, start_up: float = 100.0) -> None:
        self.now, self.speed, self.step, self.start_up = 0.0, speed, step, start_up

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        self.now += self.start_up
        waiting: list[tuple[int, Window]] = []
        for entry in windows:
            waiting.append(entry)
            size = sum(len(window.prompt) for _, window in waiting)
            if size >= self.step:
                self.now += size / self.speed
                for key, window in waiting:
                    self.now += 1e-6  # handing over takes a moment
                    yield WindowScore(key, fake_logprobs(window.prompt, window.num_context))
                waiting = []


@pytest.mark.parametrize("step", [1, 300, 4000])
def test_a_speed_that_is_known_is_found(tiny_model, step):
    engine = SteadyEngine(speed=500, step=step)
    texts = ["a" * (10 + 7 * i) for i in range(30)]
    rules = make_manifest().rules.model_copy(update={"long_documents": "window"})
    found = calibrate(
        engine,
        HubTokenizer(str(tiny_model)),
        rules,
        Sample(texts, [1.0] * 30),
        clock=lambda: engine.now,
    )
    assert found.tokens_per_second == pytest.approx(500, rel=0.01)
    # A document counts where its last window is answered, so that steps differ a little.
    assert found.spread < 0.1
    assert found.num_chunks >= 4


def test_a_machine_that_is_far_too_slow_is_measured_all_the_same(tiny_model):
    engine = SteadyEngine(speed=1, step=1)
    sample = Sample(["a" * 200], [1.0])
    rules = make_manifest().rules.model_copy(update={"long_documents": "window"})
    found = calibrate(
        engine, HubTokenizer(str(tiny_model)), rules, sample, clock=lambda: engine.now, seconds=1
    )
    assert found.tokens_per_second == pytest.approx(1, rel=0.01)
    assert found.spread == 1


def test_the_spread_is_that_of_the_chunks():
    """Forty seconds at 300 a second, forty at 100, over and over, and a first answer for free."""
    moments = [(0.0, 10**9)]
    for second in range(1, 402):
        # A longer pause after every forty, so that it is known where the chunks end.
        moments.append(
            (second + 0.1 * ((second - 1) // 40), 100 if (second - 1) // 40 % 2 else 300)
        )
    found = speed_of(moments)
    assert found.tokens_per_second == pytest.approx(200, rel=0.01)
    # Ten chunks, half of each speed: s is 105.4, t(9) 2.262.
    assert found.spread == pytest.approx(2.262 * 105.4 / 10**0.5 / 200, rel=0.02)
    assert len(chunks_of(moments)) == found.num_chunks == 10


def test_nothing_to_measure_with(tiny_model):
    tokenizer, rules = HubTokenizer(str(tiny_model)), make_manifest().rules
    skipping = rules.model_copy(update={"long_documents": "skip"})
    for sample in (Sample([], []), Sample(["a" * 500], [1.0])):
        with pytest.raises(CorpusError, match="no sampled document has a token to score"):
            calibrate(SteadyEngine(1, 1), tokenizer, skipping, sample)


# The command


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["twelve bytes", "seven b"]}), folder / "a.parquet")
    return folder


WORKERS = "currency = 'EUR'\n[plan.workers.a]\ntokens_per_second = 21\nprice_per_hour = 7200\n"


def test_plan_with_a_model_and_prices(winnow, corpus, tiny_model, tmp_path):
    (tmp_path / "c.toml").write_text(f"[plan]\n{WORKERS}")
    given = ("plan", corpus, "--model", tiny_model, "--config", tmp_path / "c.toml")
    code, out, err = winnow(*given, "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert plan["estimated_tokens"] == plan["estimate"]["tokens"]["low"] == 19
    assert plan["estimate"]["prompt_tokens"]["value"] == 21
    (cost,) = plan["costs"]
    assert cost["hours"]["value"] == pytest.approx(1 / 3600)
    assert cost["price"]["value"] == pytest.approx(2)
    code, out, _ = winnow(*given)
    assert code == 0
    assert "every document counted" in out
    assert "2.00 EUR" in out


def test_plan_follows_the_score_table(winnow, corpus, tiny_model, tmp_path):
    lines = [f'corpus = "{corpus}"', f'model = "{tiny_model}"', "limit = 1", "window_tokens = 5"]
    (tmp_path / "c.toml").write_text("\n".join(["[score]", *lines]))
    code, out, err = winnow("plan", "--config", tmp_path / "c.toml", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert (plan["rows"], plan["estimate"]["windows"]["value"]) == (1, 3)


def test_calibrate_adds_this_machine(winnow, corpus, tiny_model, monkeypatch):
    speed = speed_of([(0.0, 5), (1.0, 42)])
    settings = EngineSettings("", "float32", 64, 258, max_num_batched_tokens=4096)
    monkeypatch.setattr(command, "_calibrate", lambda *asked: [Trial(settings, speed)])
    code, out, err = winnow("plan", corpus, "--model", tiny_model, "--calibrate", "--json")
    assert code == 0, err
    plan = json.loads(out)
    (cost,) = plan["costs"]
    assert (cost["worker"], cost["tokens_per_second"], cost["spread"]) == ("this machine", 42, 1)
    assert cost["hours"] == pytest.approx({"value": 0.5 / 3600, "low": 0, "high": 1 / 3600})
    assert plan["calibration"]["num_chunks"] == 1
    assert [one["step_tokens"] for one in plan["trials"]] == [4096]


def trial(step_tokens: int, tokens_per_second: float, spread: float = 0.02) -> Trial:
    settings = EngineSettings("", "float32", 64, 258, max_num_batched_tokens=step_tokens)
    found = {"tokens_per_second": tokens_per_second, "spread": spread}
    return Trial(settings, Calibration(**found, num_chunks=9, num_tokens=1, seconds=1))


@pytest.mark.parametrize(
    ("trials", "step_tokens"),
    [
        ([trial(4096, 100)], 4096),
        ([trial(4096, 100), trial(2048, 120), trial(1024, 110)], 2048),
        ([trial(4096, 100), trial(2048, 90), trial(1024, 80)], 4096),
        # Faster by less than both vary: by chance, for all that is known.
        ([trial(4096, 100), trial(2048, 103)], 4096),
        ([trial(4096, 100), trial(2048, 150, spread=1)], 4096),
    ],
)
def test_another_step_has_to_be_faster_than_chance(trials, step_tokens):
    assert fastest(trials).settings.max_num_batched_tokens == step_tokens


def test_every_step_is_measured_and_the_fastest_kept(winnow, corpus, tiny_model, monkeypatch):
    engine = EngineSettings("", "float32", 64, 258)
    steps = [replace(engine, max_num_batched_tokens=tokens) for tokens in (4096, 2048, 1024)]
    closed, kept = list[int](), list[int]()

    class Steady(SteadyEngine):
        def __init__(self, settings: EngineSettings) -> None:
            super().__init__(speed=settings.max_num_batched_tokens or 0, step=64)

        def close(self) -> None:
            closed.append(self.speed)

    def measure(engine: Steady, *asked: object, **options: object) -> Calibration:
        # The smallest step is the fastest.
        return trial(0, 1e6 / engine.speed).speed

    monkeypatch.setattr(VllmBackend, "variants", lambda self, settings: steps)
    monkeypatch.setattr(VllmBackend, "engine", lambda self, settings: Steady(settings))
    monkeypatch.setattr(
        VllmBackend, "prefer", lambda self, one, engines: kept.append(one.max_num_batched_tokens)
    )
    monkeypatch.setattr(command, "calibrate", measure)
    code, out, err = winnow("plan", corpus, "--model", tiny_model, "--calibrate")
    assert code == 0, err
    assert (closed, kept) == ([4096, 2048, 1024], [1024])
    (line,) = [one for one in out.splitlines() if one.startswith("step tokens")]
    assert "1,024, of 4,096 (244 tokens/s" in line


def test_engines_that_share_a_gpu_are_measured_too(winnow, corpus, tiny_model, monkeypatch):
    engine = EngineSettings("", "float32", 64, 258, max_num_batched_tokens=4096)
    small, shared = replace(engine, max_num_batched_tokens=2048), replace(engine, engines_per_gpu=2)
    kept = list[tuple[int | None, int]]()

    def measure(engine: SteadyEngine, *asked: object, **options: object) -> Calibration:
        return trial(0, engine.speed).speed

    def together(*asked: object) -> Calibration:
        return trial(0, 9000).speed

    def fail(*asked: object) -> Calibration:
        raise ModelError("no room")

    def started(backend: VllmBackend, settings: EngineSettings) -> SteadyEngine:
        steady = SteadyEngine(speed=settings.max_num_batched_tokens or 0, step=64)
        steady.close = lambda: None
        return steady

    monkeypatch.setattr(VllmBackend, "variants", lambda *_: [engine, small, shared])
    monkeypatch.setattr(VllmBackend, "engine", started)
    monkeypatch.setattr(
        VllmBackend, "prefer", lambda _, one, n: kept.append((one.max_num_batched_tokens, n))
    )
    monkeypatch.setattr(command, "calibrate", measure)
    monkeypatch.setattr(command, "calibrate_together", together)
    asked = ("plan", corpus, "--model", tiny_model, "--calibrate")
    code, out, err = winnow(*asked)
    assert code == 0, err
    said = " ".join(out.split())
    assert "calibration 9,000 tokens/s" in said
    assert "step tokens 4,096, of 4,096 (4,096 tokens/s +-2.0%), 2,048 (2,048" in said
    assert "engines per gpu 2, of 1 (4,096 tokens/s +-2.0%), 2 (9,000 tokens/s +-2.0%)" in said
    assert "--engines-per-gpu auto takes it for this model" in said
    code, out, err = winnow(*asked, "--json")
    assert [one["engines_per_gpu"] for one in json.loads(out)["trials"]] == [1, 1, 2]

    monkeypatch.setattr(command, "calibrate_together", fail)
    code, out, err = winnow(*asked)
    assert code == 0
    assert "Warning: 2 engines per GPU were not measured: no room" in " ".join(err.split())
    assert "engines per gpu" not in out
    assert kept == [(4096, 2), (4096, 2), (4096, 1)]


def test_what_cannot_be_planned(winnow, corpus, tmp_path):
    (tmp_path / "c.toml").write_text(f"[plan]\n{WORKERS}")
    for given, message in [
        ((corpus, "--calibrate"), "--calibrate needs a model"),
        ((corpus, "--config", tmp_path / "c.toml"), "[plan.workers] of"),
        ((), "corpus is not set"),
        ((corpus, "--model", "/nowhere"), "no such model folder"),
        ((corpus, "--config", tmp_path / "none.toml"), "cannot read the configuration"),
    ]:
        code, out, err = winnow("plan", *given)
        assert (code, out) == (2, ""), err
        assert message in err
