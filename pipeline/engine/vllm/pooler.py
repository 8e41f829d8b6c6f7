"""Hidden states to log-probabilities of the prompt's own tokens, in the vLLM worker.

Runs once per step over all prompts of the step, each of them whole or a chunk. Logits are made a
few rows at a time and never kept; with tensor parallelism each rank reduces its part of the
vocabulary and two numbers per row are exchanged, never a row of logits.

A request brings its token ids itself. vLLM would hand them over as a matrix, zero-filled at every
step, of requests times the longest prompt: titles beside documents of 30,000 tokens, in steps of
16,384 tokens, make that 10 MB on average and 59 MB at worst (8 and 84 ms of a step of 40 ms).
"""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from vllm.distributed import (
    get_tensor_model_parallel_world_size,
    tensor_model_parallel_all_gather,
)
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.pooler import Pooler, PoolingParamsUpdate
from vllm.utils.torch_utils import async_tensor_h2d
from vllm.v1.pool.metadata import PoolingCursor, PoolingMetadata
from vllm.v1.worker.gpu.sample.logprob import compute_token_logprobs

TASK = "token_classify"
NUM_CONTEXT = "num_context"
WHOLE_ROWS = "whole_rows"
TOKEN_IDS = "token_ids"
"""Keys of a request's extra_kwargs: leading tokens not to score; answer with whole rows instead;
the prompt, as bytes of C ints."""
CPU_LOGITS_BYTES = 64 << 20
GPU_LOGITS_BYTES = 1 << 30
BYTES_PER_LOGIT = 6
"""Bytes of a logit as the model computes it (2) and in float32 (4)."""
CPU_PIECE_BYTES = 4 << 20
"""Bytes of a piece of float32 logits, small enough to stay in a CPU's cache."""


