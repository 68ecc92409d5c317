"""The calls in flight on one session, and what happens when the server asks back.

In an unattended run nobody answers sampling, elicitation or roots, so the call that caused the
question must fail at once and say why. Which call caused it?

1. The connection tells: over HTTP the question arrives on the call's own stream, and from protocol
   2026-07-28 on it is part of the call's result. That call fails at once.
2. Otherwise, with exactly one call in flight, it is that one.
3. With several in flight, the question is refused and each of them that then fails is said to have
   failed for it; one that succeeds all the same is a success.

Roots are never guessed (rule 3 instead of 2), because servers also ask for them on their own.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from omx_tasks.errors import OperationError
from omx_tasks.mcp.refusal import Refusal

logger = logging.getLogger(__name__)

SAMPLING, ELICITATION, ROOTS = "sampling/createMessage", "elicitation/create", "roots/list"

_current: contextvars.ContextVar[Flight | None] = contextvars.ContextVar(
    "omx_mcp_flight", default=None
)


class Flight:
    """One call that waits for its answer."""

    __slots__ = ("asked", "clock", "http", "refusal")

    def __init__(self) -> None:
        self.clock: asyncio.Timeout | None = None
        self.asked: str | None = None
        #: What the server refused it with, over HTTP.
        self.http: Refusal | None = None
        self.refusal: OperationError | None = None

    def fail(self, error: OperationError) -> None:
        """End the call now with ``error``; the server is told that it is cancelled."""
        self.refusal = error
        if self.clock is not None and not self.clock.expired():
            self.clock.reschedule(asyncio.get_running_loop().time())


class Flights:
    """All calls in flight on the session of one server."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._all: set[Flight] = set()
        self._landed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._all)

    @contextmanager
    def one(self) -> Iterator[Flight]:
        """Register a call for as long as the block lasts."""
        flight = Flight()
        self._all.add(flight)
        token = _current.set(flight)
        try:
            yield flight
        finally:
            _current.reset(token)
            self._all.discard(flight)
            if not self._all:
                self._landed.set()

    async def landed(self) -> None:
        """Wait until no call is in flight."""
        while self._all:
            self._landed.clear()
            await self._landed.wait()

    def refused(self, refusal: Refusal) -> None:
        """Take note of what the request was refused with that is made in this context."""
        flight = _current.get()
        if flight is not None:
            flight.http = refusal

    def asked(self, method: str, context: contextvars.Context | None = None) -> None:
        """Act on a request from the server; ``context`` is that of the message, where known."""
        flight = _current.get() if context is None else context.get(_current)
        if flight is None and method != ROOTS and len(self._all) == 1:
            (flight,) = self._all
        if flight is not None:
            flight.fail(self.refusal(method))
            return
        for waiting in self._all:
            waiting.asked = method
        logger.warning("server %r asked for %s; refused", self._server, method)

    def refusal(self, method: str) -> OperationError:
        """Return the error of a call whose server asked for ``method``."""
        return OperationError(
            "client_request",
            f"server {self._server!r} asked for {method}, which an unattended run cannot answer; "
            "use a tool, or arguments, that need no reply from a person or a model",
        )
