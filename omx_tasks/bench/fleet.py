"""Agents for one measurement, on a cluster that is up.

Each has a server file of its own, so that a graph chooses by the names of its servers which agents may do it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omx_tasks.agents.registry import AgentRecord
from omx_tasks.agents.registry import agents as registered
from omx_tasks.bench import sleeper
from omx_tasks.deploy.process import Process, end_all
from omx_tasks.errors import UnavailableError
from omx_tasks.settings import Told
from omx_tasks.store.client import Store

#: Seconds for all agents to be warm, and to end.
WARM, GRACE = 60.0, 10.0
PAUSE = 0.02
#: What an agent is started with, before its name: the lean program, and Celery's own.
AGENT = (sys.executable, "-m", "workers.agent", "--name")
CELERY = (sys.executable, "-m", "celery", "-A", "omx_tasks", "worker", "-n")


@dataclass(frozen=True)
class Agent:
    """One agent: its name, the name of the sleeping server that it has, its slots, `OMX_BATCH`, and what it tells."""

    name: str
    server: str
    slots: int
    batch: int = 0
    tells: Told = Told.ENDED


@contextmanager
def running(folder: Path, store: Store, agents: Sequence[Agent]) -> Iterator[list[int]]:
    """Run agents; they are all warm. Gives their process ids."""
    environs = {agent.name: _environ(folder, store, agent) for agent in agents}
    with started(folder, store, environs) as pids:
        yield pids


@contextmanager
def started(
    folder: Path,
    store: Store,
    environs: Mapping[str, Mapping[str, str]],
    patience: float = WARM,
    program: Sequence[str] = AGENT,
) -> Iterator[list[int]]:
    """Run agents of these names, each with its environment, started one by one; warm within ``patience`` seconds."""
    nodes = [node(name) for name in environs]
    processes = [process(folder, one, program) for one in nodes]
    try:
        for one, given in zip(processes, environs.values(), strict=True):
            one.start(given)
        wait_until_warm(store, nodes, processes, patience)
        yield pids_of(processes)
    finally:
        end_all(processes, GRACE)


def process(folder: Path, node: str, program: Sequence[str] = AGENT) -> Process:
    """Return an agent that is a process of its own; it does not run yet."""
    name = node.partition("@")[0]
    return Process(name, [*program, node], folder / f"{name}.log")


def node(name: str) -> str:
    """Return the name of an agent's node, unlike that of any other bench's."""
    return f"{name}@bench-{os.getpid()}"


def pids_of(processes: Sequence[Process]) -> list[int]:
    """Return the process ids of those that were started."""
    return [one.launched.pid for one in processes if one.launched]


def _environ(folder: Path, store: Store, agent: Agent) -> dict[str, str]:
    path = folder / f"{agent.name}.json"
    command = {"command": sys.executable, "args": [sleeper.__file__]}
    path.write_text(json.dumps({"mcpServers": {agent.server: command}}), "utf-8")
    return environ(
        store,
        OMX_MCP_CONFIG=str(path),
        OMX_SLOTS=str(agent.slots),
        OMX_BATCH=str(agent.batch),
        OMX_EVENTS_OPERATIONS=agent.tells,
    )


def environ(store: Store, **settings: str) -> dict[str, str]:
    """Return the environment of agents on a cluster, with these settings besides."""
    url = store.address.uri(include_password=True)
    return {**os.environ, "OMX_BROKER_URL": url, "OMX_RESULT_URL": url, **settings}


def wait_until_warm(
    store: Store,
    nodes: Sequence[str],
    processes: Sequence[Process],
    patience: float = WARM,
    ready: Callable[[AgentRecord], bool] = lambda _record: True,
) -> None:
    """Wait until agents of these names are up and ``ready``; raises `UnavailableError` with what one said that is not.

    ``patience`` is in seconds.
    """
    deadline = time.monotonic() + patience
    while not set(nodes) <= {record.name for record in registered(store) if ready(record)}:
        for one in processes:
            if not one.alive or time.monotonic() > deadline:
                raise UnavailableError(f"{one.name} did not get warm:\n{one.tail()}")
        time.sleep(PAUSE)
