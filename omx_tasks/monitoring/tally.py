"""Counts a batch of events: by what they are about, and by the minute and the hour in which it happened.

=============  =========================================  ==================================
dimension      a series for each                          an operation counts when
=============  =========================================  ==================================
operation      operation of a graph: ``GRAPH/ID``         it is over
server         server that was called                     it is over
tool           tool, resource or prompt of a server       it is over
template       template of the agent that called          it is over
priority       priority of the operation, P0 to P3        it is over
outcome        priority and state: ``P1 succeeded``       it is over
capabilities   set of capabilities that it required       it was ready: these are arrivals
event          type of event, also of the users' own      (each event counts)
=============  =========================================  ==================================

All items of a foreach are one operation. What was skipped has no event of its own. Failed is also what is unknown;
what was cancelled is counted, and did not fail.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from omx_tasks.events.types import Event
from omx_tasks.graph.stored import item_of
from omx_tasks.monitoring.counts import Count
from omx_tasks.monitoring.histogram import observe

#: Characters of a series' name that are kept.
LONGEST = 200

_FAILED = frozenset({"operation.failed", "operation.unknown"})
_OVER = _FAILED | {"operation.succeeded", "operation.cancelled"}


class Dimension(StrEnum):
    """What counts can be told apart by."""

    OPERATION = "operation"
    SERVER = "server"
    TOOL = "tool"
    TEMPLATE = "template"
    PRIORITY = "priority"
    OUTCOME = "outcome"
    CAPABILITIES = "capabilities"
    EVENT = "event"


class Span(StrEnum):
    """How long a bucket of time is."""

    MINUTE = "minute"
    HOUR = "hour"

    @property
    def seconds(self) -> int:
        """Its length."""
        return 60 if self is Span.MINUTE else 3600

    def of(self, at: float) -> int:
        """Return the number of the bucket that a time (Unix seconds) is in."""
        return int(at // self.seconds)


class Bucket(NamedTuple):
    """A while, by its number since 1970, and what is told apart in it."""

    span: Span
    number: int
    dimension: Dimension

    @property
    def ends(self) -> int:
        """Unix seconds."""
        return (self.number + 1) * self.span.seconds


class _Kind(NamedTuple):
    """What a batch's events of one kind share: they are counted once, and then added to each series."""

    minute: int
    arrived: int | None
    type: str
    graph: str | None
    operation: str | None
    server: str | None
    kind: str | None
    target: str | None
    template: str | None
    priority: int | None
    capabilities: str | None


class Minute(NamedTuple):
    """A minute, by its number since 1970, and what is told apart in it."""

    number: int
    dimension: Dimension

    def buckets(self) -> tuple[Bucket, Bucket]:
        """Return the buckets that it is in: its own, and its hour's."""
        return (
            Bucket(Span.MINUTE, self.number, self.dimension),
            Bucket(Span.HOUR, self.number // 60, self.dimension),
        )


Tally = dict[Minute, dict[str, Count]]


def tally(events: Iterable[Event], now: float) -> Tally:
    """Count events; what its publisher's clock puts later than ``now`` happened now."""
    kinds: dict[_Kind, Count] = defaultdict(Count)
    for event in events:
        kind = _kind_of(event, now)
        _count(event, kinds[kind])
    counts: Tally = defaultdict(lambda: defaultdict(Count))
    for kind, count in kinds.items():
        for minute, dimension, name in _series_of(kind):
            about = _alone(count) if dimension is Dimension.EVENT else count
            counts[Minute(minute, dimension)][name[:LONGEST]].add(about)
    return counts


def _kind_of(event: Event, now: float) -> _Kind:
    minute = Span.MINUTE.of(min(event.at, now))
    data = event.data
    if event.type not in _OVER:
        return _Kind(minute, None, event.type, *([None] * 8))
    ready = data.get("ready")
    return _Kind(
        minute,
        None if ready is None else Span.MINUTE.of(min(ready, now)),
        event.type,
        data.get("graph"),
        _name_of(data["operation"]),
        data.get("server"),
        data.get("kind"),
        data.get("target"),
        data.get("template"),
        data.get("priority"),
        data.get("capabilities"),
    )


@lru_cache(10_000)
def _name_of(operation: str) -> str:
    """Return what all items of an operation, and all its repetitions, are called."""
    return item_of(operation)[0]


def _count(event: Event, count: Count) -> None:
    count.number += 1
    if event.type not in _OVER:
        return
    data = event.data
    count.failed += event.type in _FAILED
    count.attempts += data.get("attempts", 0)
    started, finished = data.get("started"), data.get("finished")
    if started is not None and finished is not None and event.type != "operation.cancelled":
        seconds = max(0.0, finished - started)
        count.seconds += seconds
        observe(count.calls, seconds)
    if (waited := data.get("waited")) is not None:
        observe(count.waits, waited)


def _series_of(kind: _Kind) -> Iterator[tuple[int, Dimension, str]]:
    """Yield the series that a kind counts in: minute, dimension, name."""
    at = kind.minute
    yield at, Dimension.EVENT, kind.type
    if kind.graph is not None:
        yield at, Dimension.OPERATION, f"{kind.graph}/{kind.operation}"
    if kind.server is not None:
        yield at, Dimension.SERVER, kind.server
        what = kind.target if kind.kind == "tool" else f"{kind.kind} {kind.target}"
        if kind.target is not None:
            yield at, Dimension.TOOL, f"{kind.server} {what}"
    if kind.template is not None:
        yield at, Dimension.TEMPLATE, kind.template
    if kind.priority is not None:
        yield at, Dimension.PRIORITY, f"P{kind.priority}"
        state = kind.type.removeprefix("operation.")
        yield at, Dimension.OUTCOME, f"P{kind.priority} {state}"
    if kind.arrived is not None and kind.capabilities is not None:
        yield kind.arrived, Dimension.CAPABILITIES, kind.capabilities


def _alone(count: Count) -> Count:
    """Return only how many there were: what an event is about has its own series."""
    return Count(count.number)
