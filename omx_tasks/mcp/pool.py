"""The sessions of one agent: one per server, opened in parallel, reopened when they die."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from omx_tasks.errors import ConfigurationError, OperationError, did_you_mean
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.session import Session, settle

# Seconds: the first pause after a failure, the longest one, and how long a session must have
# lived for its death not to count as a failure to start.
PAUSE, LONGEST_PAUSE, SETTLED = 0.5, 30.0, 10.0


class _Entry:
    """One server's session, or why there is none."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.session: Session | None = None
        self.opened_at = 0.0
        self.opening: asyncio.Task[Session | OperationError] | None = None
        self.failures = 0
        self.not_before = 0.0
        self.reason: OperationError | None = None


class SessionPool:
    """Hands out live sessions by server name. Lives on one loop; made after any fork.

    ``deadline`` is the seconds that one server may take to open; ``environ`` resolves ``${…}``;
    ``agent`` and ``log_dir`` are as in ``Session.open``; ``clock`` returns seconds.
    """

    def __init__(
        self,
        servers: Mapping[str, ServerConfig],
        *,
        deadline: float,
        agent: str,
        environ: Mapping[str, str],
        log_dir: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entries = {name: _Entry(config) for name, config in servers.items()}
        self._deadline = deadline
        self._agent = agent
        self._environ = environ
        self._log_dir = log_dir
        self._clock = clock
        self._closed = False

    def __repr__(self) -> str:
        live = [name for name, entry in self._entries.items() if entry.session is not None]
        return f"<SessionPool {self._agent} sessions={live} of={list(self._entries)}>"

    async def warm(self) -> dict[str, OperationError | None]:
        """Open every server in parallel; return None or the reason it failed, per name."""
        outcomes = await asyncio.gather(*(self._outcome(name) for name in self._entries))
        return dict(zip(self._entries, outcomes, strict=True))

    def live(self, name: str) -> Session | None:
        """Return the session of a server if it is open: then there is nothing to wait for."""
        entry = self._entries.get(name)
        session = None if entry is None else entry.session
        return session if session is not None and session.alive else None

    async def get(self, name: str) -> Session:
        """Return the live session of a server, opening it if need be.

        Raises ``OperationError``: of kind ``server`` when there is no such server, when it cannot
        start, or at once with the last reason while it is paused after failures.
        """
        entry = self._entry(name)
        if entry.session is not None:
            if entry.session.alive:
                return entry.session
            self._bury(entry)
        if entry.opening is None:
            self._check_pause(entry)
            entry.opening = asyncio.create_task(self._open(entry), name=f"mcp-open:{name}")
        # Shielded: the opening goes on for the others when one who waits is cancelled.
        outcome = await asyncio.shield(entry.opening)
        if isinstance(outcome, OperationError):
            raise OperationError(outcome.kind, outcome.message)
        return outcome

    async def close(self) -> None:
        """Close every session in parallel; a few seconds at most. ``get`` fails from now on."""
        self._closed = True
        openings = [entry.opening for entry in self._entries.values() if entry.opening is not None]
        for opening in openings:
            opening.cancel()
        await asyncio.gather(*openings, return_exceptions=True)
        live = [entry.session for entry in self._entries.values() if entry.session is not None]
        await asyncio.gather(*(session.close() for session in live))
        await settle()
        for entry in self._entries.values():
            entry.session = None

    def _entry(self, name: str) -> _Entry:
        if self._closed:
            raise OperationError(
                "connection", "this agent is shutting down; its sessions are closed"
            )
        entry = self._entries.get(name)
        if entry is None:
            raise OperationError(
                "server",
                f"this agent has no server {name!r}.{did_you_mean(name, self._entries)} "
                f"It has: {', '.join(sorted(self._entries)) or 'none'}",
            )
        return entry

    async def _outcome(self, name: str) -> OperationError | None:
        try:
            await self.get(name)
        except OperationError as error:
            return error
        return None

    async def _open(self, entry: _Entry) -> Session | OperationError:
        try:
            session = await Session.open(
                entry.config.resolved(self._environ),
                deadline=self._deadline,
                agent=self._agent,
                log_dir=self._log_dir,
            )
        except ConfigurationError as error:
            return self._failed(entry, OperationError("server", str(error)))
        except OperationError as error:
            return self._failed(entry, error)
        finally:
            entry.opening = None
        entry.session, entry.opened_at = session, self._clock()
        return session

    def _failed(self, entry: _Entry, error: OperationError) -> OperationError:
        entry.failures += 1
        entry.reason = error
        pause = min(LONGEST_PAUSE, PAUSE * 2.0 ** (entry.failures - 1))
        entry.not_before = self._clock() + pause
        return error

    def _bury(self, entry: _Entry) -> None:
        """Drop a session that died. The first early death is mended at once, more are paused on."""
        assert entry.session is not None
        dead, entry.session = entry.session, None
        if self._clock() - entry.opened_at >= SETTLED:
            entry.failures = 0
            return
        first = entry.failures == 0
        self._failed(entry, OperationError("server", dead.last_words()))
        if first:
            entry.not_before = 0.0

    def _check_pause(self, entry: _Entry) -> None:
        left = entry.not_before - self._clock()
        if left > 0 and entry.reason is not None:
            raise OperationError(
                entry.reason.kind,
                f"not tried again for {left:.1f} s after {entry.failures} failures; the last was: "
                f"{entry.reason.message}",
            )
