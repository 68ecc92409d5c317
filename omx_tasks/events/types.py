"""What an event is, and the table of the product's own types: what each says, and how urgent it is by default.

========================= === =====================================================================
type                          when
========================= === =====================================================================
run.submitted             P2  a run was stored and started
run.refused               P1  a graph was refused, nothing of it was queued
run.succeeded             P2  a run is over, nothing failed
run.failed                P0  a run is over, something failed
run.cancelled             P0  a run was ended before its time
operation.started         P2  an agent begins a call
operation.progress        P2  a server says how far a call is
operation.succeeded       P2  a call was answered
operation.skipped         P2  something that it needs failed
operation.failed          P0  a call failed after all its tries, or could not be made
operation.unknown         P0  a call was begun, and nobody knows whether it was done
operation.cancelled       P0  a call was ended before its time
agent.started             P1  an agent is warm and takes work
agent.stopped             P1  an agent has ended in good order
agent.lost                P0  an agent was not heard for too long
agent.died                P0  an agent's process ended, and will be started again
agent.crashing            P0  an agent dies again and again, soon after each start
agent.scaled              P1  there are to be more agents of a template, or fewer
agent.recycled            P1  an agent ends and another takes its place: its memory, or its operations, were enough
agent.quarantined         P0  an agent fails at what others do, and is replaced
agent.statistics          P3  how busy an agent is
server.started            P1  a session with an MCP server is open
server.failed             P0  an MCP server cannot be started
server.recycled           P1  an MCP server used too much memory, and another one took its place
queue.backlog             P1  messages wait for long, or nobody consumes the queue
queue.flowing             P1  they do not any more
queue.dead                P0  messages were delivered, or lost with their agents, too often
queue.repaired            P1  messages came back whose worker had died
queue.retired             P2  a queue that nobody needs any more was deleted
cluster.node_down         P0  a node has failed, as most masters see it
cluster.node_up           P1  it is there again
cluster.failover          P0  a master was replaced by its replica
cluster.degraded          P0  a shard has no replica, or no master
cluster.healed            P1  every shard has a master and a replica again
deploy.started            P1  a deployment begins
deploy.finished           P1  a deployment is done
deploy.failed             P0  a deployment went wrong
deploy.rolled_back        P0  a deployment was taken back
========================= === =====================================================================

Any other type of two or more words (``order.paid``) is the user's own: P2 unless its publisher says otherwise, with any
JSON object as data. A type of the product's families that is not in the table comes from a newer version, or from a
slip of the pen: it is kept as it is, and counted as unknown. So are fields that a type does not know: kept.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from omx_tasks.errors import UsageError
from omx_tasks.priorities import Priority

#: The version of an event's form; it rises when a reader of the former one would misread it.
VERSION = 1
#: Characters that a key may have, and bytes that an event may have.
LONGEST_KEY, LARGEST = 200, 256 * 1024

_decode = json.JSONDecoder().decode
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_CONTROL = re.compile(r"[\x00-\x1f]")


class EventError(UsageError):
    """An event is malformed; the message names its type, the field and the remedy."""


class Data(BaseModel):
    """What an event of a type says."""

    model_config = ConfigDict(extra="allow", strict=True)


class RunSubmitted(Data):
    """``operations``: how many the graph has."""

    run: str
    name: str
    operations: int


class RunRefused(Data):
    """``name``: the graph's, '' where it could not be read; ``source``: its file; ``operations``: those to mend."""

    name: str
    source: str
    reason: str
    operations: list[str] = []


class RunOver(Data):
    """A run's end; the type says which."""

    run: str
    name: str


class OperationStarted(Data):
    """``attempt`` counts deliveries, from 1."""

    run: str
    operation: str
    agent: str
    attempt: int = 1


class OperationProgress(Data):
    """How far a call is, in its server's words."""

    run: str
    operation: str
    progress: float
    total: float | None = None
    message: str | None = None


class OperationOver(Data):
    """An operation's end; ``started`` and ``finished`` are Unix seconds of the call itself.

    ``graph`` is the graph's name, ``kind`` and ``target`` say what was called, ``capabilities`` the set that it
    required, ``priority`` its own; ``ready`` is when it could have been begun, ``waited`` the seconds until it was.
    """

    run: str
    operation: str
    graph: str | None = None
    server: str | None = None
    kind: str | None = None
    target: str | None = None
    priority: int | None = None
    capabilities: str | None = None
    agent: str | None = None
    template: str | None = None
    ready: float | None = None
    waited: float | None = None
    attempts: int = 0
    started: float | None = None
    finished: float | None = None
    error: dict[str, str] | None = None


