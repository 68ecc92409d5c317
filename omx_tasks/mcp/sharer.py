"""The process that holds the shared servers of one server file, for all agents of a user on this machine.

::

    an agent connects ──{"open": NAME, "digest": …}──► the file has it, and the same? ── no ──► {"refused": …}
                                                             │ yes
                                     started, if it is the first ──► {"opened": PID} ──► JSON-RPC, a message a line
                                                                                              │
                            the server's end: {"omx": "ended", …}, and the connection's ◄─────┘

    nobody said that it may be shared ──► the first agent looks at its tools, the others wait for its word:
        {"omx": "shared"} they are let in        {"omx": "own"} they are refused, now and later

    last client left ──LINGER──► the server is ended; last server ended ──LINGER──► this process ends

What is launched is what the server file says, which is read here, with this process's environment: an agent only names
a server, and the digest of what it would launch itself. What comes from a client is limited in size, and so is what
waits for one that does not read: it is dropped, the others are not held up.

A server that an agent suspects (it did not answer) is ended once, as soon as it does nothing for anybody. One that
uses too much memory is replaced: who connects from then on gets another process, and the old one ends with its last
client.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from omx_tasks.errors import ConfigurationError
from omx_tasks.mcp import config as server_files
from omx_tasks.mcp import launchers, rendezvous
from omx_tasks.mcp.config import ServerConfig, ServerFile
from omx_tasks.mcp.multiplex import Multiplexer
from omx_tasks.mcp.program import MAX_MESSAGE, Lines, Program
from omx_tasks.mcp.rendezvous import digest_of, environment
from omx_tasks.mcp.stderr import LastWords, log_of

#: Seconds that a server stays without a client, and this process without a server.
LINGER = 0.5
#: Seconds that the first words of a client may take.
HELLO = 5.0
#: Seconds that a client waits for another one's word.
WORD = 60.0
#: What waits for a client that does not read, in messages of the largest size.
UNREAD = 2
_READ = 65536
_PR_SET_PDEATHSIG = 1

logger = logging.getLogger(__name__)


class SharedProgram(Program):
    """One server's process, and its clients."""

    def __init__(
        self, key: tuple[str, str], words: LastWords, max_message: int, shared: bool | None
    ) -> None:
        super().__init__(words, max_message)
        #: The server's name, and the digest of what is launched.
        self.key = key
        self.multiplexer: Multiplexer[Visitor] = Multiplexer(self.write)
        #: Whether it may be shared; None until somebody has looked.
        self.shared = shared
        self.looked = asyncio.Event()
        self.examiner: Visitor | None = None
        #: Whether new clients get another one.
        self.replaced = False
        #: Whether somebody got no answer from it, and it has said nothing since.
        self.suspected = False
        self.over = asyncio.Event()
        #: Since when it has no client (``time.monotonic``).
        self.idle_since = time.monotonic()
        self._max = max_message
        self._garbage = ""

    @property
    def garbage(self) -> str:
        """What it wrote first that was no message."""
        return self._garbage

    @property
    def is_needed(self) -> bool:
        """Whether it has clients, or had some just now."""
        return bool(self.multiplexer.clients) or time.monotonic() - self.idle_since < LINGER

    def left(self, visitor: Visitor) -> None:
        """A client has gone."""
        self.multiplexer.leave(visitor)
        self.idle_since = time.monotonic()
        if self.examiner is visitor:
            self.judged(None)

    def end_if_hung(self) -> None:
        """End it if it is suspected, and does nothing for anybody."""
        if self.suspected and not self.multiplexer.is_called:
            self.over.set()

    def judged(self, shared: bool | None) -> None:
        """Take the word of who has looked; None: it has left without one."""
        self.shared, self.examiner = shared, None
        self.looked.set()
        self.looked = asyncio.Event()

    def _take_line(self, line: bytes) -> None:
        self.suspected = False
        try:
            self.multiplexer.said(line)
        except ValueError:
            self._garbage = self._garbage or line[:200].decode("utf-8", "replace")

    def _too_long(self, ends: bytes, length: int) -> None:
        self.multiplexer.said_too_much(self._max, ends, length)

    def _end_output(self) -> None:
        self.over.set()


class Visitor:
    """One agent's connection to one server."""

    def __init__(self, writer: asyncio.StreamWriter, most: int) -> None:
        self._writer, self._most = writer, most

    def tell(self, line: bytes) -> None:
        """Say one line; who does not read is dropped."""
        if self._writer.is_closing():
            return
        self._writer.write(line + b"\n")
        if self._writer.transport.get_write_buffer_size() > self._most:
            logger.error("a client did not read what it asked for, and was dropped")
            self._writer.transport.abort()

    def hang_up(self) -> None:
        """Close the connection once all was said."""
        self._writer.close()

    def control(self, **said: Any) -> None:
        """Say something that is not the server's."""
        self.tell(json.dumps(said).encode())


