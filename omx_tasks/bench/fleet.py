"""Agents for one measurement, on a cluster that is up.

Each has a server file of its own, so that a graph chooses by the names of its servers which agents may do it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omx_tasks.agents.registry import agents as registered
from omx_tasks.bench import sleeper
from omx_tasks.deploy.process import Process, end_all
from omx_tasks.errors import UnavailableError
from omx_tasks.settings import Told
from omx_tasks.store.client import Store

#: Seconds for all agents to be warm, and to end.
WARM, GRACE = 60.0, 10.0
PAUSE = 0.02


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
    processes = [_process(folder, agent) for agent in agents]
    try:
        for agent, process in zip(agents, processes, strict=True):
            process.start(_environ(folder, store, agent))
        wait_until_warm(store, [_node(agent) for agent in agents], processes)
        yield [process.launched.pid for process in processes if process.launched]
    finally:
        end_all(processes, GRACE)


def _process(folder: Path, agent: Agent) -> Process:
    command = [sys.executable, "-m", "workers.agent", "--name", _node(agent)]
    return Process(agent.name, command, folder / f"{agent.name}.log")


def _node(agent: Agent) -> str:
    return f"{agent.name}@bench-{os.getpid()}"


def _environ(folder: Path, store: Store, agent: Agent) -> dict[str, str]:
    path = folder / f"{agent.name}.json"
    command = {"command": sys.executable, "args": [sleeper.__file__]}
    path.write_text(json.dumps({"mcpServers": {agent.server: command}}), "utf-8")
    url = store.address.uri(include_password=True)
    ours = {
        "OMX_BROKER_URL": url,
        "OMX_RESULT_URL": url,
        "OMX_MCP_CONFIG": str(path),
        "OMX_SLOTS": str(agent.slots),
        "OMX_BATCH": str(agent.batch),
        "OMX_EVENTS_OPERATIONS": agent.tells,
    }
    return {**os.environ, **ours}


def wait_until_warm(store: Store, nodes: Sequence[str], processes: Sequence[Process]) -> None:
    """Wait until agents of these names are up; raises `UnavailableError` with what one said that is not."""
    deadline = time.monotonic() + WARM
    while not set(nodes) <= {record.name for record in registered(store)}:
        for process in processes:
            if not process.alive or time.monotonic() > deadline:
                raise UnavailableError(f"{process.name} did not get warm:\n{process.tail()}")
        time.sleep(PAUSE)
