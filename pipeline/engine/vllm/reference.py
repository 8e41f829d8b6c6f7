"""The reference: a plain transformers float32 forward pass, one window at a time.

Owns being independent. It shares no code with the scoring path: it tokenizes, cuts windows and sums
by itself, slowly, so that a mistake in one is not repeated in the other. Only the rules are the
run's.
"""

import math
from pathlib import Path
from typing import Any

from pipeline.engine.protocol import INTEGRITY_ALONE, OnTokens, Reference
from pipeline.engine.rules import ModelRecord
from pipeline.engine.vllm.rules import CausalRules
from pipeline.errors import ModelError, first_line


class ReferenceScorer(Reference):
    """Scores one text at a time, by the definition."""

    def __init__(self, model: ModelRecord, rules: CausalRules) -> None:
        """Load model and tokenizer. Raises ModelError."""
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
            from transformers.utils import logging
        except ImportError as error:
            raise ModelError(
                f"rescoring needs torch and transformers: {error}",
                hint=f"install winnow-ppl[cpu] or [gpu], or {INTEGRITY_ALONE}",
            ) from error
        if not Path(model.folder).is_dir():
            # Otherwise transformers takes it for a name on the hub.
            raise ModelError(
                f"cannot load {model.folder} to rescore: there is no such folder here",
                hint=f"put the model there, or {INTEGRITY_ALONE}",
            )
        logging.disable_progress_bar()
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                model.folder, trust_remote_code=model.trust_remote_code, local_files_only=True
            )
            self._model: Any = AutoModelForCausalLM.from_pretrained(
                model.folder,
                dtype=torch.float32,
                trust_remote_code=model.trust_remote_code,
                # A manifest is data: the folder that it names may hold anything, and other weights
                # than safetensors are pickles, which are code.
                local_files_only=True,
                use_safetensors=True,
                # By the definition: the fused kernels leave out what some models ask for, such as
                # Gemma 2's soft cap.
                attn_implementation="eager",
            ).eval()
        except Exception as error:  # transformers raises many unrelated kinds
            reason = first_line(error)
            raise ModelError(
                f"cannot load {model.folder} to rescore: {reason}",
                hint=INTEGRITY_ALONE,
            ) from error
        self._rules = rules

    def nll(self, text: str, on_tokens: OnTokens = lambda done: None) -> tuple[float, int]:
        """(sum of -ln p in nats, scored tokens) of a text under the run's rules."""
        ids = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        prefix = self._rules.prefix_token_id
        if prefix is not None and ids[:1] != [prefix]:
            ids = [prefix, *ids]
        logprobs: list[float] = []
        begin = 1
        while begin < len(ids):
            # The tokens that fit behind the context, or behind the prefix in the first window.
            context = 1 if begin == 1 else self._rules.context_tokens
            end = min(len(ids), begin + self._rules.window_tokens - context)
            start = max(0, end - self._rules.window_tokens)
            logprobs += self._forward(ids[start:end])[begin - start - 1 :]
            on_tokens(len(logprobs))
            if self._rules.long_documents == "truncate":
                break
            begin = end
        return -math.fsum(logprobs), len(logprobs)

    def _forward(self, ids: list[int]) -> list[float]:
        """ln p of ids[1:], each given what stands before it."""
        import torch

        with torch.inference_mode():
            logits = self._model(torch.tensor([ids])).logits[0, :-1].float()
            table = torch.log_softmax(logits, dim=-1)
            chosen = table.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        values: list[float] = chosen.double().tolist()
        return values
