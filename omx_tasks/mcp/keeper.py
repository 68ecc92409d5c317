"""Keeps one server up for as long as it is to be: opens its session, and anew when that is gone.

::

    no session ──opened──► session ──ended──► no session          (anew at once, or after the circuit's pause)
        │                     │
        └─ does not start     ├─ a call timed out, or ──► does it answer? ── yes: nothing happens
           (circuit opens)    │  none was made lately          └─ no: circuit opens; without calls under way it is ended
                              ├─ it uses too much memory ──► another one is opened; it ends when its last call has
                              └─ the pause of an open circuit is over ──► does it answer? ── yes: circuit closes
                                                                              └─ no: as above

So a server that died, hangs, or could not start when its agent did comes back by itself. Calls that are under way are
never cut off by this: one that takes long on a server that is busy with it may be as good as any other. A server that
has nothing to do is asked now and then, so that one that hangs is found before a call is sent to it.

One that is not to be up `rest`s: it has no session until it is kept again, or called.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from omx_tasks import sizes
from omx_tasks.errors import ConfigurationError, OperationError
from omx_tasks.mcp.circuit import Circuit, State
from omx_tasks.mcp.session import Session

#: Seconds that a session must have lived for the deaths before its own not to count.
SETTLED = 10.0
#: Seconds in which a server answers that is alive.
PULSE = 5.0
#: Seconds after which a server that has nothing to do is asked whether it is there.
IDLE = 15.0
#: Seconds that a session must have lived to be replaced for its memory, lest it be done all the time where the limit
#: is below what the server needs at the least.
TENURE = 10.0
#: Seconds that a session which is replaced stays for calls that have just taken it.
LINGER = 0.5

#: Opens a session; raises `OperationError` or `ConfigurationError`.
Open: TypeAlias = Callable[[], Awaitable[Session]]
#: Told, by server, of each session that was opened, and why one could not be.
Told: TypeAlias = Callable[[str, Session | OperationError], None]
#: Told of a circuit that changed.
Changed: TypeAlias = Callable[[Circuit], None]
#: Told, by server, that it was replaced, with the bytes that it used and those that it may use.
Recycled: TypeAlias = Callable[[str, int, int], None]

_FIRST = asyncio.FIRST_COMPLETED
_NONE = {
    "protocol": "",
    "age": None,
    "pid": None,
    "rss": 0,
    "calls": 0,
    "recycled": 0,
    "shared": False,
    "run": "",
}

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
        recycled: Recycled = lambda *_: None,
    ) -> None:
        self.server = server
        #: How many times it was replaced for its memory.
        self.recycled = 0
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
        self._told_recycled = recycled
        self._leaving: dict[asyncio.Task[None], Session] = {}

    def __repr__(self) -> str:
        return f"<Keeper {self._session!r} {self.circuit!r}>"

    @property
    def live(self) -> Session | None:
        """The session, if calls can and may be made on it now."""
        session = self._session
        return session if session is not None and session.alive and self.circuit.closed else None

    @property
    def busy(self) -> bool:
        """Whether calls are under way."""
        return self._session is not None and len(self._session.flights) > 0

    async def get(self) -> Session:
        """Return the session, opened if need be; raises `OperationError`, at once while the circuit is open."""
        self._bury()
        if not self.circuit.closed and (self._session is not None or self.circuit.pause > 0):
            raise self.circuit.refusal()
        return self._session or await self._opened()

    @property
    def kept(self) -> bool:
        """Whether it is seen to that the server is up."""
        return self._task is not None

    def keep(self) -> None:
        """See to the server from now on."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"mcp-keep:{self.server}")

    def rest(self) -> None:
        """See to the server no more; its session ends when its last call has."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        session, self._session = self._session, None
        if session is not None:
            self._lead_out(session)

    def suspect(self, error: OperationError) -> None:
        """A call was not answered in time: count that, and see whether the server answers at all."""
        self.circuit.failed(error)
        self._suspected.set()

    def refused(self, error: OperationError) -> None:
        """A call was not taken by a server to which there is a connection: the same."""
        if self.live is not None:
            self.suspect(error)

    def sessions(self) -> list[dict[str, Any]]:
        """Return how its sessions are, those that are on their way out last (from any thread)."""
        now, session = self._clock(), self._session
        leaving = [_about(one, "draining", None, 0) for one in list(self._leaving.values())]
        if session is None:
            return [{**_NONE, "server": self.server, "state": self._absence()}, *leaving]
        state: str = self.circuit.state
        if self.circuit.closed:
            state = "busy" if len(session.flights) else "idle"
        return [_about(session, state, now - self._opened_at, self.recycled), *leaving]

    def _absence(self) -> str:
        """Return why there is no session."""
        if not self.circuit.closed:
            return self.circuit.state
        if self._opening is not None:
            return "warming"
        return "none" if self.kept else "cold"

    def pids(self) -> list[int]:
        """Return the processes of its sessions."""
        found = (self._session, *self._leaving.values())
        return [one.pid for one in found if one is not None and one.pid is not None]

    def weigh(self, memory: Mapping[int, int]) -> None:
        """Take note of what processes use; a server that uses too much is replaced."""
        for leaving in self._leaving.values():
            leaving.memory = memory.get(leaving.pid or 0, 0)
        session = self._session
        if session is None:
            return
        session.memory = memory.get(session.pid or 0, 0)
        limit = session.config.hints.memory
        settled = self._clock() - self._opened_at >= TENURE
        if limit is not None and session.memory > limit and settled and self.live is session:
            self._replace(session, limit)

    def _replace(self, session: Session, limit: int) -> None:
        self._session = None
        self.recycled += 1
        if session.shared is not None:
            session.shared.retire()
        self._lead_out(session)
        logger.warning(
            "server %r uses %s and may use %s: another one takes its place",
            self.server,
            sizes.shown(session.memory),
            sizes.shown(limit),
            extra={"server": self.server},
        )
        self._told_recycled(self.server, session.memory, limit)
        self._suspected.set()  # whoever sees to it opens another one

    def _lead_out(self, session: Session) -> None:
        task = asyncio.create_task(_leave(session), name=f"mcp-leave:{self.server}")
        self._leaving[task] = session
        task.add_done_callback(self._leaving.pop)

    async def close(self) -> None:
        """See to it no more, and end the session."""
        kept = [task for task in (self._task, self._opening) if task is not None]
        tasks = [*kept, *self._leaving]
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
        """Wait until the session has ended, a call was not answered in time, or none was made for a while."""
        waits = [asyncio.ensure_future(wait) for wait in (session.ended(), self._suspected.wait())]
        try:
            while True:
                done, _ = await asyncio.wait(waits, timeout=IDLE, return_when=_FIRST)
                if done or not len(session.flights):
                    break
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
                if session.shared is not None:
                    session.shared.suspect()
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
        about = {"server": self.server}
        if circuit.closed:
            logger.warning("server %r can be called again", self.server, extra=about)
        elif before == "closed":
            logger.error(
                "server %r is not called for now: %s", self.server, circuit.reason, extra=about
            )
        self._changed(circuit)


async def _leave(session: Session) -> None:
    """End a session once the calls on it are over."""
    try:
        await asyncio.sleep(LINGER)
        await session.flights.landed()
    finally:
        await session.close()


def _about(session: Session, state: str, age: float | None, recycled: int) -> dict[str, Any]:
    return {
        "server": session.name,
        "state": state,
        "protocol": session.info.protocol,
        "age": None if age is None else round(age, 1),
        "pid": session.pid,
        "rss": session.memory,
        "calls": len(session.flights),
        "recycled": recycled,
        "shared": session.shared is not None,
        "run": "",
    }
