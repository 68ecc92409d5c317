"""Stateful servers: all that a run does on one is done on one session, which is that run's alone.

::

    an operation on a stateful server ── whose is the session of its run? (one script)
        ├─ nobody's, or ours ──► it is called here; the first one starts a process of the server for this run
        ├─ another agent's ────► its message goes into that agent's own queue
        └─ of an agent that is gone, or a session that ended ──► it fails: `session_lost`

    session: opened ──► the run is over, or nothing was called for `IDLE` seconds ──► closed
                └─ its process ended ──► lost

Calls that may change something are made one after the other.

What a session has become by what was done on it is nowhere else, so a lost one is never replaced by an empty one:
whatever the run still has to do there fails, and says so. When the run is resumed, it gets a new session only if
nothing of it had succeeded there before, or that is done again, too (see `runs.resume`). What waits in the queue of an
agent that is gone is taken by the others, to be told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from omx_tasks.agents.registry import agents
from omx_tasks.broker.routing import PREFIX
from omx_tasks.errors import OmxError, OperationError
from omx_tasks.graph.stored import StoredPlan, item_of
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.session import Session
from omx_tasks.results import joins
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call

#: Seconds without a call after which a session is closed whose run goes on; and between two looks at runs, and agents.
IDLE, EVERY = 600.0, 1.0
#: Seconds between two looks at the queues of agents that are gone.
ADOPT = 5.0
#: The word of the queue that only one agent consumes.
WORD = "agent:"

#: A run, its generation, and a server.
Key: TypeAlias = tuple[str, str, str]
Ask: TypeAlias = Callable[[Call], Awaitable[Any]]
Open: TypeAlias = Callable[[str], Coroutine[Any, Any, Session]]

logger = logging.getLogger(__name__)


@dataclass
class _Held:
    """A session of a run, or that it is lost."""

    opening: asyncio.Task[Session] | None
    used: float
    opened: float
    lost: str = ""

    @property
    def session(self) -> Session | None:
        """The session, once it is open."""
        task = self.opening
        done = task is not None and task.done() and not task.cancelled() and not task.exception()
        return task.result() if task is not None and done else None


class Affinity:
    """The sessions of runs that one agent has. Lives on its loop."""

    def __init__(
        self,
        agent: str,
        servers: Mapping[str, ServerConfig],
        store: Store,
        open_session: Open,
        offer: Callable[[Iterable[str]], None],
    ) -> None:
        self._agent, self._offer = agent, offer
        self._owner = f"{agent} {os.getpid()}"
        self._stateful = frozenset(
            name for name, server in servers.items() if server.hints.stateful
        )
        self._store = store
        self._open = open_session
        self._held: dict[Key, _Held] = {}
        self._turns: dict[Key, asyncio.Lock] = {}
        self._watching: asyncio.Task[None] | None = None
        self._alive: frozenset[str] = frozenset()
        self._seen = 0.0
        self._adopting: asyncio.Task[None] | None = None
        self._adopted: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<Affinity of {self._owner}: {len(self._held)} sessions>"

    async def start(self) -> None:
        """Offer this agent's own queue, where it has stateful servers, and take over those of agents that are gone."""
        if self._stateful:
            self._offer([WORD + self._agent])
            self._adopting = asyncio.create_task(self._adopt(), name="affinity-adopt")

    def holds(self, server: str) -> bool:
        """Whether each run has a session of its own on this server."""
        return server in self._stateful

    async def elsewhere(
        self, run_id: str, plan: StoredPlan, operation: str, ask: Ask
    ) -> StoredPlan | None:
        """Return the plan by which an operation goes to the agent that has its session; None where it is done here."""
        server = plan.step(operation).server
        key = _key(run_id, operation, server)
        if key in self._held:
            return None
        names = [name for name, step in plan.steps.items() if step.server == server]
        owner, *lost = (
            word.decode() for word in await ask(joins.session(run_id, server, self._owner, names))
        )
        if lost:
            self._lose(key, f"{lost[0]!r} of this run succeeded there before it was resumed")
        elif owner not in ("", self._owner):
            agent = owner.rpartition(" ")[0]
            if await self._is_alive(owner):
                return _moved(plan, operation, WORD + agent)
            self._lose(key, f"its agent {agent} is gone")
        return None

    @asynccontextmanager
    async def turn(self, run_id: str, operation: str, server: str) -> AsyncIterator[None]:
        """Be the only one of a run that writes to its session."""
        key = _key(run_id, operation, server)
        async with self._turns.setdefault(key, asyncio.Lock()):
            yield

    async def session(self, run_id: str, operation: str, server: str, ask: Ask) -> Session:
        """Return the session of a run, opened if it is the first time; raises `OperationError`."""
        key = _key(run_id, operation, server)
        held = self._held.get(key)
        if held is None:
            opening = asyncio.create_task(self._open(server), name=f"mcp-open:{server}:{run_id}")
            held = self._held[key] = _Held(opening, time.monotonic(), time.monotonic())
            if self._watching is None or self._watching.done():
                self._watching = asyncio.create_task(self._watch(ask), name="affinity")
        held.used = time.monotonic()
        if held.opening is None:
            raise _error(run_id, server, held.lost)
        session = await asyncio.shield(held.opening)
        if not session.alive:
            raise _error(run_id, server, session.last_words())
        return session

    def sessions(self) -> list[dict[str, Any]]:
        """Return how each session is, as the pool's are told, with its run (from any thread)."""
        now = time.monotonic()
        found = [(key, held, held.session) for key, held in list(self._held.items())]
        return [
            {
                "server": server,
                "state": "busy" if len(session.flights) else "idle",
                "protocol": session.info.protocol,
                "age": round(now - held.opened, 1),
                "pid": session.pid,
                "rss": session.memory,
                "calls": len(session.flights),
                "recycled": 0,
                "shared": False,
                "run": run_id,
            }
            for (run_id, _, server), held, session in found
            if session is not None and session.alive
        ]

    async def close(self) -> None:
        """Close all sessions."""
        for task in (self._watching, self._adopting):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*(self._close(key) for key in list(self._held)))

    async def _adopt(self) -> None:
        """Take over the queues of agents that are gone, for as long as there is something in them."""
        while True:
            await asyncio.sleep(ADOPT)
            with contextlib.suppress(OmxError):
                orphans = await asyncio.to_thread(self._orphans)
                if orphans != self._adopted:
                    self._adopted = orphans
                    self._offer([WORD + self._agent, *orphans])

    def _orphans(self) -> frozenset[str]:
        """Return the words of the queues in which something waits for agents that are not heard any more."""
        names = self._store.command(keys.queue_names(), "SMEMBERS", keys.queue_names())
        own = [name for name in map(bytes.decode, names) if name.startswith(PREFIX + WORD)]
        if not own:
            return frozenset()
        alive = {PREFIX + WORD + one.name for one in agents(self._store)} | {
            PREFIX + WORD + self._agent
        }
        gone = [name for name in own if name not in alive]
        counts = self._store.commands(
            [(keys.places(name), ("HLEN", keys.places(name))) for name in gone]
        )
        return frozenset(
            name.removeprefix(PREFIX) for name, count in zip(gone, counts, strict=True) if count
        )

    async def _watch(self, ask: Ask) -> None:
        """Close what is not needed any more."""
        while self._held:
            await asyncio.sleep(EVERY)
            for run_id, generation in {key[:2] for key in self._held}:
                with contextlib.suppress(OmxError):
                    answer = await ask(joins.look(run_id))
                    state, current = (word.decode() for word in answer)
                    over = state != "running" or current != generation
                    await self._tidy(run_id, generation, over=over)

    async def _tidy(self, run_id: str, generation: str, *, over: bool) -> None:
        for key, held in list(self._held.items()):
            if key[:2] != (run_id, generation):
                continue
            session = held.session
            unused = session is not None and not len(session.flights)
            if over:
                await self._close(key)
            elif unused and time.monotonic() - held.used > IDLE:
                await self._close(key)
                self._lose(key, f"it was closed after {IDLE:.0f} s without a call")

    async def _close(self, key: Key) -> None:
        held = self._held.pop(key, None)
        self._turns.pop(key, None)
        if held is None or held.opening is None:
            return
        held.opening.cancel()
        await asyncio.gather(held.opening, return_exceptions=True)
        if (session := held.session) is not None:
            await session.close()

    def _lose(self, key: Key, why: str) -> None:
        self._held[key] = _Held(None, time.monotonic(), time.monotonic(), why)

    async def _is_alive(self, owner: str) -> bool:
        """Whether an agent is heard, as was seen lately."""
        if owner not in self._alive or time.monotonic() - self._seen > EVERY:
            found = await asyncio.to_thread(agents, self._store)
            self._alive = frozenset(f"{one.name} {one.pid}" for one in found)
            self._seen = time.monotonic()
        return owner in self._alive


def _key(run_id: str, operation: str, server: str) -> Key:
    return run_id, operation.partition(":")[2], server


def _moved(plan: StoredPlan, operation: str, word: str) -> StoredPlan:
    """Return a plan in which an operation requires one agent."""
    name = item_of(operation)[0]
    step = replace(plan.steps[name], capabilities=(word,))
    return replace(plan, steps={name: step}, partitions=1)


def _error(run_id: str, server: str, why: str) -> OperationError:
    return OperationError(
        "session_lost",
        f"the run's session on the stateful server {server!r} is lost, and what was done on it: {why}. "
        f"`omx resume {run_id} --again {server}` does that again, and all that needs it",
    )
