"""A live connection to one server, shared by many operations in flight.

::

    opening ──▶ alive ──▶ ended        the server went away, or close() was called
        └────────────────▶ ended       it could not start, or was silent until the deadline

One owner task per connection enters and leaves the SDK's client, so that no caller ever runs inside
its cancel scope: a server that is killed ends the owner and the calls in flight, nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import anyio
import jsonschema.validators  # noqa: F401 - else the SDK imports it in the middle of the first call
from mcp import Client, MCPError
from mcp.client import CacheConfig, ClientRequestContext
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_REQUEST,
    REQUEST_TIMEOUT,
    CreateMessageRequestParams,
    ElicitRequestParams,
    ErrorData,
    Implementation,
)

from omx_tasks.errors import OperationError
from omx_tasks.mcp import beforehand, listing, postmortem, transports
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.flights import ELICITATION, SAMPLING, Flights
from omx_tasks.mcp.process import ServerProcess
from omx_tasks.mcp.program import MAX_MESSAGE
from omx_tasks.mcp.shared import SharedServer
from omx_tasks.mcp.stderr import LastWords, log_of
from omx_tasks.mcp.web import Web

logger = logging.getLogger(__name__)

# Seconds that close() waits; what takes longer is ended in the background.
CLOSE = 4.8
# Seconds that a failed call waits for the exit status and last words of its server.
LAST_WORDS = 0.5

# Closing in the background outlives whoever asked for it; a task nobody holds may be collected.
_owners: set[asyncio.Task[None]] = set()
_leaving: set[asyncio.Task[None]] = set()


class Info(NamedTuple):
    """Who answers, in its own words, and the protocol version that was agreed on."""

    name: str
    version: str
    protocol: str


class Session:
    """One connection. Made by ``open``; belongs to the loop it was opened on."""

    def __init__(
        self,
        config: ServerConfig,
        agent: str,
        log_dir: Path | None,
        max_message: int,
        shared: SharedServer | None = None,
    ) -> None:
        self.config = config
        self.flights = Flights(config.name)
        self.cold_seconds = 0.0
        #: Bytes that its server's processes used when they were looked at last.
        self.memory = 0
        self.info = Info("", "", "")
        self._agent = agent
        self._offers: dict[str, Any] = {}
        self._client: Client | None = None
        self._shared = shared
        self._process: ServerProcess | SharedServer | None = shared
        self._web = Web(config, self.flights, max_message)
        self._log_dir = log_dir
        self._max_message = max_message
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._end = asyncio.Event()
        self._scope = anyio.CancelScope()
        self._gone = False
        self._closing = False
        self._error: BaseException | None = None
        self._owner: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "alive" if self.alive else "ended"
        return f"<Session {self.name} {state} in_flight={len(self.flights)}>"

    @classmethod
    async def open(
        cls,
        config: ServerConfig,
        *,
        deadline: float,
        agent: str,
        log_dir: Path | None = None,
        max_message: int = MAX_MESSAGE,
        shared: SharedServer | None = None,
    ) -> Session:
        """Start or reach the server, negotiate, and read what it offers.

        ``deadline`` is in seconds for all of it; ``agent`` names the process that owns the
        server; standard error is also appended to a file in ``log_dir``; ``max_message`` is how many bytes
        a message over pipes may have; ``shared`` is the connection to a process that others use, too.
        A ``config`` that is not resolved yet is resolved from this process's environment. Raises ``OperationError``
        of kind ``server`` that says why it failed and what to do.
        """
        session = cls(config.resolved(os.environ), agent, log_dir, max_message, shared)
        began = time.monotonic()
        # An empty context: the first operation's trace and call must not leak into the owner.
        owner = asyncio.create_task(
            session._own(), name=f"mcp:{config.name}", context=contextvars.Context()
        )
        session._owner = owner
        _owners.add(owner)
        owner.add_done_callback(_owners.discard)
        try:
            await asyncio.wait((session._opened,), timeout=deadline)
        except asyncio.CancelledError:
            session._abort()
            await session.close()
            raise
        if not session.alive:
            raise await session._cannot_start(deadline)
        session.cold_seconds = time.monotonic() - began
        return session

    @property
    def name(self) -> str:
        """The name of the server in the server file."""
        return self.config.name

    @property
    def alive(self) -> bool:
        """Whether calls can be made; a server whose input is closed is gone, even before its output ends."""
        deaf = self._process is not None and not self._process.takes_input
        return self._client is not None and not self._gone and not deaf

    @property
    def pid(self) -> int | None:
        """The process id of a server that was started here."""
        return None if self._process is None else self._process.pid

    @property
    def shared(self) -> SharedServer | None:
        """The connection to the server's process, where others use it, too."""
        return self._shared

    @property
    def client(self) -> Client:
        """The SDK's client; raises ``OperationError`` of kind ``connection`` when it ended."""
        if self._client is None or self._gone:
            raise OperationError("connection", self.last_words())
        return self._client

    @property
    def description(self) -> dict[str, Any]:
        """What the server is and offers, as plain JSON (see ``catalogue.describe``)."""
        return {
            "server": self.info.name or self.name,
            "version": self.info.version,
            "protocol": self.info.protocol,
            "cold_seconds": self.cold_seconds,
            **self._offers,
        }

    def names(self, kind: Literal["tool", "prompt"]) -> frozenset[str]:
        """Return the names of the tools or prompts that the server listed."""
        return frozenset(item["name"] for item in self._offers.get(f"{kind}s", ()))

    def annotated(self, hint: str) -> frozenset[str]:
        """Return the names of the tools whose annotations say so."""
        tools = self._offers.get("tools", ())
        return frozenset(
            tool["name"] for tool in tools if (tool.get("annotations") or {}).get(hint)
        )

    def last_words(self) -> str:
        """Return why the connection ended, as far as is known by now."""
        return postmortem.ended(self._remains())

    async def close(self) -> None:
        """End the connection and the server process; a few seconds at most, safe to call twice.

        Calls in flight fail with kind ``connection``.
        """
        self._closing = True
        self._end.set()
        if self._owner is not None:
            _, late = await asyncio.wait((self._owner,), timeout=CLOSE)
            if late:
                self._abort()

    async def ended(self) -> None:
        """Wait until no more calls can be made."""
        await self._end.wait()

    async def answers(self, within: float) -> bool:
        """Ask the server for its tools, which does no harm; whether it answers within so many seconds.

        An error is an answer, from one that has no tools, say; being refused by HTTP is none.
        """
        with contextlib.suppress(TimeoutError, anyio.ClosedResourceError, OperationError):
            try:
                async with asyncio.timeout(within):
                    await self.client.session.list_tools()
                    return True
            except MCPError as error:
                lost = error.code in (CONNECTION_CLOSED, REQUEST_TIMEOUT)
                return self.alive and not lost and self._web.refusal is None
        return False

    @property
    def refusal(self) -> str:
        """What the server refused the last request over HTTP with, and what to do; empty where it did not."""
        said = self._web.refusal
        return (
            "" if said is None else self.config.redact(f"{said.text}; {said.remedy}".rstrip("; "))
        )

    async def connection_error(self) -> OperationError:
        """Return the error of a call that the end of the connection cut off, with its reason."""
        if self._process is not None and not self._closing:
            await self._process.exited(LAST_WORDS)
        return OperationError("connection", self.last_words())

    def mark_gone(self) -> None:
        """Note that the server is gone, so that nobody starts another call."""
        self._gone = True
        self._end.set()

    async def _cannot_start(self, deadline: float) -> OperationError:
        silent = not self._opened.done()
        self._abort()
        if self._process is not None and not silent:
            await self._process.exited(LAST_WORDS)
        reason = postmortem.cannot_start(self._remains(), deadline if silent else None)
        return OperationError("server", reason)

    def _abort(self) -> None:
        """Have the owner leave at once, in the background."""
        self._scope.cancel()
        if self._owner is not None and not self._owner.done():
            _leaving.add(self._owner)
            self._owner.add_done_callback(_leaving.discard)

    def _remains(self) -> postmortem.Remains:
        return postmortem.Remains(
            self.config, self._process, self._web.refusal, self._error, self._closing
        )

    async def _own(self) -> None:
        try:
            with self._scope:
                async with self._connect() as client:
                    self._offers = await listing.read(client)
                    self.info = _info(client)
                    self._client = client
                    self._opened.set_result(None)
                    await beforehand.compile_schemas(client, self._offers["tools"], self._is_kept)
                    await self._end.wait()
                    self._gone = True
        except Exception as error:
            # Kept, and told to whoever opened it or makes a call.
            self._error = error
            logger.debug("session of %r ended", self.name, exc_info=True)
        finally:
            self.mark_gone()
            if not self._opened.done():
                self._opened.cancel()

    def _is_kept(self) -> bool:
        return not self._end.is_set()

    def _connect(self) -> Client:
        return Client(
            self._transport(),
            sampling_callback=self._refuse_sampling,
            elicitation_callback=self._refuse_elicitation,
            client_info=Implementation(name="omx-tasks", version="0.1.0"),
            cache=CacheConfig() if self.config.hints.cache else None,
        )

    def _transport(self) -> AbstractAsyncContextManager[Any]:
        match self.config.transport:
            case "stdio" if self._shared is not None:
                return transports.shared(self._shared, self.flights, self.mark_gone)
            case "stdio":
                words = LastWords(self.config.redact, self._log_file())
                process = self._process = ServerProcess(words, self._max_message)
                return transports.stdio(
                    process, self.config, self._agent, self.flights, self.mark_gone
                )
            case "http":
                return transports.http(self._web, self.config, self.flights, self.mark_gone)
            case "sse":
                return transports.sse(self._web, self.config, self.flights, self.mark_gone)

    def _log_file(self) -> Path | None:
        if self._log_dir is None:
            return None
        return log_of(self._log_dir, self.name)

    async def _refuse_sampling(
        self,
        context: ClientRequestContext,  # noqa: ARG002
        params: CreateMessageRequestParams,  # noqa: ARG002
    ) -> ErrorData:
        return self._refuse(SAMPLING)

    async def _refuse_elicitation(
        self,
        context: ClientRequestContext,  # noqa: ARG002
        params: ElicitRequestParams,  # noqa: ARG002
    ) -> ErrorData:
        return self._refuse(ELICITATION)

    def _refuse(self, method: str) -> ErrorData:
        self.flights.asked(method)
        return ErrorData(code=INVALID_REQUEST, message=f"{method}: nobody answers, unattended run")


async def settle() -> None:
    """Wait until the connections that were given up have ended; a few seconds at most."""
    loop = asyncio.get_running_loop()
    leaving = [owner for owner in _leaving if owner.get_loop() is loop]
    if leaving:
        await asyncio.wait(leaving, timeout=CLOSE)


def _info(client: Client) -> Info:
    told = client.server_info
    name, version = ("", "") if told is None else (told.name, told.version)
    return Info(name, version, client.protocol_version)
