"""What was done as metrics: operations and runs by how they ended, how long calls took, how long operations waited.

They count from the first look on: see `totals`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping

from prometheus_client.core import Metric

from omx_tasks.monitoring.counts import Count
from omx_tasks.monitoring.histogram import middle_of
from omx_tasks.monitoring.metrics import MOST, OTHER, buckets_of, counter, filled, histogram
from omx_tasks.monitoring.tally import Dimension
from omx_tasks.monitoring.totals import Totals
from omx_tasks.priorities import Priority
from omx_tasks.store.client import Store

RUN_STATES = ("succeeded", "failed", "cancelled")


class Operations:
    """The section; ``clock`` tells Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._totals = {dimension: Totals(dimension, clock) for dimension in Dimension}

    def __call__(self, store: Store) -> Iterator[Metric]:
        """Give what the tracker has counted."""
        yield from self._ends(store)
        yield _waits(self._look(store, Dimension.PRIORITY))
        servers = self._look(store, Dimension.SERVER)
        yield _calls(self._look(store, Dimension.TOOL), servers)
        attempts = counter("omx_call_attempts", "Calls, and calls that were made again", "server")
        yield filled(attempts, [(name or OTHER, one.attempts) for name, one in servers.items()])

    def _look(self, store: Store, dimension: Dimension) -> dict[str, Count]:
        return self._totals[dimension].look(store)

    def _ends(self, store: Store) -> Iterator[Metric]:
        family = counter("omx_operations", "Operations that are over", "priority", "state")
        for name, count in self._look(store, Dimension.OUTCOME).items():
            priority, _, state = name.partition(" ")
            family.add_metric([priority or OTHER, state or OTHER], count.number)
        yield family
        events = self._look(store, Dimension.EVENT)
        runs = counter("omx_runs", "Runs that are over", "state")
        for state in RUN_STATES:
            runs.add_metric([state], events.get(f"run.{state}", Count()).number)
        yield runs
        happened = counter("omx_events", "Events that were counted", "type")
        yield filled(happened, [(name or OTHER, one.number) for name, one in events.items()])


def _waits(found: Mapping[str, Count]) -> Metric:
    family = histogram(
        "omx_operation_wait_seconds", "From when an operation was ready until an agent began it", "priority"
    )  # fmt: skip
    for priority in Priority:
        waits = found.get(priority.name, Count()).waits
        # Only the buckets are counted; a bucket's middle is 4.4 % off at most.
        seconds = sum(n * middle_of(bucket) for bucket, n in waits.items())
        family.add_metric([priority.name], buckets_of(waits), seconds)
    return family


def _calls(found: Mapping[str, Count], servers: Collection[str]) -> Metric:
    family = histogram(
        "omx_call_seconds", "How long calls of a tool, a resource or a prompt took", "server", "tool"
    )  # fmt: skip
    ordered = sorted(found.items(), key=lambda one: (not one[0], -one[1].number))
    rest = Count()
    for place, (name, count) in enumerate(ordered):
        if name and place < MOST:
            labels = _split(name, servers)
            family.add_metric(labels, buckets_of(count.calls), count.seconds)
        else:
            rest.add(count)
    if rest.number:
        family.add_metric([OTHER, OTHER], buckets_of(rest.calls), rest.seconds)
    return family


def _split(name: str, servers: Collection[str]) -> tuple[str, str]:
    """Return server and tool; both may have blanks in them."""
    known = [server for server in servers if server and name.startswith(f"{server} ")]
    server = max(known, key=len, default=name.partition(" ")[0])
    return server, name[len(server) + 1 :]
