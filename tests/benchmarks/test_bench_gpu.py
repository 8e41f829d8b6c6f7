"""What bench_gpu.py says of its figures; measuring itself is `--tiny`'s to try."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.benchmarks.bench_gpu import FULL, TINY, conclude, distance, operations_per_token, plan


def test_operations_are_those_that_torch_counts():
    length = 32
    config = Qwen2Config(**TINY, attn_implementation="eager")
    model = Qwen2ForCausalLM(config).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.arange(length)[None])
    # It computes attention in full, and the head for the last token too.
    pairs = 4 * config.num_hidden_layers * config.hidden_size
    more = pairs * (length - (length + 1) / 2)
    head = 2 * config.vocab_size * config.hidden_size / length
    counted = counter.get_total_flops() / length
    found = operations_per_token({"model_type": "qwen2", **TINY}, length)
    assert found == pytest.approx(counted - more - head)


@pytest.mark.parametrize(
    ("errors", "code", "told"),
    [
        ({}, 1, "no parity was measured"),
        ({"fused": 1e-3}, 0, "parity holds: fused"),
        ({"fused": 1e-3, "public path": 0.2}, 1, "parity is off: public path"),
        ({"fused": float("nan")}, 1, "parity is off: fused"),
    ],
)
def test_nothing_that_was_not_measured_holds(tmp_path, capsys, errors, code, told):
    cells = {name: {"parity": {"largest": largest}} for name, largest in errors.items()}
    cells["SGLang"] = {"not_measured": "out of time"}
    assert conclude(cells, tmp_path / "x.json") == code
    assert told in capsys.readouterr().out


def test_distance_is_relative_to_the_reference():
    assert distance([1.0, 2.2], [1.0, 2.0]) == pytest.approx({"largest": 0.1, "mean": 0.05})


def test_what_matters_most_comes_first_and_every_scorer_is_asked():
    scorers, cells = plan(FULL)
    names = [cell.name for cell in cells]
    assert names[:3] == ["transformers float32", "fused", "public path"]
    assert len(set(names)) == len(names)
    assert {name for cell in cells for name in cell.scorers} == set(scorers)
    for cell in cells:
        assert all(set(cell.lengths) <= set(scorers[name].lengths) for name in cell.scorers)
