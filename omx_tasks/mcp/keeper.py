"""Keeps one server up for as long as its agent lives: opens its session, and anew when that is gone.

::

    no session ──opened──► session ──ended──► no session          (anew at once, or after the circuit's pause)
        │                     │
        └─ does not start     ├─ a call timed out ──► does it answer? ── yes: nothing happens
           (circuit opens)    │                            └─ no: circuit opens; without calls under way it is ended
                              └─ the pause of an open circuit is over ──► does it answer? ── yes: circuit closes
                                                                              └─ no: as above

So a server that died, hangs, or could not start when its agent did comes back by itself. Calls that are under way are
never cut off by this: one that takes long on a server that is busy with it may be as good as any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from omx_tasks.errors import ConfigurationError, OperationError
from omx_tasks.mcp.circuit import Circuit, State
from omx_tasks.mcp.session import Session

#: Seconds that a session must have lived for the deaths before its own not to count.
SETTLED = 10.0
#: Seconds in which a server answers that is alive.
PULSE = 5.0

#: Opens a session; raises `OperationError` or `ConfigurationError`.
Open: TypeAlias = Callable[[], Awaitable[Session]]
#: Told, by server, of each session that was opened, and why one could not be.
Told: TypeAlias = Callable[[str, Session | OperationError], None]
#: Told of a circuit that changed.
Changed: TypeAlias = Callable[[Circuit], None]

logger = logging.getLogger(__name__)


class Keeper:
    """The session of one server, or why there is none. Lives on one loop."""

    def __init__(
        self,
        server: str,
        open_session: Open,
        told: Told = lambda *_: None,
        changed: Changed = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self.circuit = Circuit(server, self._circuit_changed, clock)
        self._open_session = open_session
        self._told = told
        self._changed = changed
        self._clock = clock
        self._session: Session | None = None
        self._opened_at = 0.0
        self._opening: asyncio.Task[Session | OperationError] | None = None
        self._task: asyncio.Task[None] | None = None
        self._suspected = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Keeper {self._session!r} {self.circuit!r}>"

    @property
    def live(self) -> Session | None:
        """The session, if calls can and may be made on it now."""
        session = self._session
        return session if session is not None and session.alive and self.circuit.closed else None

    async def get(self) -> Session:
        """Return the session, opened if need be; raises `OperationError`, at once while the circuit is open."""
        self._bury()
        if not self.circuit.closed and (self._session is not None or self.circuit.pause > 0):
            raise self.circuit.refusal()
        return self._session or await self._opened()

    def keep(self) -> None:
        """See to the server from now on."""
        self._task = asyncio.create_task(self._keep(), name=f"mcp-keep:{self.server}")

    def suspect(self, error: OperationError) -> None:
        """A call was not answered in time: count that, and see whether the server answers at all."""
        self.circuit.failed(error)
        self._suspected.set()

    def refused(self, error: OperationError) -> None:
        """A call was not taken by a server to which there is a connection: the same."""
        if self.live is not None:
            self.suspect(error)

    async def close(self) -> None:
        """See to it no more, and end the session."""
        tasks = [task for task in (self._task, self._opening) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._end()

    async def _keep(self) -> None:
        while True:
            self._bury()
            if not self.circuit.closed:
                await asyncio.sleep(self.circuit.pause)
                self.circuit.probe()
                await self._examine()
                continue
            if self._session is not None:
                await self._trouble(self._session)
            if self.circuit.closed:
                await self._examine()

    async def _trouble(self, session: Session) -> None:
        """Wait until the session has ended or a call was not answered in time."""
        waits = [asyncio.ensure_future(wait) for wait in (session.ended(), self._suspected.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._suspected.clear()
        if not session.alive:
            await session.connection_error()  # what its end is called is known a moment later

    async def _examine(self) -> None:
        """Find out whether the server can be called; open a session where there is none."""
        self._bury()
        session = self._session
        if session is None:
            if self.circuit.state != "open":
                with contextlib.suppress(OperationError):
                    await self._opened()
        elif await session.answers(PULSE):
            self.circuit.mended()
        elif session.alive:
            refused = session.refusal
            how = f"answers with {refused}" if refused else f"did not answer for {PULSE:g} s"
            error = OperationError("server", f"server {self.server!r} {how}")
            self.circuit.failed(error, fatal=True)
            if not len(session.flights):
                await self._end()

    async def _opened(self) -> Session:
        if self._opening is None:
            self.circuit.probe()
            self._opening = asyncio.create_task(self._open(), name=f"mcp-open:{self.server}")
        # Shielded: the opening goes on for the others when one who waits is cancelled.
        outcome = await asyncio.shield(self._opening)
        if isinstance(outcome, OperationError):
            raise OperationError(outcome.kind, outcome.message)
        return outcome

    async def _open(self) -> Session | OperationError:
        try:
            session = await self._open_session()
        except (ConfigurationError, OperationError) as reason:
            error = OperationError("server", str(reason))
            self.circuit.failed(error, fatal=True)
            self._told(self.server, error)
            return error
        finally:
            self._opening = None
        self._session, self._opened_at = session, self._clock()
        self.circuit.mended()
        self._told(self.server, session)
        return session

    def _bury(self) -> None:
        """Drop a session that died."""
        if self._session is None or self._session.alive:
            return
        dead, self._session = self._session, None
        if self._clock() - self._opened_at >= SETTLED:
            self.circuit.answered()
        self.circuit.failed(OperationError("server", dead.last_words()))

    async def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _circuit_changed(self, circuit: Circuit, before: State) -> None:
        if circuit.closed:
            logger.warning("server %r can be called again", self.server)
        elif before == "closed":
            logger.error("server %r is not called for now: %s", self.server, circuit.reason)
        self._changed(circuit)