class AgentTold(Data):
    """An agent began, ended or was lost."""

    agent: str


class AgentStatistics(Data):
    """``busy`` of ``slots`` are in use, ``done`` operations have ended."""

    agent: str
    busy: int
    slots: int
    done: int


class ServerRecycled(Data):
    """An MCP server of an agent that used ``memory`` bytes and may use ``limit``."""

    server: str
    agent: str
    memory: int
    limit: int


class ServerTold(Data):
    """An MCP server of an agent; ``error`` where it cannot be started."""

    server: str
    agent: str
    error: str | None = None


class AgentLost(AgentTold):
    """``heard`` is when it was heard last (Unix seconds of the cluster's clock)."""

    host: str | None = None
    pid: int | None = None
    heard: float | None = None


class AgentDied(AgentTold):
    """``reason``: what its end was; ``deaths``: how many came one after the other, each soon after a start."""

    reason: str | None = None
    deaths: int | None = None


class AgentScaled(Data):
    """There are to be ``agents`` of a template, and were ``former``; ``reason`` says why."""

    template: str
    agents: int
    former: int
    reason: str


class AgentRecycled(AgentTold):
    """An agent that ended itself in good order; ``memory``: the bytes that it used, ``done``: its operations."""

    reason: str
    memory: int
    done: int


class AgentQuarantined(AgentTold):
    """An agent that is drained and replaced because it fails where others do not."""

    reason: str


class QueueTold(Data):
    """``messages``: of how many this is told."""

    queue: str
    messages: int


class QueueBacklog(QueueTold):
    """``oldest``: for how many seconds the first of the ``messages`` has waited; ``consumers``: who takes them."""

    oldest: float | None = None
    consumers: int | None = None


class ClusterTold(Data):
    """``node``: the one that it is about, as host:port; ``former``: the one that it replaced.

    ``alone`` are masters without a replica, ``lost`` those of which nobody has taken the slots.
    """

    node: str | None = None
    former: str | None = None
    alone: list[str] = []
    lost: list[str] = []


class DeployTold(Data):
    """``phase``: the one that a deployment is in."""

    deployment: str
    phase: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Kind:
    """A type: what its data must be, and how urgent it is."""

    data: type[Data]
    priority: Priority


def _kinds(data: type[Data], priority: Priority, *names: str) -> dict[str, Kind]:
    return {name: Kind(data, priority) for name in names}


TABLE: Mapping[str, Kind] = {
    "run.submitted": Kind(RunSubmitted, Priority.P2),
    "run.refused": Kind(RunRefused, Priority.P1),
    "run.succeeded": Kind(RunOver, Priority.P2),
    **_kinds(RunOver, Priority.P0, "run.failed", "run.cancelled"),
    "operation.started": Kind(OperationStarted, Priority.P2),
    "operation.progress": Kind(OperationProgress, Priority.P2),
    **_kinds(OperationOver, Priority.P2, "operation.succeeded", "operation.skipped"),
    **_kinds(
        OperationOver,
        Priority.P0,
        "operation.failed",
        "operation.unknown",
        "operation.cancelled",
    ),
    **_kinds(AgentTold, Priority.P1, "agent.started", "agent.stopped"),
    "agent.lost": Kind(AgentLost, Priority.P0),
    **_kinds(AgentDied, Priority.P0, "agent.died", "agent.crashing"),
    "agent.scaled": Kind(AgentScaled, Priority.P1),
    "agent.recycled": Kind(AgentRecycled, Priority.P1),
    "agent.quarantined": Kind(AgentQuarantined, Priority.P0),
    "agent.statistics": Kind(AgentStatistics, Priority.P3),
    "server.started": Kind(ServerTold, Priority.P1),
    "server.failed": Kind(ServerTold, Priority.P0),
    "server.recycled": Kind(ServerRecycled, Priority.P1),
    "queue.dead": Kind(QueueTold, Priority.P0),
    **_kinds(QueueBacklog, Priority.P1, "queue.backlog", "queue.flowing"),
    "queue.repaired": Kind(QueueTold, Priority.P1),
    "queue.retired": Kind(QueueTold, Priority.P2),
    **_kinds(ClusterTold, Priority.P0, "cluster.node_down", "cluster.failover", "cluster.degraded"),
    **_kinds(ClusterTold, Priority.P1, "cluster.node_up", "cluster.healed"),
    **_kinds(DeployTold, Priority.P1, "deploy.started", "deploy.finished"),
    **_kinds(DeployTold, Priority.P0, "deploy.failed", "deploy.rolled_back"),
}
#: The first words of the product's types; all others are the user's.
FAMILIES = frozenset(name.partition(".")[0] for name in TABLE)


