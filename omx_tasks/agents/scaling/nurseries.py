"""What nurseries say of themselves, and how one is told to have more or fewer agents.

A nursery is a process that keeps a number of agents of one kind up on its host. It beats once a second, and reads with
that what was asked for: ``want(store, nursery, 5)`` has it start or drain agents until there are five, or as many as
its bounds allow.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from omx_tasks.agents.registry import SILENT
from omx_tasks.errors import UsageError
from omx_tasks.records import known
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, script

#: What a nursery says that goes.
_GONE = ""


@dataclass(frozen=True)
class NurseryRecord:
    """One nursery's last beat. ``heard`` is Unix seconds, by the cluster's clock.

    ``agents`` holds each agent by name: its ``pid``, its ``state`` (running; waiting, after it died; crash loop, after
    it died again and again; draining), its ``deaths`` that followed each other closely, and what the last one was, or
    why it is drained (``reason``). ``recycled`` and ``quarantined`` count those that were replaced while they lived,
    ``hung`` those that were ended.

    Each agent offers ``capabilities`` (``*``: all of the catalogue) with ``servers`` at ``priorities``, has so many
    ``slots``, is warm after ``cold`` seconds, and has used ``memory`` bytes, its servers included (0: not known yet).
    The host has ``free`` bytes for more. One agent too many goes after ``idle`` seconds.
    """

    name: str
    host: str
    pid: int
    template: str
    min: int
    max: int
    wanted: int
    running: int
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)
    servers: list[str] = field(default_factory=list)
    capabilities: list[str] = field(default_factory=list)
    priorities: list[str] = field(default_factory=list)
    slots: int = 1
    idle: float = 0.0
    cold: float = 0.0
    memory: int = 0
    free: int = 0
    recycled: int = 0
    quarantined: int = 0
    hung: int = 0
    heard: float = 0.0


def beat(store: Store, record: NurseryRecord) -> int | None:
    """Say that a nursery lives; return how many agents were asked for last, if anybody asked."""
    said = asdict(record)
    name, _ = said.pop("name"), said.pop("heard")
    answer = store.run(_call(name, json.dumps(said)))
    return None if answer is None else int(answer)


def leave(store: Store, nursery: str) -> None:
    """Say that a nursery goes."""
    store.run(_call(nursery, _GONE))


def nurseries(store: Store) -> list[NurseryRecord]:
    """Return every nursery that was heard lately, in the order of their names."""
    key = keys.nurseries()
    (seconds, _), answer = store.commands([(key, ("TIME",)), (key, ("HGETALL", key))])
    records = [_record(name, text) for name, text in answer.items()]
    silent = [record.name for record in records if float(seconds) - record.heard > SILENT]
    if silent:
        store.command(key, "HDEL", key, *silent)
        store.command(keys.wanted(), "HDEL", keys.wanted(), *silent)
    heard = [record for record in records if record.name not in silent]
    return sorted(heard, key=lambda record: record.name)


def asked(store: Store) -> dict[str, int]:
    """Return how many agents were asked for last, of each nursery of which anybody asked."""
    answer = store.command(keys.wanted(), "HGETALL", keys.wanted())
    return {name.decode(): int(number) for name, number in answer.items()}


def want(store: Store, nursery: str, agents: int) -> None:
    """Ask a nursery to have so many agents; it takes the nearest number within its bounds, within a second."""
    if agents < 0:
        raise UsageError(f"a nursery cannot have {agents} agents: ask for 0 or more")
    store.command(keys.wanted(), "HSET", keys.wanted(), nursery, agents)


def _call(nursery: str, record: str) -> Call:
    return Call(script("nursery_1"), (keys.nurseries(), keys.wanted()), (nursery, record))


def _record(name: bytes, text: bytes) -> NurseryRecord:
    heard, _, record = text.partition(b" ")
    said = known(NurseryRecord, json.loads(record))
    return NurseryRecord(name.decode(), **{**said, "heard": int(heard) / 1000})
