"""When and how widely a run needs each of its servers: at its submission, and again from what has happened since.

An operation starts at the earliest when what it needs has ended, and ends when it has lasted as long as is expected
of it. What nothing is known of takes next to no time here: who opens a server too early loses a while of memory, who
opens it too late keeps the run waiting. Fallbacks count as if they ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from omx_tasks.graph.plan import Plan
from omx_tasks.graph.schedule import Skeleton
from omx_tasks.graph.stored import StoredPlan, item_of

#: Seconds that an operation takes at the least.
MOMENT = 0.001
#: States of an operation that has ended.
OVER = frozenset({"succeeded", "failed", "unknown", "skipped", "cancelled"})


class Need(NamedTuple):
    """``first``: seconds until a server is needed first; ``width``: operations of it at once, at most."""

    first: float
    width: int


class _Work(NamedTuple):
    """One operation: its server, the seconds that it lasts, and those it waits for."""

    server: str
    lasts: float
    needs: Sequence[str]


def needs_of(plan: Plan) -> dict[str, Need]:
    """Return what a plan needs of each server."""
    return _needs(
        {
            name: _Work(
                step.operation.server,
                MOMENT if step.source == "default" else max(MOMENT, step.seconds),
                step.needs,
            )
            for name, step in plan.steps.items()
        }
    )


def _needs(work: Mapping[str, _Work]) -> dict[str, Need]:
    ends: dict[str, float] = {}
    spans: dict[str, list[tuple[float, float]]] = {}
    for name, (server, lasts, needs) in work.items():
        start = max((ends[need] for need in needs), default=0.0)
        ends[name] = start + lasts
        spans.setdefault(server, []).append((start, ends[name]))
    return {server: Need(min(found)[0], _most_at_once(found)) for server, found in spans.items()}


def _most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    """Return how many of these overlap."""
    marks = [(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans]
    most = at_once = 0
    for _, step in sorted(marks):  # at one moment, what ends makes room first
        at_once += step
        most = max(most, at_once)
    return most


class Ahead:
    """What of a run is still to be done. ``successors`` are those that the run keeps, fallbacks among them."""

    def __init__(self, plan: StoredPlan, successors: Mapping[str, Any]) -> None:
        #: Whether the run has ended.
        self.over = False
        following = {name: list(_following(name, successors)) for name in plan.steps}
        links = Skeleton.of(list(plan.steps), following).steps
        self._work = {
            name: _Work(step.server, max(MOMENT, step.lasts / 1000), links[name].needs)
            for name, step in plan.steps.items()
        }
        self._begun: dict[str, float] = {}
        self._ended: set[str] = set()

    def __repr__(self) -> str:
        return f"<Ahead ended={len(self._ended)} of={len(self._work)}>"

    def needs(self) -> dict[str, Need]:
        """Return what the whole run needs of each server."""
        return _needs(self._work)

    def note(self, operation: str, state: str, at: float) -> None:
        """Take note of a change in the run, or ('' as operation) of the run."""
        name, index = item_of(operation)
        if not operation:
            self.over = state != "running"
        elif index is not None:
            return
        elif state in OVER:
            self._ended.add(name)
        elif state == "waiting":  # it was resumed, and is done anew
            self._ended.discard(name)
            self._begun.pop(name, None)
        elif state == "running":
            self._begun.setdefault(name, at)

    def servers(self, now: float) -> dict[str, float]:
        """Return the servers that are still needed, each with the Unix second at which it is, at the earliest."""
        needed: dict[str, float] = {}
        ends: dict[str, float] = {}
        for name, (server, lasts, needs) in self._work.items():
            if self.over or name in self._ended:
                continue
            start = self._begun.get(name)
            if start is None:
                start = max((ends[need] for need in needs if need in ends), default=now)
            ends[name] = max(now, start + lasts)
            start = max(now, start)
            needed[server] = min(start, needed.get(server, start))
        return needed


def _following(name: str, successors: Mapping[str, Any]) -> Iterator[str]:
    yield from successors.get(name, ())
    if (fallback := successors.get(f"fallback:{name}")) is not None:
        yield fallback
