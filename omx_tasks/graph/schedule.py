"""What a run could have taken at best: the bound and the ideal schedule, for reports.

All times are in seconds. A duration is a number, or for a foreach the list of its items' durations,
which run in parallel. An operation without a duration did not run and takes no time.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from omx_tasks.graph.plan import longest_remaining

Durations: TypeAlias = Mapping[str, float | Sequence[float]]


class Linked(Protocol):
    """What must be known of an operation: its neighbours."""

    @property
    def needs(self) -> Sequence[str]:
        """Those it waits for."""

    @property
    def successors(self) -> Sequence[str]:
        """Those that wait for it."""


class Ordered(Protocol):
    """Operations in an order in which each follows what it needs: a ``Plan``, or a ``Skeleton``."""

    @property
    def steps(self) -> Mapping[str, Linked]:
        """The operations by id."""


class Neighbours(NamedTuple):
    """The neighbours of an operation."""

    needs: tuple[str, ...]
    successors: tuple[str, ...]


@dataclass(frozen=True)
class Skeleton:
    """Operations and what follows each, without anything else: what a run keeps of its plan."""

    steps: dict[str, Neighbours]

    @classmethod
    def of(cls, names: Sequence[str], successors: Mapping[str, Sequence[str]]) -> Skeleton:
        """Return the skeleton of ordered operations; one without successors may be left out."""
        needs: dict[str, list[str]] = {name: [] for name in names}
        for name in names:
            for successor in successors.get(name, ()):
                needs[successor].append(name)
        return cls(
            {
                name: Neighbours(tuple(needs[name]), tuple(successors.get(name, ())))
                for name in names
            }
        )


def bound(plan: Ordered, durations: Durations, slots: int) -> float:
    """Return what no schedule on ``slots`` slots can beat: longest path, or work evenly spread."""
    work = sum(sum(_items(durations, name)) for name in plan.steps)
    return max(critical_path(plan, durations)[0], work / _at_least_one(slots))


def critical_path(plan: Ordered, durations: Durations) -> tuple[float, list[str]]:
    """Return the seconds and the ids of the longest path; the earlier one where two tie."""
    ranks = _ranks(plan, durations)
    if not ranks:
        return 0.0, []
    path = [max(plan.steps, key=ranks.__getitem__)]
    while successors := plan.steps[path[-1]].successors:
        path.append(max(successors, key=ranks.__getitem__))
    return ranks[path[0]], path


def simulate(plan: Ordered, durations: Durations, slots: int) -> float:
    """Return how long the run takes when free slots always take the ready work of highest rank.

    Nothing but the work itself takes time. This is list scheduling: at most twice the bound.
    """
    return _Simulation(plan, durations, _at_least_one(slots)).run()


class _Simulation:
    """Slots, what is ready and what runs; time jumps from one finished item to the next."""

    def __init__(self, plan: Ordered, durations: Durations, slots: int) -> None:
        self._plan = plan
        self._durations = durations
        self._free = slots
        self._ranks = _ranks(plan, durations)
        self._waiting = {name: len(step.needs) for name, step in plan.steps.items()}
        self._unfinished: dict[str, int] = {}
        self._ready: list[tuple[float, int, str, float]] = []
        self._running: list[tuple[float, str]] = []
        self._entered = 0

    def run(self) -> float:
        """Return the time at which the last item finishes."""
        now = 0.0
        for name, waits in list(self._waiting.items()):
            if not waits:
                self._release(name)
        while self._ready or self._running:
            self._start(now)
            now = self._running[0][0]
            while self._running and self._running[0][0] <= now:
                self._finish_item(heapq.heappop(self._running)[1])
        return now

    def _release(self, name: str) -> None:
        """Make an operation's items ready; without items it is done, and so may be what follows."""
        done = [name]
        while done:
            name = done.pop()
            items = _items(self._durations, name)
            self._unfinished[name] = len(items)
            for seconds in items:
                self._entered += 1
                heapq.heappush(self._ready, (-self._ranks[name], self._entered, name, seconds))
            if not items:
                done += self._released_by(name)

    def _start(self, now: float) -> None:
        while self._ready and self._free:
            _, _, name, seconds = heapq.heappop(self._ready)
            heapq.heappush(self._running, (now + seconds, name))
            self._free -= 1

    def _finish_item(self, name: str) -> None:
        self._free += 1
        self._unfinished[name] -= 1
        if self._unfinished[name] == 0:
            for successor in self._released_by(name):
                self._release(successor)

    def _released_by(self, name: str) -> list[str]:
        released = []
        for successor in self._plan.steps[name].successors:
            self._waiting[successor] -= 1
            if self._waiting[successor] == 0:
                released.append(successor)
        return released


def _items(durations: Durations, name: str) -> Sequence[float]:
    value = durations.get(name, ())
    return (value,) if isinstance(value, int | float) else value


def _ranks(plan: Ordered, durations: Durations) -> dict[str, float]:
    successors = {name: step.successors for name, step in plan.steps.items()}
    seconds = {name: max(_items(durations, name), default=0.0) for name in plan.steps}
    return longest_remaining(list(plan.steps), successors, seconds)


def _at_least_one(slots: int) -> int:
    if slots < 1:
        raise ValueError(f"slots must be at least 1, not {slots}")
    return slots
