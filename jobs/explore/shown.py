"""Values as JSON that any page can show: text made fit, numbers that JavaScript has."""

import math
from typing import Any

from pipeline.rendering.escaping import UNFIT

LAYOUT = "\n\t"
"""Control characters that a page uses for layout."""


def fit(value: Any) -> Any:
    """The same, ready for JSON: unfit characters of texts replaced, no NaN and no infinity."""
    if isinstance(value, str):
        return UNFIT.sub(lambda found: found[0] if found[0] in LAYOUT else "\ufffd", value)
    if isinstance(value, dict):
        return {fit(str(key)): fit(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [fit(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int) else fit(str(value))
