"""What agents say of themselves and of their servers: read by producers, the command line and the metrics."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from omx_tasks.agents.profile import ALL_WORDS
from omx_tasks.agents.templates import EVERYTHING
from omx_tasks.priorities import Priority
from omx_tasks.records import known
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds after which an agent that was not heard is taken for gone, and after which it is forgotten.
SILENT, FORGOTTEN = 10.0, 3600.0


@dataclass(frozen=True)
class AgentRecord:
    """One agent's last heartbeat. ``failed`` says why a server could not be started; ``heard`` is Unix seconds.

    Whether it consumes: ``silence`` is how many seconds ago the queue was answered for which that is longest (None: its
    consumer is in another process), ``repaired`` how many times such a queue was attended to anew. ``alone`` counts,
    for each shard (``host:port`` of its master), the writes that were accepted without a replica.

    ``sessions`` says of each: server, state (idle, busy, draining, none, or that of its circuit), protocol, age in
    seconds, pid, rss in bytes, calls under way, how often it was recycled for its memory, whether its process is
    ``shared`` with other agents, and of which ``run`` it is, if only of one.
    ``circuits`` holds those that are not closed, by server: their state, the reason, and the seconds of it so far.
    ``warmth`` names the servers that are ``cold`` and counts since the start: calls that had to wait for a server
    (``cold_starts``), sessions ``opened`` and ``evicted``, and the seconds for which one was open before it was called
    (``wasted``).
    ``tells`` says of which operations it publishes events; ``errors`` counts those that failed, or may have, of the
    ones that are ``done``. ``pss`` is the memory of its process, in bytes, without its servers.

    ``memory`` is what it uses with its servers, in bytes; ``retiring`` says why it ends, if it does (see `tenure`).

    Of its ``template`` it offers the ``capabilities`` (``*``: all of the catalogue) at its ``priorities``, and goes
    without the ``unfilled`` roles. ``roles`` are those that each server of its file fills, also of servers that its
    template does not hold.
    """

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
    silence: float | None = None
    repaired: int = 0
    alone: dict[str, int] = field(default_factory=dict)
    circuits: dict[str, dict[str, Any]] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    template: str = EVERYTHING
    capabilities: list[str] = field(default_factory=lambda: [ALL_WORDS])
    priorities: list[str] = field(default_factory=lambda: [*Priority.__members__])
    unfilled: list[str] = field(default_factory=list)
    roles: dict[str, list[str]] = field(default_factory=dict)
    tells: str = "ended"
    memory: int = 0
    retiring: str = ""
    warmth: dict[str, Any] = field(default_factory=dict)
    errors: int = 0
    pss: int = 0

    @property
    def open(self) -> set[str]:
        """The servers to which it has a session on which calls can be made now."""
        return {one["server"] for one in self.sessions if one["state"] in ("idle", "busy")}

    @property
    def warm(self) -> bool:
        """Whether it has one to each of its servers."""
        return self.open == {one["server"] for one in self.sessions}

    def as_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes."""
        return {**asdict(self), "warm": self.warm}


def agents(store: Store) -> list[AgentRecord]:
    """Return every agent that was heard lately, by the cluster's clock, in the order of their names."""
    key = keys.agents()
    (seconds, _), answer = store.commands([(key, ("TIME",)), (key, ("HGETALL", key))])
    now = float(seconds)
    # A record of an earlier version has no time before it; its agent writes a new one, or is gone.
    records = [_record(name, text) for name, text in answer.items() if text[:1].isdigit()]
    forgotten = [record.name for record in records if now - record.heard > FORGOTTEN]
    if forgotten:
        store.command(key, "HDEL", key, *forgotten)
    heard = [record for record in records if now - record.heard < SILENT]
    return sorted(heard, key=lambda record: record.name)


def _record(name: bytes, text: bytes) -> AgentRecord:
    heard, _, record = text.partition(b" ")
    said = known(AgentRecord, json.loads(record))
    return AgentRecord(name.decode(), **said, heard=int(heard) / 1000)


def broken_servers(records: list[AgentRecord]) -> dict[str, str]:
    """Return the servers that no agent could start, with the reason."""
    running = {server for record in records for server in record.servers}
    failed = {name: reason for record in records for name, reason in record.failed.items()}
    return {name: reason for name, reason in failed.items() if name not in running}


def accepted_alone(records: Iterable[AgentRecord]) -> Counter[str]:
    """Return how many writes of these agents each master accepted that had no replica then."""
    return sum((Counter(record.alone) for record in records), Counter())


def catalogue(store: Store) -> dict[str, Any]:
    """Return what each server offers, as the agents saw it when they warmed up."""
    answer = store.command(keys.catalogue(), "HGETALL", keys.catalogue())
    return {name.decode(): json.loads(text) for name, text in answer.items()}
