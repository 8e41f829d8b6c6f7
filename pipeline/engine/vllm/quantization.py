"""Quantized checkpoints: how config.json says that the weights are stored.

Owns naming a quantization, and what follows from it for memory and for the peak. Whether vLLM has
kernels for it is a matter of the machine; the engine says so at its start.
"""

from typing import Any

METHOD = "quant_method"
BITS = ("bits", "w_bit", "num_bits")
SMALLEST_BITS = 4
"""Of a weight, where a configuration does not say."""
MULTIPLY_QUANTIZED = ("fp8", "fbgemm_fp8", "modelopt")
"""Methods that quantize activations without saying so in a scheme."""


def quantization_of(config: dict[str, Any]) -> str | None:
    """What the weights are quantized as, such as "compressed-tensors W8A8 int"; None if not."""
    found = _section(config)
    return None if found is None else _in_words(found)


def weight_bits(config: dict[str, Any]) -> int | None:
    """Bits of a weight, at least; None where weights are not quantized."""
    found = _section(config)
    if found is None:
        return None
    schemes = [group.get("weights") for group in _groups(found)]
    parts = [one for one in (found, *schemes) if isinstance(one, dict)]
    bits = [one[key] for one in parts for key in BITS if isinstance(one.get(key), int)]
    eight = "fp8" in _method(found) or found.get("load_in_8bit")
    return min(bits, default=8 if eight else SMALLEST_BITS)


def multiplies_quantized(config: dict[str, Any]) -> bool:
    """Whether activations are quantized too: products then go by another peak than the dtype's."""
    found = _section(config) or {}
    return (
        any(group.get("input_activations") for group in _groups(found))
        or "activation_scheme" in found
        or _method(found).startswith(MULTIPLY_QUANTIZED)
    )


def _section(config: dict[str, Any]) -> dict[str, Any] | None:
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for key in ("quantization_config", "compression_config"):
            if isinstance(found := part.get(key), dict):
                return found
    return None


def _groups(found: dict[str, Any]) -> list[dict[str, Any]]:
    groups = found.get("config_groups")
    named = groups.values() if isinstance(groups, dict) else ()
    return [group for group in named if isinstance(group, dict)]


def _method(found: dict[str, Any]) -> str:
    return str(found.get(METHOD) or ("compressed-tensors" if _groups(found) else "unknown"))


def _in_words(found: dict[str, Any]) -> str:
    method = _method(found)
    if "config_groups" in found:
        return f"{method} {', '.join(dict.fromkeys(map(_scheme, _groups(found))))}".strip()
    bits = next((found[key] for key in BITS if isinstance(found.get(key), int)), None)
    return method if bits is None else f"{method} W{bits}"


def _scheme(group: dict[str, Any]) -> str:
    """Bits of weights and activations, and their type: W8A8 int."""
    weights, activations = group.get("weights"), group.get("input_activations")
    if not isinstance(weights, dict):
        return "no weights"
    inputs = activations.get("num_bits") if isinstance(activations, dict) else 16
    return f"W{weights.get('num_bits')}A{inputs} {weights.get('type', 'int')}"
