"""How a server is reached: a process with pipes, streamable HTTP, or the older SSE.

Each is an async context manager that yields the SDK's pair of streams, read side watched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import anyio
import httpx2
from mcp.client.sse import sse_client
from mcp.client.stdio import get_default_environment
from mcp.client.streamable_http import streamable_http_client

from omx_tasks.mcp import launchers, reaper
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.flights import Flights
from omx_tasks.mcp.process import ProcessInput, ProcessOutput, ServerProcess
from omx_tasks.mcp.shared import SharedServer
from omx_tasks.mcp.watch import WatchedReads
from omx_tasks.mcp.web import HTTP_TIMEOUT, Web

Ended: TypeAlias = Callable[[], None]


@asynccontextmanager
async def stdio(
    process: ServerProcess, config: ServerConfig, agent: str, flights: Flights, ended: Ended
) -> AsyncIterator[tuple[WatchedReads, ProcessInput]]:
    """Start the server's program and stop it at the end.

    It gets the SDK's few safe environment variables, its own ``env``, and the marks by which a reaper finds servers
    whose agent was killed.
    """
    env = {**get_default_environment(), **config.env, **reaper.marks(agent)}
    try:
        command, args = launchers.direct(config.command, config.args, env, config.cwd)
        await process.start(command, args, env, config.cwd)
        yield WatchedReads(ProcessOutput(process), flights, ended), ProcessInput(process)
    finally:
        # A cancelled owner would not get to the end of it.
        with anyio.CancelScope(shield=True):
            await process.stop()


@asynccontextmanager
async def shared(
    server: SharedServer, flights: Flights, ended: Ended
) -> AsyncIterator[tuple[WatchedReads, ProcessInput]]:
    """Speak to a server that others share, and leave it at the end."""
    try:
        if server.error is not None:
            raise server.error
        yield WatchedReads(ProcessOutput(server), flights, ended), ProcessInput(server)
    finally:
        with anyio.CancelScope(shield=True):
            await server.stop()


@asynccontextmanager
async def http(
    web: Web, config: ServerConfig, flights: Flights, ended: Ended
) -> AsyncIterator[tuple[WatchedReads, object]]:
    """Connect to a streamable HTTP server, with its authenticated pool of connections."""
    patience = httpx2.Timeout(HTTP_TIMEOUT, read=None)
    async with (
        web.authorized() as auth,
        web.client(dict(config.headers), patience, auth) as client,
        streamable_http_client(
            config.url, http_client=client, max_sse_event_size=web.max_message
        ) as (reads, writes),
    ):
        yield WatchedReads(reads, flights, ended), writes


@asynccontextmanager
async def sse(
    web: Web, config: ServerConfig, flights: Flights, ended: Ended
) -> AsyncIterator[tuple[WatchedReads, object]]:
    """Connect to a server that speaks the older HTTP with server-sent events."""
    async with (
        web.authorized() as auth,
        sse_client(
            config.url,
            dict(config.headers),
            timeout=HTTP_TIMEOUT,
            sse_read_timeout=24 * 3600.0,
            httpx_client_factory=web.client,
            auth=auth,
        ) as (reads, writes),
    ):
        yield WatchedReads(reads, flights, ended), writes