class Place(NamedTuple):
    """Where an event is: its log is that of its partition and priority, in which numbers rise from event to event."""

    partition: int
    number: int


class Event(NamedTuple):
    """Something that happened. ``at`` is Unix seconds of its publisher's clock; ``deliveries`` counts this one, too.

    ``place`` is known to handlers, but of an event that is tried again after it failed: those come out of order.
    """

    id: str
    type: str
    priority: Priority
    key: str
    at: float
    data: dict[str, Any]
    deliveries: int = 1
    place: Place | None = None

    def text(self) -> str:
        """Return the event as it is stored: JSON, with the version of its form.

        Those of the product's types are many, and their data were checked: they take the shorter way.
        """
        form = self.as_json()
        return to_json(form).decode() if self.type in TABLE else _encode(form)

    def as_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes."""
        return {
            "v": VERSION,
            "id": self.id,
            "type": self.type,
            "priority": int(self.priority),
            "key": self.key,
            "at": self.at,
            "data": self.data,
        }

    @classmethod
    def read(cls, text: bytes | str, deliveries: int = 1, place: Place | None = None) -> Event:
        """Read a stored event; raises `EventError` where its form is a newer one than is known here."""
        form = _decode(text.decode() if isinstance(text, bytes) else text)
        if form["v"] > VERSION:
            raise EventError(
                f"event {form.get('id')} has form {form['v']}, and this program knows {VERSION}: upgrade it"
            )
        return cls(
            form["id"],
            form["type"],
            Priority(form["priority"]),
            form["key"],
            form["at"],
            form["data"],
            deliveries,
            place,
        )


def make(
    event_id: str,
    type_: str,
    data: Mapping[str, Any] | None = None,
    priority: Priority | int | None = None,
    key: str | None = None,
) -> Event:
    """Make an event of now; raises `EventError` saying what is wrong with it."""
    kind = _check_type(type_)
    content = {} if data is None else _check_data(type_, data, kind)
    if data is None and kind is not None:
        content = _check_data(type_, {}, kind)
    return Event(
        event_id,
        type_,
        _check_priority(priority, kind),
        _check_key(key),
        time.time(),
        content,
    )


def is_unknown(type_: str) -> bool:
    """Whether a type is of the product's families, and not in the table."""
    return type_ not in TABLE and type_.partition(".")[0] in FAMILIES


def _check_type(type_: str) -> Kind | None:
    kind = TABLE.get(type_)
    if kind is None and not (isinstance(type_, str) and _TYPE.fullmatch(type_)):
        raise EventError(
            f"{type_!r} is no type of event: write two or more words of small letters, digits and _, "
            "joined by dots, as in 'order.paid'"
        )
    return kind


def _check_data(type_: str, data: Mapping[str, Any], kind: Kind | None) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise EventError(
            f"the data of event {type_!r} must be an object, not {type(data).__name__}"
        )
    content = dict(data)
    if kind is not None:
        try:
            kind.data.model_validate(content)
        except ValidationError as error:
            raise EventError(_explain(type_, error)) from error
    return content


def _explain(type_: str, error: ValidationError) -> str:
    problems = (
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors()
    )
    return f"the data of event {type_!r} is wrong: {'; '.join(problems)}"


def _check_priority(priority: Priority | int | None, kind: Kind | None) -> Priority:
    if priority is None:
        return Priority.P2 if kind is None else kind.priority
    if isinstance(priority, Priority):
        return priority
    try:
        return Priority(priority)
    except ValueError:
        raise EventError(f"{priority!r} is no priority: there are P0, P1, P2 and P3") from None


def _check_key(key: str | None) -> str:
    if key is None:
        return ""
    if not (isinstance(key, str) and _is_key(key)):
        raise EventError(
            f"the key {str(key)[:50]!r} is no text of at most {LONGEST_KEY} characters without control characters"
        )
    return key


@lru_cache(maxsize=1024)
def _is_key(key: str) -> bool:
    """Whether a text may be a key: many events have the same one."""
    return len(key) <= LONGEST_KEY and not _CONTROL.search(key)
