"""Where the time of each operation of a run went.

::

    0 ─dependency─► ready ─slot─► (a slot was free) ─overhead─► begun ─retries─► ─cold─► ─call─► ─overhead─► stored

Every moment between the run's submission and the stored outcome is in one segment. An operation that is ready waits
for a *slot* until the one that it gets is free. What it takes from then on until it is begun is *overhead*, and so is
all that the system does around the call. *Retries* are earlier attempts of the same call, *cold* is the time until
the session of its server was open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from omx_tasks.graph.stored import item_of
from omx_tasks.monitoring.marks import Course, Marks
from omx_tasks.monitoring.slots import free_since, most_at_once
from omx_tasks.runs.history import History

KINDS = ("dependency", "slot", "retries", "cold", "call", "overhead")


class Segment(NamedTuple):
    """A stretch of an operation's time, in seconds since the run was submitted."""

    kind: str
    begin: float
    end: float


@dataclass(frozen=True)
class Span:
    """One operation, or one item of a foreach. Its segments lie end to end; ``held`` is when it had a slot."""

    name: str
    call: str
    state: str
    agent: str
    attempts: int
    error: str
    held: tuple[float, float]
    segments: tuple[Segment, ...]
    critical: bool

    @property
    def ready(self) -> float:
        """When it waited for nothing but a slot any more."""
        return next((one.begin for one in self.segments if one.kind != "dependency"), 0.0)

    @property
    def ended(self) -> float:
        """When its outcome was stored."""
        return self.segments[-1].end if self.segments else 0.0

    def seconds(self, kind: str) -> float:
        """How long it was in segments of this kind."""
        return sum(one.end - one.begin for one in self.segments if one.kind == kind)


class _Times(NamedTuple):
    """The moments of one operation, in this order; ``called`` is where its call begins."""

    ready: float
    begun: float
    opening: float
    called: float
    answered: float
    ended: float


def spans_of(history: History, course: Course, slots: int | None) -> tuple[list[Span], int]:
    """Return a span for each operation that was begun, in the order of their beginnings, and the slots reckoned with.

    Where nobody knows how many ``slots`` there were, they are the most that were taken at once.
    """
    end = max(0.0, history.finished - history.created)
    times = {name: _times(course, marks, end) for name, marks in course.marks.items()}
    held = {name: (one.begun, one.answered) for name, one in times.items()}
    reckoned = slots or most_at_once(held.values())
    free = free_since(held, reckoned)
    critical = frozenset(course.critical)
    found = [
        _span(history, marks, times[name], free[name], name in critical)
        for name, marks in course.marks.items()
    ]
    return sorted(found, key=lambda span: (span.held, span.name)), reckoned


def _times(course: Course, marks: Marks, end: float) -> _Times:
    """Put the moments in order: those of the call come from another clock."""
    ended = end if marks.worked is None else marks.worked
    begun = ended if marks.begun is None else min(marks.begun, ended)
    ready = min(course.ready(marks.name), begun)
    cold = float(marks.record.get("cold", 0.0))
    if marks.call is None:
        return _Times(ready, begun, begun, begun, ended, ended)
    seconds = min(marks.call, ended - begun)
    called = min(max(begun, marks.started - course.created), ended - seconds)
    opening = max(
        ready, called - cold
    )  # a server that nobody had seen is opened before anything is begun
    begun = min(begun, opening)
    return _Times(ready, begun, opening, called, called + seconds, ended)


def _span(history: History, marks: Marks, times: _Times, free: float, critical: bool) -> Span:
    step = history.plan.steps[item_of(marks.name)[0]]
    error = marks.record.get("error") or {}
    attempts = int(marks.record.get("attempts", 0))
    return Span(
        name=marks.name,
        call=f"{step.server}.{step.target}",
        state=marks.state,
        agent=marks.agent,
        attempts=attempts,
        error=error.get("message", ""),
        held=(times.begun, times.answered),
        segments=tuple(_joined(_segments(times, free, attempts, marks.call is not None))),
        critical=critical,
    )


def _segments(times: _Times, free: float, attempts: int, called: bool) -> Iterator[Segment]:
    slot = min(times.begun, max(times.ready, free))
    yield Segment("dependency", 0.0, times.ready)
    yield Segment("slot", times.ready, slot)
    yield Segment("overhead", slot, times.begun)
    yield Segment("retries" if attempts > 1 else "overhead", times.begun, times.opening)
    yield Segment("cold", times.opening, times.called)
    yield Segment("call" if called else "overhead", times.called, times.answered)
    yield Segment("overhead", times.answered, times.ended)


def _joined(segments: Iterator[Segment]) -> Iterator[Segment]:
    """Leave out what took no time, and put neighbours of one kind together."""
    last: Segment | None = None
    for segment in segments:
        if segment.end <= segment.begin:
            continue
        if last is not None and last.kind == segment.kind:
            last = last._replace(end=segment.end)
            continue
        if last is not None:
            yield last
        last = segment
    if last is not None:
        yield last