class Sharer:
    """Serves the agents that connect to one socket, until nobody needs it."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        log_dir: Path | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self._path, self._environ, self._log_dir = path, environ, log_dir
        self._max = max_message
        self._file: ServerFile | None = None
        self._programs: dict[tuple[str, str], SharedProgram] = {}
        self._private: set[tuple[str, str]] = set()
        self._keeping: set[asyncio.Task[None]] = set()
        self._starting: dict[tuple[str, str], asyncio.Lock] = {}
        self._visits = 0
        self._idle = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Sharer {self._path} servers={[name for name, _ in self._programs]}>"

    async def serve(self, listening: socket.socket, place: Path) -> None:
        """Serve until nobody has been connected for a while; the socket's file goes with it."""
        server = await asyncio.start_unix_server(self._visit, sock=listening, limit=_READ)
        try:
            while True:
                self._idle.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LINGER):
                        await self._idle.wait()
                        continue
                if not self._visits and not self._keeping:
                    return
        finally:
            # Who is just starting another one has the lock, and puts its own socket there.
            with rendezvous.locked(place) as mine:
                server.close()
                if mine:
                    place.unlink(missing_ok=True)
            for program in self._programs.values():
                program.over.set()
            await asyncio.gather(*self._keeping, return_exceptions=True)

    # --- one connection -----------------------------------------------------------------------------

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._visits += 1
        visitor = Visitor(writer, UNREAD * self._max)
        try:
            async with asyncio.timeout(HELLO):
                asked = json.loads(await reader.readline())
            program = await self._open(visitor, str(asked["open"]), str(asked["digest"]))
            if program is not None:
                visitor.control(opened=program.pid)
                await self._attend(program, visitor, reader)
        except (ValueError, LookupError, TypeError, TimeoutError) as error:
            visitor.control(refused="it makes no sense", reason=str(error))
        except ConnectionError as error:
            logger.debug("a client went away: %s", error)
        finally:
            self._visits -= 1
            self._idle.set()
            writer.close()

    async def _open(self, visitor: Visitor, name: str, digest: str) -> SharedProgram | None:
        """Return the process of a server, once this client may speak to it; else tell it why not."""
        key = (name, digest)
        while key not in self._private:
            async with self._starting.setdefault(key, asyncio.Lock()):
                try:
                    program = await self._running(key)
                except OSError as error:
                    visitor.control(
                        refused="cannot start", errno=error.errno, reason=error.strerror
                    )
                    return None
                except ConfigurationError as error:
                    visitor.control(refused="not in the file", reason=str(error))
                    return None
            if program.shared is None and program.examiner is None:
                program.examiner = visitor
            if program.shared or program.examiner is visitor:
                program.multiplexer.join(visitor)
                return program
            async with asyncio.timeout(WORD):
                await program.looked.wait()
        visitor.control(refused="own", reason="its tools do not all say that they only read")
        return None

    async def _attend(
        self, program: SharedProgram, visitor: Visitor, reader: asyncio.StreamReader
    ) -> None:
        """Pass on what a client says until it leaves, or the server has gone."""
        lines = Lines(
            self._max,
            lambda line: self._heard(program, visitor, line),
            partial(program.multiplexer.heard_too_much, visitor, self._max),
            trusted=True,
        )
        try:
            while data := await reader.read(_READ):
                lines.feed(data)
                program.end_if_hung()
                await program.drained()
        finally:
            program.left(visitor)
            program.end_if_hung()

    def _heard(self, program: SharedProgram, visitor: Visitor, line: bytes) -> None:
        if not line.startswith(b'{"omx":'):
            program.multiplexer.heard(visitor, line)
            return
        word = json.loads(line)["omx"]
        if word in ("shared", "own") and program.examiner is visitor:
            if word == "own":
                self._private.add(program.key)
            program.judged(word == "shared")
        elif word == "suspect":
            program.suspected = True
        elif word == "replace":
            program.replaced = True

    # --- servers ------------------------------------------------------------------------------------

    async def _running(self, key: tuple[str, str]) -> SharedProgram:
        """Return the server's process, started if there is none; raises `OSError` or `ConfigurationError`."""
        found = self._programs.get(key)
        if found is not None and not found.over.is_set() and not found.replaced:
            return found
        config = self._config(*key)
        known = True if config.hints.shared else found.shared if found else None
        words = LastWords(config.redact, self._log(config.name))
        program = SharedProgram(key, words, self._max, known)
        env = {**environment(self._environ), **config.env, "OMX_AGENT": mark(os.getpid())}
        command, args = launchers.direct(config.command, config.args, env, config.cwd)
        await program.start(command, args, env, config.cwd, bound_to(os.getpid()))
        self._programs[key] = program
        task = asyncio.create_task(self._keep(program))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)
        return program

    def _config(self, name: str, digest: str) -> ServerConfig:
        """Return what the file says of a server, read again where it seems to have changed."""
        for _ in range(2):
            if self._file is None:
                self._file = server_files.read(self._path)[0]
            config = self._file.servers.get(name)
            if config is not None:
                config = config.resolved(self._environ)
                if digest_of(config, self._environ) == digest:
                    return config
            self._file = None
        raise ConfigurationError(f"{self._path} says something else of {name!r} here")

    async def _keep(self, program: SharedProgram) -> None:
        """Wait until a server has gone, or is not needed any more; end it, and tell its clients."""
        try:
            while program.is_needed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LINGER):
                        await program.over.wait()
                        break
        finally:
            program.over.set()
            if self._programs.get(program.key) is program:
                del self._programs[program.key]
            await program.stop()
            for visitor in program.multiplexer.clients:
                visitor.control(
                    omx="ended",
                    status=program.status,
                    words=program.words.tail(),
                    garbage=program.garbage,
                )
                visitor.hang_up()
            self._idle.set()

    def _log(self, name: str) -> Path | None:
        return None if self._log_dir is None else log_of(self._log_dir, name)


def mark(pid: int) -> str:
    """Return the name by which a reaper finds the servers of this process once it is dead."""
    return f"servers@{socket.gethostname()}-{pid}"


def bound_to(parent: int) -> Callable[[], None] | None:
    """Return what binds a child to this process between fork and exec (on Linux); there is one thread here."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def bind() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return bind
