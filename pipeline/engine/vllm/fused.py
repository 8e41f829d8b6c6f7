"""Scoring inside the vLLM worker: a causal language model that answers with log-probabilities.

`register` is vLLM's plugin hook (entry point `vllm.general_plugins`) and runs in every process of
an engine. For each architecture whose parity is tested it registers a pooling model: the same
model, whose pooler (pooler.py) turns hidden states into the log-probabilities of the prompt's own
tokens. No object per token is made, and the logits are inside vLLM's memory profile.

The classes are made when vLLM asks for them: they inherit from vLLM's own.
"""

from typing import Any

PREFIX = "Winnow"
ARCHITECTURES = (
    "LlamaForCausalLM",
    "GPT2LMHeadModel",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "GemmaForCausalLM",
    "Gemma2ForCausalLM",
    "MistralForCausalLM",
)
"""Architectures that tests/test_architectures.py scores both ways; those that vLLM runs through
transformers' own classes are left out."""


def register() -> None:
    """Tell vLLM of the pooling models, and of kernels for a CPU. Safe to call again."""
    from vllm import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP
    from vllm.platforms import current_platform

    for name in ARCHITECTURES:
        ModelRegistry.register_model(PREFIX + name, f"{__name__}:{PREFIX}{name}")
        if name in MODELS_CONFIG_MAP:
            MODELS_CONFIG_MAP.setdefault(PREFIX + name, MODELS_CONFIG_MAP[name])
    if current_platform.is_cpu():
        from pipeline.engine.vllm import norms

        norms.register()


def __getattr__(name: str) -> Any:
    """The pooling model of an architecture, made at first use (PEP 562)."""
    if name.removeprefix(PREFIX) not in ARCHITECTURES:
        raise AttributeError(name)
    from vllm import ModelRegistry

    from pipeline.engine.vllm.pooler import LogprobPooler

    base: Any = ModelRegistry.models[name.removeprefix(PREFIX)].load_model_cls()

    class ScoringModel(base):
        # Declared here, vLLM puts no adapter around the model, which would drop its head.
        is_pooling_model = True

        def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
            super().__init__(vllm_config=vllm_config, prefix=prefix)
            self.pooler = LogprobPooler(self)

    ScoringModel.__name__ = ScoringModel.__qualname__ = name
    globals()[name] = ScoringModel
    return ScoringModel
