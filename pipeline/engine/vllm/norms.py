"""vLLM's normalization kernels, on a CPU: its CPU build has them, its dispatch keeps them for GPUs.

Without them a norm is ten operations of torch on float32 copies, nine times as long. `register`
offers them under the name PROVIDER; which provider comes first is the engine's argument
`ir_op_priority` (sizing.py). vLLM asks for the signatures of its own operations.
"""

import torch
from torch import Tensor
from vllm import ir
from vllm.platforms import current_platform

PROVIDER = "winnow"
ROW_MULTIPLE = 16
"""The kernels only take rows whose number of elements is a multiple of this."""


def register() -> None:
    """Tell vLLM's dispatch of both kernels. Safe to call again."""
    if PROVIDER in ir.ops.rms_norm.impls:
        return
    current_platform.import_kernels()
    ir.ops.rms_norm.register_impl(PROVIDER, supports_args=_norm_applies)(_rms_norm)
    add_norm = ir.ops.fused_add_rms_norm
    add_norm.register_impl(PROVIDER, supports_args=_add_applies, inplace=True)(_fused_add_rms_norm)


def _norm_applies(
    x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None
) -> bool:
    return (
        variance_size is None
        and weight is not None
        and weight.dtype == x.dtype
        and x.is_contiguous()
        and x.shape[-1] % ROW_MULTIPLE == 0
    )


def _add_applies(
    x: Tensor,
    x_residual: Tensor,
    weight: Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> bool:
    return x_residual.is_contiguous() and _norm_applies(x, weight, epsilon, variance_size)


def _rms_norm(
    x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None
) -> Tensor:
    normed = torch.empty_like(x)
    torch.ops._C.rms_norm(normed, x, weight, epsilon)
    return normed


def _fused_add_rms_norm(
    x: Tensor,
    x_residual: Tensor,
    weight: Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    torch.ops._C.fused_add_rms_norm(x, x_residual, weight, epsilon)
    return x, x_residual
