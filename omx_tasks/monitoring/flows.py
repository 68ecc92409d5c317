"""What is expected of each capability set: how many operations a second, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from omx_tasks.coordination.demand import Flow
from omx_tasks.monitoring.forecast import forecast
from omx_tasks.monitoring.statistics import arrivals, statistics
from omx_tasks.monitoring.tally import Dimension
from omx_tasks.settings import Settings
from omx_tasks.store.client import Store

#: Seconds for which the tracker's counts are kept here; how far back they are read to learn how long operations take.
FRESH, BACK = 5.0, 900.0
#: Minutes whose arrivals are read.
MINUTES = 60


class Expected:
    """Asks the tracker's counts, now and then, and goes on from what arrived in the last seconds."""

    def __init__(self, given: Settings) -> None:
        self._given = given
        self._read = float("-inf")
        self._minutes: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def __call__(self, store: Store, recent: dict[str, list[float]], ahead: int) -> dict[str, Flow]:
        """Return what to expect of each set: ``recent`` rates (a second, oldest first) are looked ``ahead`` from."""
        self._refresh(store)
        return {name: self._flow(name, rates, ahead) for name, rates in recent.items()}

    def _flow(self, name: str, rates: Sequence[float], ahead: int) -> Flow:
        """Return the higher of what the last seconds and the last minutes let expect."""
        soon = forecast(rates, max(1, ahead)).expected
        later = forecast(self._minutes.get(name, ())).expected / 60
        return Flow(max(soon, later), self._seconds.get(name))

    def _refresh(self, store: Store) -> None:
        if time.monotonic() - self._read < FRESH:
            return
        self._minutes = arrivals(store, MINUTES)
        counted = statistics(store, Dimension.CAPABILITIES, BACK, self._given).series
        self._seconds = {
            name: count.seconds / count.number for name, count in counted.items() if count.number
        }
        self._read = time.monotonic()
