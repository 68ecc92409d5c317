"""A server whose process this agent shares with the other agents of the machine, as seen from here.

To a session it is what a `ServerProcess` is: it has a process id, messages come from it, and when it ends it is known
how. Between the two is the process that holds it (`sharer`), which the first agent that needs it starts.

Which servers are shared says ``OMX_SHARE``:

- ``declared``: those with ``"shared": true`` in their ``omx`` key;
- ``auto``: those, and each whose tools all say that they only read (``readOnlyHint``), unless it is ``stateful``;
- ``never``: none.

A server that cannot be shared after all (its holder cannot be started, or would launch something else) gets a process
of this agent's own, and a word in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest

from omx_tasks.errors import ConfigurationError
from omx_tasks.mcp import rendezvous
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.process import FEW, MANY, Inbox, line_of
from omx_tasks.mcp.program import LAST_OUTPUT, MAX_MESSAGE, Lines
from omx_tasks.mcp.stderr import LastWords
from omx_tasks.settings import Share

#: Seconds between two tries to be the one that starts the holder.
PAUSE = 0.02

logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """The holder does not share this server."""


class SharedServer(asyncio.Protocol):
    """The connection to a shared server."""

    def __init__(self, words: LastWords, max_message: int) -> None:
        self.words = words
        #: As of a process: its id, and its exit status once that is known.
        self.pid: int | None = None
        self.status: int | None = None
        #: Why it could not be started.
        self.error: OSError | None = None
        self._inbox = Inbox(max_message)
        self._lines = Lines(2 * max_message, self._take, self._inbox.pass_over, trusted=True)
        self._transport: asyncio.Transport | None = None
        self._open = False
        self._held_back = False
        self._admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def __repr__(self) -> str:
        return f"<SharedServer pid={self.pid} status={self.status}>"

    @property
    def garbage(self) -> str:
        """What it wrote first that was no message."""
        return self._inbox.garbage

    @property
    def received(self) -> MemoryObjectReceiveStream[SessionMessage | Exception]:
        """Its messages; they end when it has gone, or its holder."""
        return self._inbox.received

    @property
    def takes_input(self) -> bool:
        """Whether it can still be written to, as far as is known."""
        return self._open

    async def ask(self, config: ServerConfig, digest: str, within: float) -> None:
        """Ask the holder for the server; raises `RefusedError`, and ``OSError`` where it hung up or is silent."""
        self._say(open=config.name, digest=digest)
        async with asyncio.timeout(within):
            await self._admitted

    async def exited(self, within: float) -> bool:
        """Wait until it has ended, at most ``within`` seconds, and say whether it has."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._ended.wait()
        return self._ended.is_set()

    async def send(self, message: SessionMessage) -> None:
        """Write one message; a request waits while nobody reads. A closed connection is a broken resource."""
        if isinstance(message.message, JSONRPCRequest):
            await self._writable.wait()
        if not self._open or self._transport is None:
            raise anyio.BrokenResourceError
        self._transport.write(line_of(message) + b"\n")

    def handled(self) -> None:
        """A message was taken out of ``received``: read on, if that was held back."""
        if self._held_back and len(self._inbox) < FEW and self._transport is not None:
            self._held_back = False
            self._transport.resume_reading()

    def judge(self, *, shared: bool) -> None:
        """Give the word that others wait for: whether its tools let it be shared."""
        self._say(omx="shared" if shared else "own")

    def suspect(self) -> None:
        """Say that it did not answer: it is ended, unless it does something for somebody."""
        self._say(omx="suspect")

    def retire(self) -> None:
        """Say that it uses too much memory: who connects from now on gets another one."""
        self._say(omx="replace")

    async def stop(self) -> None:
        """Leave it to the others."""
        if self._transport is not None:
            self._transport.close()
            await self.exited(LAST_OUTPUT)
        self.discard()

    def discard(self) -> None:
        """It was not connected."""
        self._admitted.cancel()
        self._inbox.close()
        self.words.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (called by asyncio)."""
        self._transport = cast(asyncio.Transport, transport)
        self._open = True

    def data_received(self, data: bytes) -> None:
        """Sort what was read (called by asyncio)."""
        self._lines.feed(data)
        if len(self._inbox) > MANY and not self._held_back and self._transport is not None:
            self._held_back = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Note that it has gone (called by asyncio)."""
        self._open = False
        self._writable.set()
        self._ended.set()
        self._inbox.end()
        if not self._admitted.done():
            self._admitted.set_exception(ConnectionError("the holder of the shared servers ended"))

    def pause_writing(self) -> None:
        """Make ``send`` wait (called by asyncio)."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let ``send`` go on (called by asyncio)."""
        self._writable.set()

    def _say(self, **said: Any) -> None:
        if self._open and self._transport is not None:
            line = json.dumps(said, separators=(",", ":"))
            self._transport.write(line.encode() + b"\n")

    def _take(self, line: bytes) -> None:
        if not self._admitted.done():
            self._admit(json.loads(line))
        elif line.startswith(b'{"omx":'):
            self._told_end(json.loads(line))
        else:
            self._inbox.read(line)

    def _admit(self, said: dict[str, Any]) -> None:
        if "opened" in said:
            self.pid = said["opened"]
        elif said.get("refused") == "cannot start":
            self.error = OSError(said["errno"], said["reason"])
        else:
            self._admitted.set_exception(RefusedError(said.get("reason", "")))
            return
        self._admitted.set_result(None)

    def _told_end(self, said: dict[str, Any]) -> None:
        self.status = said["status"]
        self.words.feed(said["words"].encode() + b"\n" if said["words"] else b"")
        self._inbox.garbage = self._inbox.garbage or said["garbage"]
        self._open = False
        self._inbox.end()
        self._ended.set()


