"""What agents keep in memory: forks of one process beside as many that were started one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil

from omx_tasks.bench.figures import Goal
from omx_tasks.bench.forks import Start, environ, forked, separate
from omx_tasks.bench.place import Place, Row, independent
from omx_tasks.memory import part_of

MEBIBYTE = 2**20


@dataclass(frozen=True)
class _Kept:
    """What agents of one kind needed: seconds until all were warm, MiB of each when idle and after its operations."""

    ready: float
    idle: float
    worked: float


def measure(place: Place, agents: int, operations: int) -> Iterator[Row]:
    """Compare them, idle and after so many operations each.

    Memory is what each has to itself and its share of what it shares (PSS); the process that the forks come from is
    divided among them.
    """
    ours = _keep(place, agents, operations, "forked", forked)
    others = _keep(place, agents, operations, "separate", separate)
    goal = Goal("≥", 70)
    yield Row(f"{agents} forked agents, idle, each", ours.idle, "MiB")
    yield Row(f"{agents} separate agents, idle, each", others.idle, "MiB")
    yield Row("less by", 100 * (1 - ours.idle / others.idle), "%", goal)
    yield Row(f"forked, after {operations} operations each", ours.worked, "MiB")
    yield Row(f"separate, after {operations} operations each", others.worked, "MiB")
    yield Row("less by", 100 * (1 - ours.worked / others.worked), "%", goal)
    yield Row("forked, all warm after", ours.ready, "s")
    yield Row("separate, all warm after", others.ready, "s")


def _keep(place: Place, agents: int, operations: int, kind: str, start: Start) -> _Kept:
    place.say(f"memory of {agents} {kind} agents")
    given = environ(place, server := f"sleeper_{kind}")
    began = time.monotonic()
    with start(place, agents, given) as pids:
        ready = time.monotonic() - began
        idle = _memory(pids, agents)
        place.run(independent(server, agents * operations))
        return _Kept(ready, idle, _memory(pids, agents))


def _memory(pids: Sequence[int], agents: int) -> float:
    """Return the MiB of each agent, all processes of their kind counted."""
    return sum(part_of(psutil.Process(pid)) for pid in pids) / agents / MEBIBYTE
