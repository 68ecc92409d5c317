"""How long to wait before something is tried again: exponential, with jitter.

Both formulas are those of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. With
``whole = min(longest, first * 2 ** failures)``:

- `full_jitter` is uniform in 0 … ``whole``: of those that were compared there it costs the fewest calls. For calls,
  many of which fail at the same moment.
- `equal_jitter` is uniform in ``whole / 2`` … ``whole``: never at once. For the restart of a server.
"""

from __future__ import annotations

import random


def full_jitter(failures: int, first: float, longest: float) -> float:
    """Return the seconds to wait; ``failures`` counts those before this one."""
    return random.uniform(0.0, _whole(failures, first, longest))  # noqa: S311


def equal_jitter(failures: int, first: float, longest: float) -> float:
    """Return the seconds to wait, at least half of the whole; ``failures`` counts those before this one."""
    whole = _whole(failures, first, longest)
    return random.uniform(whole / 2, whole)  # noqa: S311


def _whole(failures: int, first: float, longest: float) -> float:
    # 2 to the power of a thousand is no float any more.
    return float(min(longest, first * 2.0 ** min(failures, 60)))
