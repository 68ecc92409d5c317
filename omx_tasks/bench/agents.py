"""What agents cost: how soon they are there, and what they keep in memory. A section is a function that gives rows."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from omx_tasks.agents.registry import agents as registered
from omx_tasks.bench import sharing, sleeper
from omx_tasks.bench.figures import Goal
from omx_tasks.bench.place import Measured, Place, Row, independent
from omx_tasks.bench.sides import our_side
from omx_tasks.deploy.forkserver import ForkServer
from omx_tasks.deploy.nursery import ANSWER, Nursery
from omx_tasks.deploy.process import Process, end_all
from omx_tasks.deploy.temporary import temporary_folder
from omx_tasks.errors import UnavailableError
from omx_tasks.store.client import Store

#: Seconds for agents to be warm, and to end.
WARM, GRACE = 120.0, 10.0
PAUSE = 0.02
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Size:
    """How much is done: agents of each kind, and operations for each agent."""

    agents: int = 8
    operations: int = 200
    #: Agents that share their servers, and the calls that they make then.
    sharers: int = sharing.AGENTS
    calls: int = sharing.CALLS


QUICK = Size(agents=2, operations=10, sharers=2, calls=100)


@dataclass(frozen=True)
class _Kept:
    """What agents of one kind needed: seconds until all were warm, MiB of each when idle and after its operations."""

    ready: float
    idle: float
    worked: float


#: Starts so many agents with this environment, gives their process ids and that of what they share, and ends them.
Start = Callable[[Place, int, Mapping[str, str]], Any]


def measure(size: Size, say: Callable[[str], None]) -> Measured:
    """Measure all sections; everything that this starts is gone when it returns or raises."""
    began = time.monotonic()
    with (
        temporary_folder("omx-bench-") as folder,
        our_side(folder / "cluster") as side,
        closing(Store(str(side.settings["broker_url"]))) as store,
    ):
        place = Place(folder, side, store, say)
        rows = [*memory(place, size), *sharing.compare(place, size.sharers, size.calls)]
    return Measured(size, rows, time.monotonic() - began)


def memory(place: Place, size: Size) -> list[Row]:
    """Compare agents that are forks of one process with as many that were started one by one.

    Memory is what each has to itself and its share of what it shares (PSS); the process that the forks come from is
    divided among them.
    """
    forked = _keep(place, size, "forked", _forked)
    separate = _keep(place, size, "separate", _separate)
    goal = Goal("≥", 70)
    return [
        Row(f"{size.agents} forked agents, idle, each", forked.idle, "MiB"),
        Row(f"{size.agents} separate agents, idle, each", separate.idle, "MiB"),
        Row("less by", 100 * (1 - forked.idle / separate.idle), "%", goal),
        Row(f"forked, after {size.operations} operations each", forked.worked, "MiB"),
        Row(f"separate, after {size.operations} operations each", separate.worked, "MiB"),
        Row("less by", 100 * (1 - forked.worked / separate.worked), "%", goal),
        Row("forked, all warm after", forked.ready, "s"),
        Row("separate, all warm after", separate.ready, "s"),
    ]


def _keep(place: Place, size: Size, kind: str, start: Start) -> _Kept:
    place.say(f"memory of {size.agents} {kind} agents")
    environ = _environ(place, server := f"sleeper_{kind}")
    began = time.monotonic()
    with start(place, size.agents, environ) as pids:
        ready = time.monotonic() - began
        idle = _memory(pids, size.agents)
        place.run(independent(server, size.agents * size.operations))
        return _Kept(ready, idle, _memory(pids, size.agents))


def _environ(place: Place, server: str) -> dict[str, str]:
    path = place.folder / f"{server}.json"
    command = {"command": sys.executable, "args": [sleeper.__file__]}
    path.write_text(json.dumps({"mcpServers": {server: command}}), "utf-8")
    url = place.store.address.uri(include_password=True)
    ours = {"OMX_BROKER_URL": url, "OMX_RESULT_URL": url, "OMX_MCP_CONFIG": str(path)}
    return {**os.environ, **ours}


def _memory(pids: Sequence[int], agents: int) -> float:
    """Return the MiB of each agent, all processes of their kind counted."""
    told = [psutil.Process(pid).memory_full_info() for pid in pids]
    return sum(float(getattr(one, "pss", one.uss)) for one in told) / agents / MEBIBYTE


@contextmanager
def _forked(place: Place, count: int, environ: Mapping[str, str]) -> Iterator[list[int]]:
    nursery = Nursery(
        name="forked",
        forks=ForkServer(place.folder / "forkserver.log", environ),
        logs=place.folder,
        environ=environ,
        store=Store(place.store.address.uri(include_password=True), timeout=ANSWER),
        least=count,
        most=count,
    )
    try:
        nursery.start(count)
        nursery.await_warm(threading.Event())
        shared = [nursery.forks.pid] if nursery.forks.pid else []
        yield [*shared, *_pids(nursery.processes)]
    finally:
        nursery.stop(GRACE)


@contextmanager
def _separate(place: Place, count: int, environ: Mapping[str, str]) -> Iterator[list[int]]:
    nodes = [f"separate{number}@bench-{os.getpid()}" for number in range(count)]
    processes = [_process(place.folder, node) for node in nodes]
    try:
        for process in processes:
            process.start(environ)
        _await(place.store, set(nodes), processes)
        yield _pids(processes)
    finally:
        end_all(processes, GRACE)


def _process(folder: Path, node: str) -> Process:
    name = node.partition("@")[0]
    command = [sys.executable, "-m", "workers.agent", "--name", node]
    return Process(name, command, folder / f"{name}.log")


def _await(store: Store, wanted: set[str], processes: Sequence[Process]) -> None:
    deadline = time.monotonic() + WARM
    while not wanted <= {record.name for record in registered(store)}:
        for process in processes:
            if not process.alive or time.monotonic() > deadline:
                raise UnavailableError(f"{process.name} did not get warm:\n{process.tail()}")
        time.sleep(PAUSE)


def _pids(processes: Sequence[Process]) -> list[int]:
    return [process.launched.pid for process in processes if process.launched]
