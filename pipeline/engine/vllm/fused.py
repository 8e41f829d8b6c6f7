"""Scoring inside the vLLM worker: a causal language model that answers with log-probabilities.

`register` is vLLM's plugin hook (entry point `vllm.general_plugins`) and runs in every process of
an engine. For every architecture of vLLM's it registers a pooling model: the same model, whose
pooler (pooler.py) turns hidden states into the log-probabilities of the prompt's own tokens. No
object per token is made, and the logits are inside vLLM's memory profile.

The classes are made when vLLM asks for them: they inherit from vLLM's own.
"""

from typing import Any

from pipeline.engine.protocol import EngineSettings

PREFIX = "Winnow"
ORIGINAL = "winnow_architecture"
"""Key of the configuration: the architecture that config.json names."""


def register() -> None:
    """Tell vLLM of the pooling models, and of kernels for a CPU. Safe to call again."""
    from vllm import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP
    from vllm.platforms import current_platform

    for name in [name for name in ModelRegistry.models if not name.startswith(PREFIX)]:
        ModelRegistry.register_model(PREFIX + name, f"{__name__}:{PREFIX}{name}")
        if name in MODELS_CONFIG_MAP:
            MODELS_CONFIG_MAP.setdefault(PREFIX + name, MODELS_CONFIG_MAP[name])
    if current_platform.is_cpu():
        from pipeline.engine.vllm import norms

        norms.register()


def pooling_model(settings: EngineSettings) -> str:
    """The name that a model's architecture is registered by."""
    from vllm import ModelRegistry
    from vllm.config import ModelConfig

    if settings.architecture in ModelRegistry.models:
        return PREFIX + settings.architecture
    # Not vLLM's own: one of its classes around transformers' models runs it, if any does.
    config = ModelConfig(
        settings.folder,
        dtype=settings.dtype,
        skip_tokenizer_init=True,
        trust_remote_code=settings.trust_remote_code,
    )
    return f"{PREFIX}{config.architecture}"


def import_failure(architecture: str) -> Exception | None:
    """Why vLLM's own class of an architecture cannot be imported: vLLM only logs it."""
    from vllm import ModelRegistry

    try:
        if architecture in ModelRegistry.models:
            ModelRegistry.models[architecture].load_model_cls()
    except Exception as error:  # whatever a module raises that lacks what it needs
        return error
    return None


def __getattr__(name: str) -> Any:
    """The pooling model of an architecture, made at first use (PEP 562)."""
    if not name.startswith(PREFIX):
        raise AttributeError(name)
    from vllm import ModelRegistry

    from pipeline.engine.vllm.pooler import LogprobPooler

    base: Any = ModelRegistry.models[name.removeprefix(PREFIX)].load_model_cls()

    class ScoringModel(base):
        # Declared here, vLLM puts no adapter around the model, which would drop its head.
        is_pooling_model = True

        def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
            # Names of weights are mapped by the architecture's own name.
            config = vllm_config.model_config.hf_config
            ours, config.architectures = config.architectures, [getattr(config, ORIGINAL)]
            super().__init__(vllm_config=vllm_config, prefix=prefix)
            config.architectures = ours
            self.pooler = LogprobPooler(self)

    # Its base's: by it vLLM tells its classes around transformers' models.
    ScoringModel.__name__ = ScoringModel.__qualname__ = base.__name__
    globals()[name] = ScoringModel
    return ScoringModel
