"""What the logs of events still hold of how runs, operations and agents ended, and how far back that goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from omx_tasks.events import log
from omx_tasks.events.types import TABLE, Event, EventError
from omx_tasks.priorities import Priority
from omx_tasks.settings import Settings
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Entries that one request reads.
PAGE = 1000
#: By how many seconds a publisher's clock may differ from the cluster's.
SKEW = 60.0
_ENDS = frozenset(name for name in TABLE if name.partition(".")[0] in ("run", "operation"))


class Told(NamedTuple):
    """``operations``: type, run, operation. ``runs``: type, run, when. What is older than ``since`` is not known."""

    operations: frozenset[tuple[str, str, str]]
    runs: frozenset[tuple[str, str, float]]
    since: float

    def run(self, type_: str, run_id: str, ended: float) -> bool:
        """Whether the end of a run was told, or nobody knows."""
        times = (at for kind, run, at in self.runs if (kind, run) == (type_, run_id))
        return ended < self.since or any(at > ended - SKEW for at in times)

    def operation(self, type_: str, run_id: str, operation: str, ended: float) -> bool:
        """Whether the end of an operation was told, or nobody knows."""
        return ended < self.since or (type_, run_id, operation) in self.operations


def told_of(store: Store, given: Settings, runs: Iterable[str], since: float) -> Told:
    """Read what was told of these runs since then (Unix seconds)."""
    wanted = set(runs)
    count = log.open_log(store, given.events_partitions)
    partitions = {log.partition_of(run_id, count) for run_id in wanted}
    priorities = {TABLE[name].priority for name in _ENDS}
    operations, ends, known_since = set(), set(), 0.0
    for partition in partitions:
        for priority in priorities:
            oldest = 0.0
            for event in _back(store, partition, priority, since - SKEW):
                if event is None:  # older ones were let go
                    known_since = max(known_since, oldest + SKEW)
                    break
                oldest = event.at
                run_id = event.data.get("run")
                if event.type not in _ENDS or run_id not in wanted:
                    continue
                if event.type.startswith("run."):
                    ends.add((event.type, run_id, event.at))
                else:
                    operations.add((event.type, run_id, event.data["operation"]))
    return Told(frozenset(operations), frozenset(ends), known_since)


def ended_in_order(store: Store, given: Settings, agent: str, since: float) -> bool:
    """Whether an agent has told since then that it stopped."""
    count = log.open_log(store, given.events_partitions)
    partition = log.partition_of(agent, count)
    return any(
        event is not None and event.type == "agent.stopped" and event.data["agent"] == agent
        for event in _back(store, partition, TABLE["agent.stopped"].priority, since - SKEW)
    )


def _back(store: Store, partition: int, priority: Priority, since: float) -> Iterator[Event | None]:
    """Yield the events of a log since then, the last one first; then None where the log does not go back so far."""
    key, end = keys.event_log(partition, priority), "+"
    while True:
        page = store.command(key, "XREVRANGE", key, end, "-", "COUNT", PAGE)
        for number, fields in page:
            try:
                event = Event.read(fields[5])
            except EventError:  # of a newer version: it is not ours to read
                continue
            if event.at < since:
                return
            yield event
            if number == b"1-0":
                return
        if len(page) < PAGE:
            if end != "+" or page:
                yield None
            return
        end = f"({page[-1][0].decode()}"
