"""What this process keeps in memory: what it has to itself, and its share of what forks of one parent share (PSS)."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from omx_tasks import memory

#: Seconds between two looks: one takes a millisecond or more, and memory changes slowly.
EVERY = 15.0


class Footprint:
    """Looks when it is asked, and seldom; ``clock`` returns seconds. Made after the fork."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._process = psutil.Process()
        self._looked = -EVERY
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Footprint {self._bytes}>"

    @property
    def bytes(self) -> int:
        """What it was at the last look; without what is shared where the system does not say how much that is."""
        now = self._clock()
        if now - self._looked >= EVERY:
            self._looked, self._bytes = now, memory.part_of(self._process)
        return self._bytes
