"""Since when the slot had been free that an operation got, reckoned from the times in which each had one.

Slots are alike, so whoever begins is taken to get the one that was free for longest, on whatever agent. An operation
that was ready before waited for it that long; if it was free already, it was only not handed over yet.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from itertools import accumulate

Held = tuple[float, float]


def most_at_once(held: Iterable[Held]) -> int:
    """Return how many slots were taken at once at most; at least one."""
    taken = [(begin, end) for begin, end in held if begin < end]
    steps = sorted([(begin, 1) for begin, _ in taken] + [(end, -1) for _, end in taken])
    return max(accumulate(step for _, step in steps), default=1)


def free_since(held: Mapping[str, Held], slots: int) -> dict[str, float]:
    """Return, for each operation, since when the slot was free that it got; all were at 0."""
    free, running = [0.0] * slots, list[float]()
    found = {}
    for name, (begin, end) in sorted(held.items(), key=lambda item: item[1]):
        while running and running[0] <= begin:
            heapq.heappush(free, heapq.heappop(running))
        found[name] = heapq.heappop(free) if free else begin
        heapq.heappush(running, end)
    return found
