"""The sessions of one agent: one per server, opened in parallel, each kept open by its keeper, or left cold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from omx_tasks import memory
from omx_tasks.errors import ConfigurationError, OperationError, did_you_mean
from omx_tasks.mcp.circuit import Circuit
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.keeper import Changed, Keeper, Recycled, Told
from omx_tasks.mcp.program import MAX_MESSAGE
from omx_tasks.mcp.session import Session, settle
from omx_tasks.mcp.shared import SharedServer, Visits
from omx_tasks.settings import Share

#: Seconds between two looks at what servers use.
WEIGH = 2.0


class SessionPool:
    """Hands out live sessions by server name. Lives on one loop; made after any fork.

    ``deadline`` is the seconds that one server may take to open; ``environ`` resolves ``${…}``;
    ``agent``, ``log_dir`` and ``max_message`` are as in ``Session.open``; ``told`` hears of each session that
    is opened, and why one could not be, ``changed`` of each circuit that changed, ``recycled`` of each server that was
    replaced for its memory; ``clock`` returns seconds; ``share`` says which servers
    are shared with the other agents of the machine.
    """

    def __init__(
        self,
        servers: Mapping[str, ServerConfig],
        *,
        deadline: float,
        agent: str,
        environ: Mapping[str, str],
        log_dir: Path | None = None,
        max_message: int = MAX_MESSAGE,
        told: Told = lambda *_: None,
        changed: Changed = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        recycled: Recycled = lambda *_: None,
        share: Share = Share.NEVER,
    ) -> None:
        self._deadline = deadline
        self._agent = agent
        self._environ = environ
        self._log_dir = log_dir
        self._max_message = max_message
        self._keepers = {
            name: Keeper(name, partial(self._open, config), told, changed, clock, recycled)
            for name, config in servers.items()
        }
        self._visits = Visits(
            share,
            environ,
            log_dir=log_dir,
            max_message=max_message,
            deadline=deadline,
        )
        self._configs = dict(servers)
        self._closed = False
        self._weighing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        live = [name for name, keeper in self._keepers.items() if keeper.live is not None]
        return f"<SessionPool {self._agent} sessions={live} of={list(self._keepers)}>"

    async def warm(self, names: Collection[str] | None = None) -> dict[str, OperationError | None]:
        """Open servers (default: all) in parallel; return None or the reason it failed, per name.

        They are seen to from now on. The others are cold until they are kept, or called.
        """
        first = list(self._keepers if names is None else names)
        outcomes = await asyncio.gather(*map(self._outcome, first))
        for name in first:
            self.keep(name)
        self._weighing = asyncio.create_task(self._weigh(), name="mcp-weigh")
        return dict(zip(first, outcomes, strict=True))

    def keep(self, name: str) -> None:
        """See to it from now on that a server is up."""
        self._keeper(name).keep()

    def rest(self, name: str) -> None:
        """Let a server be down from now on, unless it is called."""
        self._keeper(name).rest()

    def kept(self, name: str) -> bool:
        """Whether it is seen to that a server is up."""
        return self._keeper(name).kept

    def busy(self, name: str) -> bool:
        """Whether calls to a server are under way."""
        return self._keeper(name).busy

    def live(self, name: str) -> Session | None:
        """Return the session of a server if it is open: then there is nothing to wait for."""
        keeper = self._keepers.get(name)
        return None if keeper is None else keeper.live

    async def get(self, name: str) -> Session:
        """Return the live session of a server, opening it if need be.

        Raises ``OperationError``: of kind ``server`` when there is no such server, when it cannot
        start, or at once with the last reason while its circuit is open.
        """
        return await self._keeper(name).get()

    def answered(self, name: str) -> None:
        """Tell that a call was answered, be it with an error."""
        self._keeper(name).circuit.answered()

    def timed_out(self, name: str, error: OperationError) -> None:
        """Tell that a call was not answered in time."""
        self._keeper(name).suspect(error)

    def refused(self, name: str, error: OperationError) -> None:
        """Tell that the server, or what stands before it, did not take a call; a lost connection is seen itself."""
        self._keeper(name).refused(error)

    def circuits(self) -> dict[str, Circuit]:
        """Return the circuit of each server."""
        return {name: keeper.circuit for name, keeper in self._keepers.items()}

    def sessions(self) -> list[dict[str, Any]]:
        """Return how each session is: server, state, protocol, age, pid, memory (from any thread)."""
        return [one for keeper in self._keepers.values() for one in keeper.sessions()]

    async def close(self) -> None:
        """Close every session in parallel; a few seconds at most. ``get`` fails from now on."""
        self._closed = True
        if self._weighing is not None:
            self._weighing.cancel()
            await asyncio.gather(self._weighing, return_exceptions=True)
        await asyncio.gather(*(keeper.close() for keeper in self._keepers.values()))
        await settle()

    async def _weigh(self) -> None:
        """See now and then what the servers' processes use."""
        while True:
            pids = {pid for keeper in self._keepers.values() for pid in keeper.pids()}
            used = await asyncio.to_thread(memory.of_trees, pids) if pids else {}
            for keeper in self._keepers.values():
                keeper.weigh(used)
            await asyncio.sleep(WEIGH)

    def _keeper(self, name: str) -> Keeper:
        if self._closed:
            raise OperationError(
                "connection", "this agent is shutting down; its sessions are closed"
            )
        keeper = self._keepers.get(name)
        if keeper is None:
            raise OperationError(
                "server",
                f"this agent has no server {name!r}.{did_you_mean(name, self._keepers)} "
                f"It has: {', '.join(sorted(self._keepers)) or 'none'}",
            )
        return keeper

    async def _outcome(self, name: str) -> OperationError | None:
        try:
            await self.get(name)
        except OperationError as error:
            return error
        return None

    async def _open(self, config: ServerConfig) -> Session:
        """Open a session to a process that others share, where that may be, else to one of its own."""
        config = config.resolved(self._environ)
        server = await self._visits.to(config)
        session = await self._opened(config, server)
        if server is None:
            return session
        fits = self._visits.fits(config, session.description["tools"])
        server.judge(shared=fits)
        if fits:
            return session
        await session.close()
        return await self._opened(config, None)

    async def open_own(self, name: str) -> Session:
        """Open one more session of a server, with a process of its own; whoever asks keeps and closes it."""
        try:
            return await self._opened(self._configs[name].resolved(self._environ), None)
        except ConfigurationError as error:
            raise OperationError("server", str(error)) from error

    async def _opened(self, config: ServerConfig, server: SharedServer | None) -> Session:
        return await Session.open(
            config,
            deadline=self._deadline,
            agent=self._agent,
            log_dir=self._log_dir,
            max_message=self._max_message,
            shared=server,
        )
