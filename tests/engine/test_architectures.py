"""Tiny random models of many architectures score the same through vLLM as in transformers.

Both ways, with every prompt prefilled in chunks. `make test-architectures` takes all of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import transformers
from vllm.compilation import decorators

from pipeline.engine.protocol import EngineSettings, ScoringPath
from pipeline.engine.vllm.engine import VllmEngine
from pipeline.engine.vllm.sizing import _kv_bytes_per_token
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.engine.windows import plan_windows
from pipeline.errors import ModelError
from pipeline.schema import Window
from tests.support.architectures import LAYERS_IN_TURN, TINY, Tiny
from tests.support.tiny import save_tokenizer

WINDOW_TOKENS = 96
STEP_TOKENS = 32
TEXTS = ["x", "The capital of France is Paris.", "Σ😀 " * 9, "one two three four " * 12]


@pytest.fixture(autouse=True)
def inspected_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM looks at a class that it does not know yet in a process of its own: ten seconds each."""
    from vllm.model_executor.models import registry

    monkeypatch.setattr(registry, "_run_in_subprocess", lambda inspect: inspect())


@pytest.fixture(autouse=True)
def classes_as_they_were(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where vLLM runs a class of transformers, it alters that class in this process, for good."""
    real, altered = decorators._support_torch_compile, []

    def support(kind: Any, *rest: Any, **options: Any) -> Any:
        altered.append((kind, kind.__bases__, dict(vars(kind))))
        return real(kind, *rest, **options)

    monkeypatch.setattr(decorators, "_support_torch_compile", support)
    yield
    for kind, bases, own in reversed(altered):
        kind.__bases__ = bases
        for name in set(vars(kind)) - own.keys():
            delattr(kind, name)
        for name in own.keys() & {"__init__", "__call__"}:
            setattr(kind, name, own[name])


@pytest.mark.parametrize(
    ("tiny", "scoring"),
    [
        pytest.param(
            tiny,
            scoring,
            id=f"{name}, {scoring}",
            marks=[] if tiny.always else pytest.mark.architectures,
        )
        for name, tiny in TINY.items()
        for scoring in get_args(ScoringPath)
    ],
)
def test_scores_equal_transformers(tiny: Tiny, scoring: ScoringPath, tmp_path: Path):
    model = make_model(tiny, tmp_path)
    tokenizer = HubTokenizer(str(tmp_path))
    prefix = tokenizer.prefix("auto").token_id
    windows = [
        window
        for encoded in tokenizer.encode(TEXTS)
        for window in plan_windows(
            encoded.ids, prefix=prefix, window_tokens=WINDOW_TOKENS, context_tokens=1
        )
    ]
    assert len(windows) > len(TEXTS)
    assert max(len(window.prompt) for window in windows) > 2 * STEP_TOKENS

    # Before the engine, which may alter the class.
    expected = [reference(model, window) for window in windows]
    settings = EngineSettings(
        str(tmp_path),
        "float32",
        WINDOW_TOKENS,
        model.config.vocab_size,
        scoring=scoring,
        architecture=tiny.architecture,
        max_num_batched_tokens=STEP_TOKENS,
    )
    engine = VllmEngine(settings)
    try:
        scores = {score.key: score.logprobs for score in engine.score(enumerate(windows))}
    finally:
        engine.close()

    worst = max(np.abs(scores[key] - logprobs).max() for key, logprobs in enumerate(expected))
    print(f"largest difference of a token: {worst:.1e}")
    for key, logprobs in enumerate(expected):
        np.testing.assert_allclose(scores[key], logprobs, rtol=tiny.tolerance, atol=tiny.tolerance)
        assert scores[key].sum() == pytest.approx(logprobs.sum(), rel=1e-4)


def make_model(tiny: Tiny, folder: Path) -> Any:
    """Saved in `folder`, with a tokenizer."""
    vocab_size = save_tokenizer(folder)
    kind = getattr(transformers, tiny.architecture)
    torch.manual_seed(0)
    config = kind.config_class(vocab_size=vocab_size, **tiny.config)
    # Eager attention: the fused one of PyTorch has no soft cap (Gemma 2).
    model = kind._from_config(config, attn_implementation="eager").to(torch.float32).eval()
    with torch.no_grad():
        for values in model.parameters():
            if values.ndim == 1:  # biases begin at zero, norms at one: none would be missed
                values += 0.1 * torch.randn_like(values)
    model.save_pretrained(folder)
    return model


def reference(model: Any, window: Window) -> np.ndarray:
    ids = torch.tensor([window.prompt])
    with torch.no_grad():
        table = torch.log_softmax(model(ids).logits[0].double(), dim=-1)
    return table[:-1].gather(1, ids[0, 1:, None])[window.num_context - 1 :, 0].numpy()


def test_a_class_that_cannot_be_imported_says_why(tiny_model: Path, monkeypatch):
    # Models of text and images are, where torchvision is missing; so is Qwen3.5 of text alone.
    from vllm.model_executor.models.registry import ModelRegistry, _LazyRegisteredModel

    missing = _LazyRegisteredModel("no_such_module", "NoSuchForCausalLM")
    monkeypatch.setitem(ModelRegistry.models, "NoSuchForCausalLM", missing)
    options = {"scoring": "fused", "architecture": "NoSuchForCausalLM"}
    settings = EngineSettings(str(tiny_model), "float32", WINDOW_TOKENS, 258, **options)
    with pytest.raises(ModelError, match="No module named 'no_such_module'") as refused:
        VllmEngine(settings)
    assert f"install no_such_module, in the build for torch {torch.__version__}" in str(
        refused.value.hint
    )


def test_layers_that_differ_are_counted_each(tmp_path: Path):
    values = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = transformers.Gemma4TextConfig(
        num_hidden_layers=3,
        layer_types=LAYERS_IN_TURN,
        head_dim=16,
        global_head_dim=32,
        num_global_key_value_heads=1,
        **values,
    )
    config.save_pretrained(tmp_path)
    settings = EngineSettings(str(tmp_path), "float32", WINDOW_TOKENS, 258)
    assert _kv_bytes_per_token(settings) == 2 * 4 * (16 + 16 + 32)
    # One head of keys for all, whatever it says beside it; its successor has as many as it says.
    falcon = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3}
    for new, keys in ((False, 1), (True, 2)):
        config = transformers.FalconConfig(
            **falcon, num_kv_heads=2, multi_query=True, new_decoder_architecture=new
        )
        config.save_pretrained(tmp_path)
        assert _kv_bytes_per_token(settings) == 2 * 4 * 3 * keys * 16
    transformers.MambaConfig(hidden_size=64, num_hidden_layers=2).save_pretrained(tmp_path)
    assert _kv_bytes_per_token(settings) == 2 * 4 * 2 * 64