class LogprobPooler(Pooler):
    """One float32 tensor per finished prompt: shape [prompt tokens - num_context], in nats.

    A request for whole rows, of the start-up check, gets [prompt tokens, vocabulary].
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        # A weak reference: as a child module the model would contain itself.
        self._model = weakref.ref(model)

    def get_supported_tasks(self) -> set[str]:
        return {TASK}

    def get_pooling_updates(self, task: str) -> PoolingParamsUpdate:
        return PoolingParamsUpdate()

    def forward(
        self, hidden_states: torch.Tensor, pooling_metadata: PoolingMetadata
    ) -> list[torch.Tensor | None]:
        """Score this step's rows; answer for the prompts that end in it."""
        cursor = pooling_metadata.get_pooling_cursor()
        lengths = cursor.num_scheduled_tokens_cpu.tolist()
        ends = cursor.seq_lens_cpu.tolist()
        prompt_lengths = cursor.prompt_lens_cpu.tolist()
        options = [params.extra_kwargs or {} for params in pooling_metadata.pooling_params]
        ids = [_token_ids(*each) for each in zip(options, prompt_lengths, strict=True)]

        rows, targets = scored_rows(
            lengths, ends, prompt_lengths, [option.get(NUM_CONTEXT, 1) for option in options], ids
        )
        logprobs = self._target_logprobs(
            hidden_states,
            # From pinned memory, on a GPU: copied from elsewhere, this would wait for all that the
            # GPU has been given before, and nothing would be given to it ahead.
            async_tensor_h2d(torch.cat(rows), hidden_states.device),
            async_tensor_h2d(torch.cat(targets), hidden_states.device),
        )
        parts = list(logprobs.split([len(target) for target in targets]))
        for index, option in enumerate(options):
            if option.get(WHOLE_ROWS):
                parts[index] = self._whole_rows(hidden_states, cursor, index)
        return self._collect(parts, pooling_metadata, lengths, ends, prompt_lengths)

    def _collect(
        self,
        parts: Sequence[torch.Tensor],
        metadata: PoolingMetadata,
        lengths: list[int],
        ends: list[int],
        prompt_lengths: list[int],
    ) -> list[torch.Tensor | None]:
        """Keep the parts of prompts that go on; join those of prompts that end."""
        answers: list[torch.Tensor | None] = []
        for part, state, length, end, prompt_length in zip(
            parts, metadata.pooling_states, lengths, ends, prompt_lengths, strict=True
        ):
            kept = state.hidden_states_cache  # vLLM's own place for what outlives a chunk
            if end == length:
                kept.clear()  # a first chunk; after a preemption, again
            kept.append(part)
            answers.append(torch.cat(kept) if end == prompt_length else None)
        return answers

    def _target_logprobs(
        self, hidden_states: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """ln p of each target: shape [len(rows)], float32."""
        model: Any = self._model()
        tp_size = get_tensor_model_parallel_world_size()
        reduce = _whole_vocabulary if tp_size == 1 else _sharded_vocabulary
        vocab_size = find_logits_processor(model).vocab_size // tp_size
        room = CPU_LOGITS_BYTES if hidden_states.device.type == "cpu" else GPU_LOGITS_BYTES
        chunk = max(16, room // (BYTES_PER_LOGIT * vocab_size))
        pairs = zip(rows.split(chunk), targets.split(chunk), strict=True)
        return torch.cat([reduce(model, hidden_states[row], target) for row, target in pairs])

    def _whole_rows(
        self, hidden_states: torch.Tensor, cursor: PoolingCursor, index: int
    ) -> torch.Tensor:
        """All of one prompt's rows in this step, by vLLM's offsets and by no arithmetic of ours.

        ln p of every token of the vocabulary to come next: shape [tokens, vocabulary], float32.
        """
        model: Any = self._model()
        first = int(cursor.first_token_indices_gpu[index])
        last = int(cursor.last_token_indices_gpu[index])
        logits = model.compute_logits(hidden_states[first : last + 1])
        return torch.log_softmax(logits, -1, dtype=torch.float32)


def scored_rows(
    lengths: Sequence[int],
    ends: Sequence[int],
    prompt_lengths: Sequence[int],
    contexts: Sequence[int],
    ids: Sequence[NDArray[np.intc]],
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Each prompt's rows of this step that predict a scored token, and these tokens.

    The step holds `lengths` tokens of the prompts, up to the positions `ends`.
    """
    rows: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    offset = 0
    for index, (length, end) in enumerate(zip(lengths, ends, strict=True)):
        start = end - length
        # The state at position p predicts the token at p + 1; the last one predicts no token of
        # the prompt, and the target of a chunk's last row is in the next chunk.
        first = max(start, contexts[index] - 1)
        target = ids[index][first + 1 : min(end, prompt_lengths[index] - 1) + 1]
        row = offset + first - start
        rows.append(torch.arange(row, row + len(target)))
        targets.append(torch.from_numpy(target.astype(np.int64)))
        offset += length
    return rows, targets


def _token_ids(option: Mapping[str, Any], prompt_length: int) -> NDArray[np.intc]:
    """A prompt's; of vLLM's memory profile, whose requests have none, zeros."""
    sent = option.get(TOKEN_IDS)
    return np.zeros(prompt_length, np.intc) if sent is None else np.frombuffer(sent, np.intc)


def _whole_vocabulary(model: Any, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = model.compute_logits(states)
    if logits.is_cuda:
        # One kernel, in float32 over the logits as they are. Step by step, as below, copies and
        # exponentials took 45% of an H200's time with a vocabulary of 152,000 (RESULTS.md).
        return compute_token_logprobs(logits, targets[:, None]).squeeze(-1)
    value = logits.gather(-1, targets[:, None]).squeeze(-1).float()
    return value - _logsumexp(logits)


def _sharded_vocabulary(model: Any, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The same where this rank has only part of the vocabulary."""
    local, shard = local_logits(model, states)
    value, total = shard_logprobs(
        local, targets, shard.org_vocab_start_index, shard.org_vocab_end_index
    )
    pairs = tensor_model_parallel_all_gather(torch.stack([value, total], -1), dim=-1)
    return join_shards(pairs.view(len(targets), -1, 2))


def find_logits_processor(model: Any) -> Any:
    """A model's own, which in a multi-modal one is its language model's."""
    if hasattr(model, "logits_processor"):
        return model.logits_processor
    return next(one for one in model.modules() if isinstance(one, LogitsProcessor))


def local_logits(model: Any, states: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """This rank's logits, and which part of the vocabulary they are.

    The model computes them, with whatever bias, scale and soft cap it has; it is only kept from
    gathering them.
    """
    processor, heads = find_logits_processor(model), list[Any]()
    hook = processor.register_forward_pre_hook(lambda _, inputs: heads.append(inputs[0]))
    processor._gather_logits = lambda logits: logits
    try:
        logits = model.compute_logits(states)
    finally:
        del processor._gather_logits
        hook.remove()
    return logits, heads[-1].shard_indices


def shard_logprobs(
    logits: torch.Tensor, targets: torch.Tensor, start: int, end: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A rank's logit of each target (-inf if another rank has it), and its logsumexp.

    `logits` has shape [rows, at least end - start]: what follows is padding of the vocabulary.
    """
    logits = logits[:, : end - start]
    mine = (targets >= start) & (targets < end)
    local = (targets - start).clamp(0, end - start - 1)
    value = logits.gather(-1, local[:, None]).squeeze(-1).float()
    return torch.where(mine, value, torch.full_like(value, -torch.inf)), _logsumexp(logits)


def join_shards(pairs: torch.Tensor) -> torch.Tensor:
    """ln p from every rank's (logit, logsumexp): shape [rows, ranks, 2] to [rows]."""
    return pairs[..., 0].amax(-1) - torch.logsumexp(pairs[..., 1], -1)


def _logsumexp(logits: torch.Tensor) -> torch.Tensor:
    """float32 torch.logsumexp over the last axis, in place where `logits` are float32 already.

    In place it takes half the memory and traffic. A CPU takes a few rows at a time: a large
    float32 copy would be new memory each time, and touching that costs more than the arithmetic.
    """
    rows = len(logits)
    if logits.device.type == "cpu":
        rows = max(1, CPU_PIECE_BYTES // (4 * logits.shape[-1]))
    return torch.cat([_piece_logsumexp(piece.float()) for piece in logits.split(rows)])


def _piece_logsumexp(logits: torch.Tensor) -> torch.Tensor:
    largest = logits.amax(-1, keepdim=True)
    return logits.sub_(largest).exp_().sum(-1).log() + largest.squeeze(-1)
