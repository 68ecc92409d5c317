"""What agents keep in memory: forks of one process beside as many that were started one by one.

These are started in both ways that there are: as ``python -m workers.agent``, and as ``celery -A omx_tasks worker``.

Of the 74 MiB of a lean one a fork keeps 29: 9 are its eighth of the process that it comes from, 20 its own. Of these
at least 2 are what it made itself (stacks, connections, sessions), 1 is the interpreter's; the rest are pages that it
shared until it wrote to them, mostly no more than a count of references: those of a quarter are soon equal again. What
an agent uses lies on every third or fourth page. Neither other allocators nor filled holes change that, nor the code
that it runs moved side by side, nor more of a rehearsal (`workers.rehearsal`); a Python whose counts stay would.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import psutil

from omx_tasks.bench import fleet
from omx_tasks.bench.figures import Goal
from omx_tasks.bench.forks import Start, environ, forked, separate
from omx_tasks.bench.place import Place, Row, independent
from omx_tasks.memory import part_of

MEBIBYTE = 2**20
GOAL = Goal("≥", 70)


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
    forks = _keep(place, agents, operations, "forked", forked)
    yield Row(f"{agents} forked agents, idle, each", forks.idle, "MiB")
    yield Row(f"forked, after {operations} operations each", forks.worked, "MiB")
    yield Row("forked, all warm after", forks.ready, "s")
    by_celery = partial(separate, name="celery", program=fleet.CELERY)
    for kind, start in (("separate", separate), ("celery", by_celery)):
        others = _keep(place, agents, operations, kind, start)
        yield Row(f"{agents} {kind} agents, idle, each", others.idle, "MiB")
        yield Row("forked ones less by", _less(forks.idle, others.idle), "%", GOAL)
        yield Row(f"{kind}, after {operations} operations each", others.worked, "MiB")
        yield Row("forked ones less by", _less(forks.worked, others.worked), "%", GOAL)
        yield Row(f"{kind}, all warm after", others.ready, "s")


def _less(ours: float, others: float) -> float:
    return 100 * (1 - ours / others)


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
