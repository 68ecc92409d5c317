"""Agents for one measurement that all have one server file: forks of one process, or started one by one."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omx_tasks.agents.registry import AgentRecord
from omx_tasks.agents.registry import agents as registered
from omx_tasks.bench import sleeper
from omx_tasks.bench.place import Place
from omx_tasks.deploy.forkserver import ForkServer
from omx_tasks.deploy.nursery import ANSWER, Nursery
from omx_tasks.deploy.process import Process, end_all
from omx_tasks.errors import UnavailableError
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
    url = place.store.address.uri(include_password=True)
    ours = {"OMX_BROKER_URL": url, "OMX_RESULT_URL": url, "OMX_MCP_CONFIG": str(path)}
    return {**os.environ, **ours, **more}


@contextmanager
def forked(place: Place, count: int, environ: Mapping[str, str]) -> Iterator[list[int]]:
    """Run forks of one process; its id is among theirs."""
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
def separate(place: Place, count: int, environ: Mapping[str, str]) -> Iterator[list[int]]:
    """Run agents that are started one by one."""
    nodes = [f"separate{number}@bench-{os.getpid()}" for number in range(count)]
    processes = [process(place.folder, node) for node in nodes]
    try:
        for one in processes:
            one.start(environ)
        await_warm(place.store, nodes, processes)
        yield _pids(processes)
    finally:
        end_all(processes, GRACE)


def process(folder: Path, node: str) -> Process:
    """Return an agent that is a process of its own; it does not run yet."""
    name = node.partition("@")[0]
    command = [sys.executable, "-m", "workers.agent", "--name", node]
    return Process(name, command, folder / f"{name}.log")


def await_warm(
    store: Store,
    nodes: Sequence[str],
    processes: Sequence[Process],
    ready: Callable[[AgentRecord], bool] = lambda _record: True,
) -> None:
    """Wait until all of them are heard, and are ``ready``."""
    deadline = time.monotonic() + WARM
    while not {*nodes} <= {record.name for record in registered(store) if ready(record)}:
        for process in processes:
            if not process.alive or time.monotonic() > deadline:
                raise UnavailableError(f"{process.name} did not get warm:\n{process.tail()}")
        time.sleep(PAUSE)


def _pids(processes: Sequence[Process]) -> list[int]:
    return [process.launched.pid for process in processes if process.launched]
