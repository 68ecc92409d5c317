"""How long it takes from the end of one call to the start of the next one, which waited for it, on a system at rest.

By the run's records, which hold when each call began and ended: a hop is all that the system does in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from omx_tasks.bench.figures import Goal
from omx_tasks.bench.fleet import Agent
from omx_tasks.bench.loads import percentile
from omx_tasks.bench.place import SLOTS, Place, Row, calls_of, chain
from omx_tasks.runs.view import RunView

WARM_UP = 10


def measure(place: Place, hops: int, rounds: int) -> Iterator[Row]:
    """Run chains: over two agents in turn, each of which has what the next call needs, and on one."""
    yield from _rows("hop to another agent", _hops(place, ("left", "right"), hops, rounds), 2, 6)
    yield from _rows("hop on the same agent", _hops(place, ("same",), hops, rounds), 0.5)


def _hops(place: Place, servers: Sequence[str], hops: int, rounds: int) -> list[float]:
    place.say(f"{rounds} chains of {hops} hops over agents: {', '.join(servers)}")
    with place.agents(*(Agent(server, server, SLOTS) for server in servers)):
        place.run(chain(servers, WARM_UP))
        views = [place.run(chain(servers, hops + 1)) for _ in range(rounds)]
    return [milliseconds for view in views for milliseconds in _between(view)]


def _between(view: RunView) -> Iterator[float]:
    for one, following in pairwise(calls_of(view)):
        if one.finished is not None and following.started is not None:
            yield (following.started - one.finished) * 1000


def _rows(title: str, hops: list[float], p50: float, p99: float | None = None) -> Iterator[Row]:
    yield Row(f"{title}, p50", percentile(hops, 50), "ms", Goal("≤", p50))
    yield Row(f"{title}, p99", percentile(hops, 99), "ms", Goal("≤", p99) if p99 else None)
