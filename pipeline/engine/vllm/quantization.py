"""Quantized checkpoints: how config.json says that the weights are stored.

Owns naming a quantization. Whether vLLM has kernels for it is a matter of the machine; the engine
says so at its start.
"""

from typing import Any

METHOD = "quant_method"
BITS = ("bits", "w_bit", "num_bits")


def quantization_of(config: dict[str, Any]) -> str | None:
    """What the weights are quantized as, such as "compressed-tensors W8A8 int"; None if not."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for key in ("quantization_config", "compression_config"):
            if isinstance(found := part.get(key), dict):
                return _in_words(found)
    return None


def _in_words(found: dict[str, Any]) -> str:
    groups = found.get("config_groups")
    method = str(found.get(METHOD) or ("compressed-tensors" if groups else "unknown"))
    if isinstance(groups, dict):
        schemes = [_scheme(group) for group in groups.values() if isinstance(group, dict)]
        return f"{method} {', '.join(dict.fromkeys(schemes))}".strip()
    bits = next((found[key] for key in BITS if isinstance(found.get(key), int)), None)
    return method if bits is None else f"{method} W{bits}"


def _scheme(group: dict[str, Any]) -> str:
    """Bits of weights and activations, and their type: W8A8 int."""
    weights, activations = group.get("weights"), group.get("input_activations")
    if not isinstance(weights, dict):
        return "no weights"
    inputs = activations.get("num_bits") if isinstance(activations, dict) else 16
    return f"W{weights.get('num_bits')}A{inputs} {weights.get('type', 'int')}"
