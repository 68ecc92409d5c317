"""When a server wants to be asked again: ``Retry-After`` of HTTP, or the same in the data of a JSON-RPC error.

MCP has no word of its own for it. Over HTTP it is that of RFC 9110 (10.2.3): seconds, or a date. In an error's data
servers write ``retryAfter`` or ``retry_after`` (seconds), and ``retryAfterMs`` or ``retry_after_ms``.
"""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime
from typing import Any

_UNITS = {"retryAfter": 1.0, "retry_after": 1.0, "retryAfterMs": 1e-3, "retry_after_ms": 1e-3}


def of_header(text: str | None) -> float | None:
    """Return the seconds from now that a ``Retry-After`` header names."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def of_data(data: Any) -> float | None:
    """Return the seconds that the data of an error names."""
    if not isinstance(data, dict):
        return None
    for name, unit in _UNITS.items():
        value = data.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return max(0.0, value * unit)
    return None
