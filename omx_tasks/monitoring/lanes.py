"""Which slot of its agent each operation had: agents do not number them, so that any fitting one is taken."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence

from omx_tasks.monitoring.spans import Span

#: Seconds by which two operations may overlap in one lane: stored moments are whole milliseconds.
_BLUR = 0.0011


def lanes_of(spans: Sequence[Span]) -> tuple[list[tuple[str, int]], list[int]]:
    """Return the lanes (agent, number from 1), agent by agent, and each span's lane: -1 where it had no agent.

    ``spans`` are in the order of their beginnings.
    """
    free: dict[str, list[int]] = defaultdict(list)
    taken: dict[str, list[tuple[float, int]]] = defaultdict(list)
    chosen: list[tuple[str, int] | None] = []
    for span in spans:
        if not span.agent:
            chosen.append(None)
            continue
        begin, end = span.held
        held, idle = taken[span.agent], free[span.agent]
        while held and held[0][0] <= begin + _BLUR:
            heapq.heappush(idle, heapq.heappop(held)[1])
        slot = heapq.heappop(idle) if idle else len(held) + 1
        heapq.heappush(held, (end, slot))
        chosen.append((span.agent, slot))
    lanes = sorted({lane for lane in chosen if lane is not None})
    place = {lane: number for number, lane in enumerate(lanes)}
    return lanes, [-1 if lane is None else place[lane] for lane in chosen]
