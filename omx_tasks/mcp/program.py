"""A running program and its pipes: started, written to line by line, and ended within a bound.

What it writes is handed on line by line (`_line`); one that is longer than the limit is passed over, with nothing of it
kept but its ends (`_too_long`), and notifications are let through at a rate, the newest of a call in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from omx_tasks.mcp.lines import Line, Notifications, is_notification
from omx_tasks.mcp.stderr import LastWords

# Seconds for: leaving by itself after its input closed, after SIGTERM, after SIGKILL.
LEAVE, TERM, KILL = 1.5, 1.0, 1.0
# Seconds between the end of the process and the end of its output, which a grandchild may hold.
LAST_OUTPUT = 0.5
# Bytes that a message may have.
MAX_MESSAGE = 64 * 1024 * 1024


class Lines:
    """Splits what comes in parts into lines within a limit; slows notifications down that are not ``trusted``."""

    def __init__(
        self,
        max_message: int,
        take: Callable[[bytes], None],
        too_long: Callable[[bytes, int], None],
        *,
        trusted: bool = False,
    ) -> None:
        self._max_message, self._take, self._too_long = max_message, take, too_long
        self._line = Line(max_message)
        self._notifications = None if trusted else Notifications()

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        first, *others = data.split(b"\n")
        self._line.add(first)
        for part in others:
            self._end()
            self._line.add(part)

    def _end(self) -> None:
        line, length = self._line.end()
        if length > self._max_message:
            self._too_long(line, length)
            return
        if not line:
            return
        if self._notifications is None or not is_notification(line):
            for notification in self._notifications.kept() if self._notifications else ():
                self._take(notification)
            self._take(line)
        elif self._notifications.let_through(line):
            self._take(line)


class Program(asyncio.SubprocessProtocol):
    """The running process; who derives from it says what becomes of its lines."""

    def __init__(self, words: LastWords, max_message: int = MAX_MESSAGE) -> None:
        self.words = words
        self._lines = Lines(max_message, self._take_line, self._too_long)
        self._held_back = False
        self._transport: asyncio.SubprocessTransport | None = None
        self._exited = asyncio.Event()
        self._lost = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._input_open = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} pid={self.pid} status={self.status}>"

    def _take_line(self, line: bytes) -> None:
        """Take one line that it wrote."""
        raise NotImplementedError

    def _too_long(self, ends: bytes, length: int) -> None:
        """Take what is known of a line that is too long."""
        raise NotImplementedError

    def _crowded(self) -> bool:
        """Whether so much waits to be handled that nothing more is to be read for now."""
        return False

    def _end_output(self) -> None:
        """It writes nothing more; may be called twice."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The process id, or None before it was started."""
        return None if self._transport is None else self._transport.get_pid()

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal as in ``subprocess``; None while it runs."""
        return None if self._transport is None else self._transport.get_returncode()

    @property
    def takes_input(self) -> bool:
        """Whether it can still be written to, as far as is known."""
        return self._input_open

    async def start(
        self,
        command: str,
        args: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None,
        preexec: Callable[[], None] | None = None,
    ) -> None:
        """Start the program in a process group of its own; raises ``OSError`` if it cannot."""
        loop = asyncio.get_running_loop()
        await loop.subprocess_exec(
            lambda: self,
            command,
            *args,
            env=env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=preexec,
        )

    async def exited(self, within: float) -> bool:
        """Wait until it has ended, at most ``within`` seconds, and say whether it has."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._exited.wait()
        return self._exited.is_set()

    async def drained(self) -> None:
        """Wait until it has read what was written: what a server does not read is not piled up here."""
        await self._writable.wait()

    def write(self, line: bytes) -> bool:
        """Write one line; False where nobody reads any more."""
        if not self._input_open or self._transport is None:
            return False
        pipe = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        pipe.write(line + b"\n")
        return True

    async def stop(self) -> None:
        """End it: close its input, then SIGTERM, then SIGKILL; a few seconds at most.

        Whatever interrupts this, its process group does not survive.
        """
        try:
            self._close_input()
            if self._transport is not None and not await self.exited(LEAVE):
                self._signal(signal.SIGTERM)
                await self.exited(TERM)
        finally:
            self._signal(signal.SIGKILL)
            try:
                await self._last_output()
            finally:
                self._release()

    async def _last_output(self) -> None:
        if self._transport is None:
            return
        await self.exited(KILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_OUTPUT):
                await self._lost.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (called by asyncio)."""
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._input_open = True

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Sort what was read by pipe (called by asyncio)."""
        if fd == 2:
            self.words.feed(data)
            return
        self._lines.feed(data)
        if self._crowded():
            self._hold_back()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        """Note that a pipe was closed (called by asyncio)."""
        if fd == 0:
            self._input_open = False
            self._writable.set()
        elif fd == 1:
            self._end_output()

    def process_exited(self) -> None:
        """Note that the process ended (called by asyncio)."""
        self._exited.set()
        asyncio.get_running_loop().call_later(LAST_OUTPUT, self._end_output)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Note that all pipes are closed and the process is gone (called by asyncio)."""
        self._lost.set()

    def pause_writing(self) -> None:
        """Make ``drained`` wait (called by asyncio when the pipe is full)."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let ``drained`` go on (called by asyncio)."""
        self._writable.set()

    def _hold_back(self) -> None:
        """Read nothing more until what was read is handled."""
        pipe = None if self._transport is None else self._transport.get_pipe_transport(1)
        if pipe is not None and not self._held_back:
            self._held_back = True
            cast(asyncio.ReadTransport, pipe).pause_reading()

    def _read_on(self) -> None:
        """Read again, if that was held back."""
        if self._held_back:
            self._held_back = False
            pipe = None if self._transport is None else self._transport.get_pipe_transport(1)
            if pipe is not None:
                cast(asyncio.ReadTransport, pipe).resume_reading()

    def _close_input(self) -> None:
        self._input_open = False
        self._writable.set()
        pipe = None if self._transport is None else self._transport.get_pipe_transport(0)
        if pipe is not None:
            pipe.close()

    def _signal(self, number: int) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def _release(self) -> None:
        self.words.close()
        if self._transport is not None:
            self._transport.close()
