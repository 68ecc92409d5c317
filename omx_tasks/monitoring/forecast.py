"""Says how many of something will come, from how many came: Holt's double exponential smoothing with a damped trend.

Two numbers are kept while the counts of equal intervals are walked through: the level, where things are, and the trend,
by how much they change per interval. Each new count moves both a part of the way::

    level' = a * count + (1 - a) * (level + d * trend)
    trend' = b * (level' - level) + (1 - b) * d * trend
    h intervals from now: level + (d + d**2 + … + d**h) * trend, and never less than nothing

The damping ``d`` makes a rise flatten out instead of going on for ever, since load does. How wrong the same method was
about each count that came, one interval ahead, is told as the typical error: who must be safe adds some of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

#: The parts of the way that level (a) and trend (b) go with one count, and the damping (d).
LEVEL, TREND, DAMPING = 0.5, 0.3, 0.9


class Forecast(NamedTuple):
    """How many are expected in one interval, and the root of the mean squared error of such forecasts so far."""

    expected: float
    error: float


def forecast(
    counts: Sequence[float],
    ahead: int = 1,
    *,
    level: float = LEVEL,
    trend: float = TREND,
    damping: float = DAMPING,
) -> Forecast:
    """Forecast the interval that is ``ahead`` after the last of ``counts`` (oldest first); of none, nothing comes."""
    if ahead < 1:
        raise ValueError(f"a forecast is 1 interval ahead or more, not {ahead}")
    if not counts:
        return Forecast(0.0, 0.0)
    at, rise, squares = float(counts[0]), 0.0, 0.0
    for count in counts[1:]:
        expected = at + damping * rise
        squares += (count - max(0.0, expected)) ** 2
        former, at = at, level * count + (1 - level) * expected
        rise = trend * (at - former) + (1 - trend) * damping * rise
    reach = sum(damping**step for step in range(1, ahead + 1))
    error = math.sqrt(squares / max(1, len(counts) - 1))
    return Forecast(max(0.0, at + reach * rise), error)
