"""Agents for one measurement that all have one server file: forks of one process, or started one by one."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from omx_tasks.bench import fleet, sleeper
from omx_tasks.bench.place import Place
from omx_tasks.deploy.forkserver import ForkServer
from omx_tasks.deploy.nursery import ANSWER, Nursery
from omx_tasks.store.client import Store

#: Seconds for agents to be warm, and to end.
WARM, GRACE = 120.0, 10.0
PAUSE = 0.02
#: What starts a server of the bench's own, whose calls only sleep.
SLEEPER = {"command": sys.executable, "args": [sleeper.__file__]}

#: Starts so many agents with this environment, gives their process ids and that of what they share, and ends them.
Start = Callable[[Place, int, Mapping[str, str]], Any]


def environ(
    place: Place, server: str, command: Mapping[str, Any] | None = None, **more: str
) -> dict[str, str]:
    """Return the environment of agents that have one server; without a ``command`` it is one that sleeps."""
    path = place.folder / f"{server}.json"
    path.write_text(json.dumps({"mcpServers": {server: command or SLEEPER}}), "utf-8")
    return fleet.environ(place.store, OMX_MCP_CONFIG=str(path), **more)


@contextmanager
def nursery(
    place: Place,
    name: str,
    environ: Mapping[str, str],
    least: int,
    most: int,
    idle: float = Nursery.idle,
) -> Iterator[Nursery]:
    """Run a nursery; it begins with the ``least`` agents, warm."""
    kept = Nursery(
        name=name,
        forks=ForkServer(place.folder / f"{name}-forkserver.log", environ),
        logs=place.folder,
        environ=environ,
        store=Store(place.store.address.uri(include_password=True), timeout=ANSWER),
        least=least,
        most=most,
        idle=idle,
    )
    try:
        kept.start(least)
        kept.await_warm(threading.Event())
        yield kept
    finally:
        kept.stop(GRACE)


def pids_of(kept: Nursery) -> list[int]:
    """Return the process ids of a nursery's agents, and of what they are forks of."""
    shared = [kept.forks.pid] if kept.forks.pid else []
    return [*shared, *fleet.pids_of(kept.processes)]


@contextmanager
def forked(place: Place, count: int, environ: Mapping[str, str]) -> Iterator[list[int]]:
    """Run forks of one process; its id is among theirs."""
    with nursery(place, "forked", environ, count, count) as kept:
        yield pids_of(kept)


@contextmanager
def separate(
    place: Place,
    count: int,
    environ: Mapping[str, str],
    name: str = "separate",
    program: Sequence[str] = fleet.AGENT,
) -> Iterator[list[int]]:
    """Run agents that are started one by one, with this program."""
    environs = {f"{name}{number}": environ for number in range(count)}
    with fleet.started(place.folder, place.store, environs, WARM, program) as pids:
        yield pids
