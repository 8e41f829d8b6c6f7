"""vLLM's normalization kernels on a CPU against its own reference, by way of its dispatch."""

import pytest
import torch
from vllm import ir
from vllm.platforms import current_platform

from pipeline.engine.vllm import norms
from pipeline.engine.vllm.sizing import CPU_KERNELS

pytestmark = pytest.mark.skipif(not current_platform.is_cpu(), reason="these are for CPUs")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
NUM_ROWS, HIDDEN_SIZE, EPSILON = 37, 576, 1e-5


@pytest.fixture(autouse=True)
def registered():
    norms.register()
    norms.register()


def states(dtype: torch.dtype, seed: int, width: int = HIDDEN_SIZE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(NUM_ROWS, width, generator=generator) * 3).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_norm_is_the_reference_within_the_rounding_of_its_dtype(dtype: torch.dtype):
    x, weight = states(dtype, 0), states(dtype, 1)[0]
    operation = ir.ops.rms_norm
    with operation.set_priority([CPU_KERNELS["rms_norm"]]):
        assert operation.dispatch(x, weight, EPSILON).provider == norms.PROVIDER
        found = operation(x, weight, EPSILON)
    torch.testing.assert_close(found, operation.impls["native"].impl_fn(x, weight, EPSILON))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_adding_and_norming_is_the_reference(dtype: torch.dtype):
    x, residual, weight = states(dtype, 0), states(dtype, 2), states(dtype, 1)[0]
    operation = ir.ops.fused_add_rms_norm
    wanted = operation.impls["native"].impl_fn(x, residual, weight, EPSILON)
    with operation.set_priority([CPU_KERNELS["fused_add_rms_norm"]]):
        assert operation.dispatch(x, residual, weight, EPSILON).provider == norms.PROVIDER
        found = operation.maybe_inplace(x.clone(), residual.clone(), weight, EPSILON)
    # The kernel may norm the sum before or after it is rounded: one unit in the last place.
    torch.testing.assert_close(found[0], wanted[0], rtol=2 * torch.finfo(dtype).eps, atol=1e-5)
    torch.testing.assert_close(found[1], wanted[1])


@pytest.mark.parametrize(
    ("x", "weight", "variance_size"),
    [
        (states(torch.bfloat16, 0), states(torch.float32, 1)[0], None),
        (states(torch.bfloat16, 0), None, None),
        (states(torch.bfloat16, 0), states(torch.bfloat16, 1)[0], 64),
        (states(torch.bfloat16, 0).T, states(torch.bfloat16, 1)[0, :NUM_ROWS], None),
        (states(torch.bfloat16, 0, 24), states(torch.bfloat16, 1, 24)[0], None),
    ],
    ids=["other dtype", "no weight", "part of a row", "not contiguous", "uneven row"],
)
def test_what_the_kernels_cannot_take_goes_to_the_reference(x, weight, variance_size):
    with ir.ops.rms_norm.set_priority([CPU_KERNELS["rms_norm"], "native"]):
        chosen = ir.ops.rms_norm.dispatch(x, weight, EPSILON, variance_size)
    assert chosen.provider == "native"
