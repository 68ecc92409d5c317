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

import contextlib
import math
from types import TracebackType
from typing import Protocol, Self

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

from omx_tasks.mcp.lines import TOO_LARGE, answered_by
from omx_tasks.mcp.program import MAX_MESSAGE, Program
from omx_tasks.mcp.stderr import LastWords

# Messages that wait to be handled, from which on nothing more is read, and below which it is again.
MANY, FEW = 1000, 100

_SAMPLE = 200


class Inbox:
    """What a server wrote, line by line, as messages. ``received`` yields them and ends when it has gone."""

    def __init__(self, max_message: int) -> None:
        self.garbage = ""
        self.received: MemoryObjectReceiveStream[SessionMessage | Exception]
        self._push, self.received = anyio.create_memory_object_stream[SessionMessage | Exception](
            math.inf
        )
        self._max_message = max_message

    def __len__(self) -> int:
        return self._push.statistics().current_buffer_used

    def read(self, line: bytes) -> None:
        """Take one line; what is no message is kept as such."""
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self.garbage = self.garbage or line[:_SAMPLE].decode("utf-8", "replace")
            return
        self._take(message)

    def pass_over(self, ends: bytes, length: int) -> None:
        """Answer in the place of a line that is too long."""
        said = f"a message of {length:,} bytes; {self._max_message:,} are allowed"
        self.garbage = self.garbage or said
        answered = answered_by(ends)
        if answered is not None:
            error = ErrorData(code=TOO_LARGE, message=f"it answered with {said}")
            self._take(JSONRPCError(jsonrpc="2.0", id=answered, error=error))

    def end(self) -> None:
        """Nothing more comes."""
        self._push.close()

    def close(self) -> None:
        """Keep nothing."""
        self._push.close()
        self.received.close()

    def _take(self, message: JSONRPCMessage) -> None:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._push.send_nowait(SessionMessage(message))


class ServerProcess(Program):
    """The running process, as a session speaks to it."""

    def __init__(self, words: LastWords, max_message: int = MAX_MESSAGE) -> None:
        super().__init__(words, max_message)
        self._inbox = Inbox(max_message)

    @property
    def garbage(self) -> str:
        """What it wrote first that was no message."""
        return self._inbox.garbage

    @property
    def received(self) -> MemoryObjectReceiveStream[SessionMessage | Exception]:
        """Its messages; they end when it has gone."""
        return self._inbox.received

    async def send(self, message: SessionMessage) -> None:
        """Write one message; a request waits while the pipe is full. A closed pipe is a broken resource."""
        if not self.takes_input:
            raise anyio.BrokenResourceError
        line = line_of(message)
        if isinstance(message.message, JSONRPCRequest):  # that a call is cancelled is said at once
            await self.drained()
        if not self.write(line):
            raise anyio.BrokenResourceError

    def handled(self) -> None:
        """A message was taken out of ``received``: read on, if that was held back."""
        if len(self._inbox) < FEW:
            self._read_on()

    def _take_line(self, line: bytes) -> None:
        self._inbox.read(line)

    def _too_long(self, ends: bytes, length: int) -> None:
        self._inbox.pass_over(ends, length)

    def _crowded(self) -> bool:
        return len(self._inbox) > MANY

    def _end_output(self) -> None:
        self._inbox.end()

    def _release(self) -> None:
        self._inbox.close()
        super()._release()


class Peer(Protocol):
    """What messages come from and go to: a process of this agent's own, or one that it shares."""

    @property
    def received(self) -> MemoryObjectReceiveStream[SessionMessage | Exception]:
        """What it said."""

    async def send(self, message: SessionMessage) -> None:
        """Say something to it."""

    def handled(self) -> None:
        """A message was taken out of ``received``."""


def line_of(message: SessionMessage) -> bytes:
    """Return a message as one line."""
    return message.message.model_dump_json(by_alias=True, exclude_unset=True).encode()


class ProcessOutput:
    """The messages of a process, in the form that the SDK asks of a transport."""

    def __init__(self, process: Peer) -> None:
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

    def __init__(self, process: Peer) -> None:
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
