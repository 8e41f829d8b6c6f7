"""Quantized checkpoints of a tiny model, and the floats that their weights stand for.

Made here by each format's definition, with no code of vLLM's or of a quantizer's.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.support.tiny import save_llama

GROUP = 32
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
Tensors = dict[str, torch.Tensor]


def _scaled(weight: torch.Tensor, largest: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a row each: the scale, and the weights in its units."""
    scale = (weight.abs().amax(1, keepdim=True) / largest).bfloat16().float()
    return scale, weight / scale


def _int8(name: str, weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    scale, units = _scaled(weight, 127)
    whole = units.round().clamp(-128, 127).to(torch.int8)
    return {name: whole, f"{name}_scale": scale.bfloat16()}, whole.float() * scale


def _fp8(name: str, weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    scale, units = _scaled(weight, 448)
    small = units.clamp(-448, 448).to(torch.float8_e4m3fn)
    return {name: small, f"{name}_scale": scale.bfloat16()}, small.float() * scale


def _pack(fours: torch.Tensor, order: tuple[int, ...] = tuple(range(8))) -> torch.Tensor:
    """Eight numbers of four bits to an int32, along the last axis."""
    parts = fours.long().unflatten(-1, (-1, 8))[..., list(order)]
    words = (parts << (4 * torch.arange(8))).sum(-1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).int()


def _four_bits(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(numbers 0 to 15 of shape [inputs, outputs], scales [groups, outputs], their floats)."""
    grouped = weight.t().unflatten(0, (-1, GROUP))
    scales = (grouped.abs().amax(1) / 7).half().float()
    fours = (grouped / scales[:, None]).round().clamp(-8, 7) + 8
    floats = (fours - 8) * scales[:, None]
    return fours.flatten(0, 1), scales, floats.flatten(0, 1).t().contiguous()


def _gptq(name: str, weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    fours, scales, floats = _four_bits(weight)
    stem = name.removesuffix("weight")
    zeros = torch.full(scales.shape, 7)  # the first version of the format stores one less
    return {
        f"{stem}qweight": _pack(fours.t()).t().contiguous(),
        f"{stem}qzeros": _pack(zeros),
        f"{stem}scales": scales.half(),
        f"{stem}g_idx": torch.arange(len(fours), dtype=torch.int32) // GROUP,
    }, floats


def _awq(name: str, weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    fours, scales, floats = _four_bits(weight)
    stem = name.removesuffix("weight")
    return {
        f"{stem}qweight": _pack(fours, AWQ_ORDER),
        f"{stem}qzeros": _pack(torch.full(scales.shape, 8), AWQ_ORDER),
        f"{stem}scales": scales.half(),
    }, floats


def _compressed(kind: str, form: str) -> dict[str, Any]:
    both = {"num_bits": 8, "type": kind, "symmetric": True}
    weights = both | {"strategy": "channel", "dynamic": False}
    activations = both | {"strategy": "token", "dynamic": True}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }


FORMATS: dict[
    str,
    tuple[Callable[[str, torch.Tensor], tuple[Tensors, torch.Tensor]], dict[str, Any], str],
] = {
    "W8A8": (_int8, _compressed("int", "int-quantized"), "bfloat16"),
    "FP8": (_fp8, _compressed("float", "float-quantized"), "bfloat16"),
    "GPTQ": (
        _gptq,
        {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True},
        "bfloat16",
    ),
    "AWQ": (
        _awq,
        {
            "quant_method": "awq",
            "bits": 4,
            "group_size": GROUP,
            "zero_point": True,
            "version": "gemm",
        },
        "float16",
    ),
}


def save_quantized(folder: Path, form: str) -> Path:
    """A quantized model in `folder`; beside it, the folder of the same model in plain floats."""
    quantize, quantization, dtype = FORMATS[form]
    plain = folder.with_name(f"{folder.name}-plain")
    for one in (folder, plain):
        save_llama(one)
        config = json.loads((one / "config.json").read_text()) | {"dtype": dtype}
        own = {"quantization_config": quantization} if one is folder else {}
        (one / "config.json").write_text(json.dumps(config | own))
    stored = Tensors()
    floats = Tensors()
    for name, weight in load_file(plain / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            tensors, floats[name] = quantize(name, weight)
            stored |= tensors
        else:
            floats[name] = weight
            stored[name] = weight.to(getattr(torch, dtype))
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(floats, plain / "model.safetensors", metadata={"format": "pt"})
    return plain
