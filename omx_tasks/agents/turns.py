"""Writes take turns: what an agent asks before it calls a tool that may change something, and passes on after it.

::

    a write ──ask──► its turn ──► start ──► call ──► finish
               │                              └────► pass ──► wake the next one's message ──► claimed, by any agent
               └──► not its turn: its message is parked, its slot is free

It is asked before the operation is begun: one that has to wait was no attempt. The turn is passed as soon as the call
is over, whatever came of it, while its outcome is being stored; the message is acknowledged after both. So what dies on
the way is delivered again, and asks again: it still has its turn, or it has passed it.

On a stateful server there is nobody to take turns with but the run itself, and all of that is one agent's (`affinity`).

Reads (resources, prompts, tools that are read-only by their annotations or by the server file) are never asked about.
While a server was never seen, each of its tools that the file does not declare counts as a write. So that all agents
hold the same for a read, what one has seen of a server counts for all (the catalogue), and a server that nobody has
seen is opened before anything is asked: an operation in the line that turns out to be a read would not pass its turn
on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from omx_tasks.agents.steps import Gathered
from omx_tasks.agents.wire import Wire, awaited
from omx_tasks.broker import turns
from omx_tasks.broker.partitions import partition_of
from omx_tasks.broker.routing import queue_of
from omx_tasks.broker.turns import Asking
from omx_tasks.errors import OmxError
from omx_tasks.graph.marker import task_id
from omx_tasks.graph.stored import StoredPlan, StoredStep, item_of
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.mcp.session import Session
from omx_tasks.store import keys
from omx_tasks.store.scripts import Call, script

#: Makes the arguments of a call; None where there is nothing to call any more.
Arguments = Callable[[], Awaitable[dict[str, Any] | None]]


class WaitsError(OmxError):
    """It is not the operation's turn: its message is to be parked."""

    def __init__(self, server: str, before: int) -> None:
        super().__init__(f"it waits for its turn on {server} ({before} before it)")


@dataclass(slots=True)
class Place:
    """An operation at the turns of its server; ``id`` and ``queue`` are its message's."""

    server: str
    id: str
    rank: int
    queue: str
    resource: str = ""


class Turns:
    """The turns of one agent's operations. Lives on the wire's loop."""

    def __init__(
        self, wire: Wire, servers: Mapping[str, ServerConfig], sessions: SessionPool
    ) -> None:
        self._wire = wire
        self._servers = servers
        self._sessions = sessions
        self._asking: Gathered[Asking] = Gathered(wire, turns.ask)
        self._declared: dict[str, tuple[Session | None, frozenset[str]]] = {}

    def __repr__(self) -> str:
        return f"<Turns servers={sorted(self._servers)}>"

    async def knows(self, step: StoredStep) -> bool:
        """Whether it is known if an operation takes a turn, from its server's session or what an agent has seen."""
        if not self._writes(step) or step.server in self._declared:
            return True
        request = Call(script("offered_1"), (keys.catalogue(),), (step.server,))
        answer, told = awaited()
        self._wire.send(request, told)
        offered = await answer
        if offered is None:
            return False
        tools = json.loads(offered)["tools"]
        read_only = (
            one["name"] for one in tools if (one.get("annotations") or {}).get("readOnlyHint")
        )
        self._declared.setdefault(step.server, (None, frozenset(read_only)))
        return True

    def place(self, run_id: str, plan: StoredPlan, operation: str) -> Place | None:
        """Return the place of an operation that takes a turn; None for one that takes none."""
        step = plan.step(operation)
        calls = step.foreach is None or item_of(operation)[1] is not None
        if not (calls and self._writes(step)):
            return None
        id_ = task_id(run_id, operation)
        queue = partition_of(queue_of(step.capabilities), id_, plan.partitions)
        return Place(step.server, id_, step.rank, queue)

    async def take(self, place: Place, arguments: Arguments, redelivered: bool) -> None:
        """Ask for the turn, unless there is nothing to call any more. Raises `WaitsError`.

        What is ``redelivered`` may be over: then it must not wait in the line to be told so.
        """
        hints = self._servers[place.server].hints
        if hints.resource is not None or redelivered:
            known = await arguments()
            if known is None:
                return
            place.resource = hints.resource_of(known)
        asking = Asking(place.resource, place.id, place.rank, place.queue)
        answer, told = awaited()
        self._asking.add(place.server, asking, told)
        before, lost = turns.asked(await answer)
        if lost is not None:
            self._wire.send(lost.wake(), _ignore)
        if before:
            raise WaitsError(place.server, before)

    def pass_on(self, place: Place) -> asyncio.Future[OmxError | None]:
        """Give up the turn, or the place in the line; the future says what went wrong when the next one is woken."""
        passing = _Passing(self._wire)
        call = turns.pass_on(place.server, place.resource, place.id)
        self._wire.send(call, passing.confirmed, passing.stored)
        return passing.over

    def of(self, server: str) -> dict[str, Any]:
        """Return what a live server's catalogue says: its tools that take turns, and the expression of a resource.

        And which tools only read by the server file, whatever the server says.
        """
        session, hints = self._sessions.live(server), self._servers[server].hints
        tools = frozenset[str]()
        if session is not None and not hints.stateful:
            tools = session.names("tool")
        writes = tools - hints.read_only - self._read_only(server)
        declared = sorted(hints.read_only)
        return {"tools": sorted(writes), "resource": hints.resource, "read_only": declared}

    def _writes(self, step: StoredStep) -> bool:
        config = self._servers.get(step.server)
        if step.kind != "tool" or config is None or step.target in config.hints.read_only:
            return False
        if config.hints.stateful:
            return False
        return step.target not in self._read_only(step.server)

    def _read_only(self, server: str) -> frozenset[str]:
        """Return what a server declares as read-only, by its session or the one before."""
        session, known = self._sessions.live(server), self._declared.get(server)
        if session is not None and (known is None or known[0] is not session):
            known = self._declared[server] = session, session.annotated("readOnlyHint")
        return frozenset() if known is None else known[1]


class _Passing:
    """One turn that is passed: the next one is woken as soon as that is stored, and it is over when it is confirmed.

    Should the first be lost with its node, whoever was woken was told that it is not his turn; then he is woken again.
    """

    def __init__(self, wire: Wire) -> None:
        self.over: asyncio.Future[OmxError | None] = asyncio.get_running_loop().create_future()
        self._wire = wire
        self._stored: Any = None
        self._open = 1  # the turn itself
        self._error: OmxError | None = None

    def stored(self, answer: Any) -> None:
        """Wake whoever has the turn now."""
        self._stored = answer
        if (following := turns.passed(answer)) is not None:
            self._open += 1
            self._wire.send(following.wake(), self._answered)

    def confirmed(self, answer: Any) -> None:
        """Take the answer, or the `OmxError` that came for it."""
        if not isinstance(answer, OmxError) and answer is not self._stored:
            self.stored(answer)
        self._answered(answer)

    def _answered(self, answer: Any) -> None:
        if isinstance(answer, OmxError):
            self._error = self._error or answer
        self._open -= 1
        if self._open == 0:
            self.over.set_result(self._error)


def _ignore(_answer: Any) -> None:
    """A message that was not woken comes back by itself."""
