"""The read side of a connection, watched: when it ends, and when the server asks for roots.

The client does not announce roots, because servers that hear of them ask on their own at any time.
A server that asks nevertheless is only seen here; the SDK answers it with an error.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest

from omx_tasks.mcp.flights import ROOTS, Flights


class Source(Protocol):
    """What a transport yields messages with."""

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message, or raise ``anyio.EndOfStream``."""

    async def aclose(self) -> None:
        """Close this side."""


class WatchedReads:
    """Passes on what ``source`` yields; calls ``on_end`` once when there is no more."""

    def __init__(self, source: Source, flights: Flights, on_end: Callable[[], None]) -> None:
        self._source = source
        self._flights = flights
        self._on_end = on_end
        self.last_context: contextvars.Context | None = None

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message; raises ``anyio.EndOfStream`` after the last."""
        try:
            item = await self._source.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            self._on_end()
            raise
        self.last_context = getattr(self._source, "last_context", None)
        if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCRequest):
            self._look(item.message)
        return item

    async def aclose(self) -> None:
        """Close the source."""
        await self._source.aclose()

    def _look(self, request: JSONRPCRequest) -> None:
        if request.method == ROOTS:
            self._flights.asked(ROOTS, self.last_context or contextvars.Context())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
