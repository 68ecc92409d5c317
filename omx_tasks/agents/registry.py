"""What agents say of themselves and of their servers: read by producers, the command line and the metrics."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds after which an agent that was not heard is taken for gone.
SILENT = 10.0


@dataclass(frozen=True)
class AgentRecord:
    """One agent's last heartbeat. ``failed`` says why a server could not be started; ``heard`` is Unix seconds."""

    name: str
    host: str
    pid: int
    slots: int
    busy: int
    done: int
    servers: list[str]
    failed: dict[str, str]
    config: str
    heard: float

    @property
    def alive(self) -> bool:
        """Whether it was heard lately."""
        return time.time() - self.heard < SILENT


def agents(store: Store) -> list[AgentRecord]:
    """Return every agent that was heard lately, by name."""
    answer = store.command(keys.agents(), "HGETALL", keys.agents())
    found = [AgentRecord(name.decode(), **json.loads(record)) for name, record in answer.items()]
    return sorted((agent for agent in found if agent.alive), key=lambda agent: agent.name)


def broken_servers(records: list[AgentRecord]) -> dict[str, str]:
    """Return the servers that no agent could start, with the reason."""
    running = {server for record in records for server in record.servers}
    failed = {name: reason for record in records for name, reason in record.failed.items()}
    return {name: reason for name, reason in failed.items() if name not in running}


def catalogue(store: Store) -> dict[str, Any]:
    """Return what each server offers, as the agents saw it when they warmed up."""
    answer = store.command(keys.catalogue(), "HGETALL", keys.catalogue())
    return {name.decode(): json.loads(text) for name, text in answer.items()}
