"""One server process: started, spoken to over its pipes, and ended within a bound.

The SDK's own stdio transport tells neither the process id nor the exit status, lets standard error
pass by, and waits for pipes that a grandchild may hold open. All of these decide what an error
message can say and whether anything is left behind, so the process is kept here.

What a server writes must not harm those who share it, or the agent: a line longer than the limit is passed over, with
nothing of it kept but its ends, and the call that it answers fails; notifications are let through at a rate, the newest
of a call in any case; while much waits to be handled nothing more is read; and nothing is written to a server that does
not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, cast

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCRequest,
    jsonrpc_message_adapter,
)

from omx_tasks.mcp.lines import TOO_LARGE, Line, Notifications, answered_by, is_notification
from omx_tasks.mcp.stderr import LastWords

# Seconds for: leaving by itself after its input closed, after SIGTERM, after SIGKILL.
LEAVE, TERM, KILL = 1.5, 1.0, 1.0
# Seconds between the end of the process and the end of its output, which a grandchild may hold.
LAST_OUTPUT = 0.5
# Bytes that a message may have.
MAX_MESSAGE = 64 * 1024 * 1024
# Messages that wait to be handled, from which on nothing more is read, and below which it is again.
MANY, FEW = 1000, 100

_SAMPLE = 200


class ServerProcess(asyncio.SubprocessProtocol):
    """The running process. ``received`` yields its messages and ends when it has gone."""

    def __init__(self, words: LastWords, max_message: int = MAX_MESSAGE) -> None:
        self.words = words
        self._max_message = max_message
        self.received: MemoryObjectReceiveStream[SessionMessage | Exception]
        self._push, self.received = anyio.create_memory_object_stream[SessionMessage | Exception](
            math.inf
        )
        self.garbage = ""
        self._line = Line(max_message)
        self._notifications = Notifications()
        self._held_back = False
        self._transport: asyncio.SubprocessTransport | None = None
        self._exited = asyncio.Event()
        self._lost = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._input_open = False

    def __repr__(self) -> str:
        return f"<ServerProcess pid={self.pid} status={self.status}>"

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
        self, command: str, args: Sequence[str], env: Mapping[str, str], cwd: str | None
    ) -> None:
        """Start the program in a process group of its own; raises ``OSError`` if it cannot."""
        loop = asyncio.get_running_loop()
        await loop.subprocess_exec(
            lambda: self, command, *args, env=env, cwd=cwd, start_new_session=True
        )

    async def exited(self, within: float) -> bool:
        """Wait until it has ended, at most ``within`` seconds, and say whether it has."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._exited.wait()
        return self._exited.is_set()

    async def send(self, message: SessionMessage) -> None:
        """Write one message; a request waits while the pipe is full. A closed pipe is a broken resource."""
        if not self._input_open or self._transport is None:
            raise anyio.BrokenResourceError
        pipe = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
        if isinstance(message.message, JSONRPCRequest):  # that a call is cancelled is said at once
            await self._writable.wait()  # what a server does not read is not piled up here
        if not self._input_open:
            raise anyio.BrokenResourceError
        pipe.write(line.encode() + b"\n")

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
        first, *others = data.split(b"\n")
        self._line.add(first)
        for part in others:
            self._end_line()
            self._line.add(part)
        if self._push.statistics().current_buffer_used > MANY:
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
        """Make ``send`` wait (called by asyncio when the pipe is full)."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let ``send`` go on (called by asyncio)."""
        self._writable.set()

    def _end_line(self) -> None:
        line, length = self._line.end()
        if length > self._max_message:
            self._pass_over(line, length)
            return
        if not line:
            return
        if is_notification(line):
            if self._notifications.let_through(line):
                self._read(line)
            return
        for notification in self._notifications.kept():
            self._read(notification)
        self._read(line)

    def _read(self, line: bytes) -> None:
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self.garbage = self.garbage or line[:_SAMPLE].decode("utf-8", "replace")
            return
        self._take(message)

    def _take(self, message: JSONRPCMessage) -> None:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._push.send_nowait(SessionMessage(message))

    def _pass_over(self, ends: bytes, length: int) -> None:
        """Answer in the place of a line that is too long."""
        said = f"a message of {length:,} bytes; {self._max_message:,} are allowed"
        self.garbage = self.garbage or said
        answered = answered_by(ends)
        if answered is not None:
            error = ErrorData(code=TOO_LARGE, message=f"it answered with {said}")
            self._take(JSONRPCError(jsonrpc="2.0", id=answered, error=error))

    def _hold_back(self) -> None:
        """Read nothing more until what was read is handled."""
        pipe = None if self._transport is None else self._transport.get_pipe_transport(1)
        if pipe is not None and not self._held_back:
            self._held_back = True
            cast(asyncio.ReadTransport, pipe).pause_reading()

    def handled(self) -> None:
        """A message was taken out of ``received``: read on, if that was held back."""
        if self._held_back and self._push.statistics().current_buffer_used < FEW:
            self._held_back = False
            pipe = None if self._transport is None else self._transport.get_pipe_transport(1)
            if pipe is not None:
                cast(asyncio.ReadTransport, pipe).resume_reading()

    def _end_output(self) -> None:
        self._push.close()

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
        self._push.close()
        self.received.close()
        self.words.close()
        if self._transport is not None:
            self._transport.close()


class ProcessOutput:
    """The messages of a process, in the form that the SDK asks of a transport."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message."""
        message = await self._process.received.receive()
        self._process.handled()
        return message

    async def aclose(self) -> None:
        """Take no more."""
        await self._process.received.aclose()


class ProcessInput:
    """The write side of a process, in the form that the SDK asks of a transport."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message to the process."""
        await self._process.send(item)

    async def aclose(self) -> None:
        """Leave the pipe to ``ServerProcess.stop``."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