class Visits:
    """Brings an agent's sessions to shared servers."""

    def __init__(
        self,
        share: Share,
        environ: Mapping[str, str],
        *,
        log_dir: Path | None = None,
        max_message: int = MAX_MESSAGE,
        deadline: float,
    ) -> None:
        self._share, self._environ, self._log_dir = share, environ, log_dir
        self._max, self._deadline = max_message, deadline
        #: Servers whose tools do not let them be shared, by what is launched.
        self._own: set[str] = set()

    def __repr__(self) -> str:
        return f"<Visits {self._share}>"

    async def to(self, config: ServerConfig) -> SharedServer | None:
        """Return the connection to a shared server, or None where it is to have a process of this agent's own."""
        if not self._may_be(config):
            return None
        try:
            return await self._visit(config, rendezvous.digest_of(config, self._environ))
        except RefusedError as error:
            logger.info("server %r is not shared: %s", config.name, error)
        except (OSError, ConfigurationError, TimeoutError) as error:
            logger.warning("server %r is not shared for now: %s", config.name, error)
        return None

    def fits(self, config: ServerConfig, tools: list[dict[str, Any]]) -> bool:
        """Whether a server may be shared that has these tools."""
        if config.hints.shared or only_reads(config, tools):
            return True
        self._own.add(rendezvous.digest_of(config, self._environ))
        return False

    def _may_be(self, config: ServerConfig) -> bool:
        if config.transport != "stdio" or config.hints.stateful or self._share is Share.NEVER:
            return False
        if config.hints.shared:
            return True
        known = rendezvous.digest_of(config, self._environ) in self._own
        return self._share is Share.AUTO and not known

    async def _visit(self, config: ServerConfig, digest: str) -> SharedServer:
        place = rendezvous.socket_of(config.path, self._environ)
        async with asyncio.timeout(self._deadline):
            while True:
                server = SharedServer(LastWords(config.redact), self._max)
                if await self._connected(server, place):
                    try:
                        await server.ask(config, digest, self._deadline)
                    except ConnectionError:  # it was just about to end
                        await server.stop()
                        continue
                    except BaseException:
                        await server.stop()
                        raise
                    return server
                with rendezvous.locked(place) as mine:
                    if mine and not await _listens(place):
                        await self._start(config.path, place)
                await asyncio.sleep(0 if mine else PAUSE)

    async def _connected(self, server: SharedServer, place: Path) -> bool:
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: server, str(place))
        except (FileNotFoundError, ConnectionError):
            server.discard()
            return False
        return True

    async def _start(self, path: Path, place: Path) -> None:
        """Start the holder; raises ``OSError`` where it does not come up."""
        words = [str(path), str(place), str(self._max), str(self._log_dir or "")]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "workers.servers",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=dict(self._environ),
            start_new_session=True,
        )
        _, said = await process.communicate()
        if process.returncode != 0:
            raise OSError(
                f"its holder could not be started: {said.decode(errors='replace')[-500:]}"
            )


def only_reads(config: ServerConfig, tools: list[dict[str, Any]]) -> bool:
    """Whether all tools of a server only read, by their annotations or the server file; one without tools does."""
    return all(
        (tool.get("annotations") or {}).get("readOnlyHint") is True
        or tool["name"] in config.hints.read_only
        for tool in tools
    )


async def _listens(place: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(place))
    except (FileNotFoundError, ConnectionError):
        return False
    writer.close()
    await writer.wait_closed()
    return True
