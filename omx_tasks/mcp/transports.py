"""How a server is reached: a process with pipes, streamable HTTP, or the older SSE.

Each is an async context manager that yields the SDK's pair of streams, read side watched.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import anyio
import httpx2
from mcp.client.sse import sse_client
from mcp.client.stdio import get_default_environment
from mcp.client.streamable_http import streamable_http_client

from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.flights import Flights
from omx_tasks.mcp.process import ProcessInput, ProcessOutput, ServerProcess
from omx_tasks.mcp.retry_hint import of_header
from omx_tasks.mcp.watch import WatchedReads

Ended: TypeAlias = Callable[[], None]

# Seconds to connect and send. Answers may take as long as the operation's own timeout allows.
HTTP_TIMEOUT = 30.0
# Too many requests, service unavailable.
BUSY = (429, 503)


@asynccontextmanager
async def stdio(
    process: ServerProcess, config: ServerConfig, agent: str, flights: Flights, ended: Ended
) -> AsyncIterator[tuple[WatchedReads, ProcessInput]]:
    """Start the server's program and stop it at the end.

    It gets the SDK's few safe environment variables, its own ``env``, and ``OMX_AGENT``, by which
    a reaper finds servers whose agent was killed.
    """
    env = {**get_default_environment(), **config.env, "OMX_AGENT": agent}
    try:
        await process.start(config.command, config.args, env, config.cwd)
        yield WatchedReads(ProcessOutput(process), flights, ended), ProcessInput(process)
    finally:
        # A cancelled owner would not get to the end of it.
        with anyio.CancelScope(shield=True):
            await process.stop()


class LastStatus:
    """Remembers the last HTTP status that was not a success; the SDK's errors do not name it."""

    def __init__(self) -> None:
        self.text = ""
        #: In how many seconds the server wants to be asked again, where it refused for being busy and said so.
        self.retry_after: float | None = None

    async def look(self, response: httpx2.Response) -> None:
        """Take note of a response (an httpx event hook)."""
        if response.status_code >= 400:
            self.text = f"HTTP {response.status_code} {response.reason_phrase}".strip()
            busy = response.status_code in BUSY
            self.retry_after = of_header(response.headers.get("retry-after")) if busy else None

    def client(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        """Return an HTTP client that this object watches."""
        # At INFO it logs every URL, and a URL may carry a token.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        hooks: dict[str, list[Callable[[httpx2.Response], Awaitable[None]]]] = {
            "response": [self.look]
        }
        return httpx2.AsyncClient(headers=headers, timeout=timeout, auth=auth, event_hooks=hooks)


@asynccontextmanager
async def http(
    status: LastStatus, config: ServerConfig, flights: Flights, ended: Ended
) -> AsyncIterator[tuple[WatchedReads, object]]:
    """Connect to a streamable HTTP server, with its authenticated pool of connections."""
    patience = httpx2.Timeout(HTTP_TIMEOUT, read=None)
    async with (
        status.client(dict(config.headers), patience) as client,
        streamable_http_client(config.url, http_client=client) as (reads, writes),
    ):
        yield WatchedReads(reads, flights, ended), writes


@asynccontextmanager
async def sse(
    status: LastStatus, config: ServerConfig, flights: Flights, ended: Ended
) -> AsyncIterator[tuple[WatchedReads, object]]:
    """Connect to a server that speaks the older HTTP with server-sent events."""
    async with sse_client(
        config.url,
        dict(config.headers),
        timeout=HTTP_TIMEOUT,
        sse_read_timeout=24 * 3600.0,
        httpx_client_factory=status.client,
    ) as (reads, writes):
        yield WatchedReads(reads, flights, ended), writes
