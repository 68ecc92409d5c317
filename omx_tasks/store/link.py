"""One connection to one server, on which many requests can be under way at once.

A link speaks RESP3, so that answers and pushed messages (doorbells, fan-out) share one connection
and arrive in the order in which the server did the work: a ring that follows an empty claim's answer is
always newer than that claim. Answers come in the order of the requests; each request has a callback.

A subscription is confirmed by a push, not by an answer, unless it fails; `subscribe` keeps its place in the order
of answers all the same.

Two ways of use:

- *waiting*: `ask` sends a pipeline and waits for its answers, with a deadline;
- *woken*: `post` sends without waiting, and whoever owns the event loop calls `receive` when
  the socket is readable (and `flush` when it is writable and `unsent` says there is more to send).

The protocol is parsed by hiredis. An error answer is a value (`Reply` in the callback), not an
exception: only a broken connection raises, as `LinkError`.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import hiredis

from omx_tasks.errors import ConfigurationError
from omx_tasks.store import access, tls
from omx_tasks.store.address import Address, Node

Command = tuple[Any, ...]
Answer = Callable[[Any], None]

_INCOMPLETE = object()
_CHUNK = 1 << 16
#: Seconds without a word after which who waits for an answer begins to doubt that one comes (what a server is asked to
#: wait for takes less), and between two doubts from then on.
DOUBT, AGAIN = 1.2, 0.4


class LinkError(ConnectionError):
    """The connection could not be made, broke, or did not answer by its deadline."""


class ReplyError(Exception):
    """An error that the server answered with; ``code`` is its first word."""

    @property
    def code(self) -> str:
        """The first word of the answer: ``MOVED``, ``NOSCRIPT``, ``OOM``, ``ERR`` …"""
        return str(self).partition(" ")[0]


@dataclass(frozen=True)
class _Confirmation:
    """The place of a (un)subscription in the order of answers."""

    kind: bytes
    channel: bytes
    refused: Answer

    def matches(self, push: Sequence[Any]) -> bool:
        return bool(push[0] == self.kind and push[1] == self.channel)


class Link:
    """A pipelined RESP3 connection. Not thread-safe: one owner at a time."""

    def __init__(self, node: Node, address: Address, *, name: str = "omx") -> None:
        self.node = node
        self.on_push: Callable[[list[Any]], None] = _ignore
        #: Called again and again while an answer is waited for in silence; may raise `LinkError`.
        self.on_silence: Callable[[Link], None] = _ignore
        self._address = address
        self._name = name
        self._socket: socket.socket | None = None
        self._answers: deque[Answer | _Confirmation] = deque()
        #: The socket's number, also after it was closed.
        self.descriptor = -1
        #: Since when (monotonic seconds) nothing was heard, while answers are awaited.
        self.silent_since = 0.0
        self._unsent = bytearray()
        self._is_full = False
        self._reader = hiredis.Reader(
            notEnoughData=_INCOMPLETE, replyError=ReplyError, protocolError=LinkError
        )

    def __repr__(self) -> str:
        state = "open" if self._socket else "closed"
        return f"<Link {self.node} {state} waiting={len(self._answers)}>"

    @property
    def unsent(self) -> bool:
        """Whether the socket was full and bytes wait to be flushed; what is only put there waits for its `flush`."""
        return self._is_full

    @property
    def waiting(self) -> int:
        """How many answers are still to come."""
        return len(self._answers)

    def connect(self, timeout: float) -> Link:
        """Open the connection and shake hands within ``timeout`` seconds.

        Raises `LinkError`, or `ConfigurationError` where the server refuses for a reason that stays.
        """
        deadline = time.monotonic() + timeout
        context = tls.context(self._address) if self._address.tls else None
        try:
            plain = socket.create_connection(self.node, timeout=timeout)
        except (OSError, UnicodeError) as error:  # a host name that cannot be one is a UnicodeError
            raise LinkError(f"cannot connect to {self.node}: {error}") from error
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket = self._encrypted(plain, context, deadline) if context else plain
        self._socket.setblocking(False)
        self.descriptor = self._socket.fileno()
        self._log_in(deadline)
        return self

    def _encrypted(
        self, plain: socket.socket, context: ssl.SSLContext, deadline: float
    ) -> socket.socket:
        plain.settimeout(max(0.05, deadline - time.monotonic()))
        try:
            return context.wrap_socket(plain, server_hostname=self.node.host)
        except OSError as error:
            plain.close()
            self._refuse(tls.refusal(error, self.node), error)
            raise LinkError(f"cannot connect to {self.node} with TLS: {error}") from error

    def _log_in(self, deadline: float) -> None:
        try:
            (hello,) = self.ask([self._hello()], deadline)
        except LinkError as error:
            self.close()
            if time.monotonic() < deadline:  # it was not for silence
                self._refuse(tls.mismatch(error.__cause__, self._address, self.node), error)
            raise
        if isinstance(hello, ReplyError):
            self.close()
            self._refuse(access.refusal(hello.code, self._address.username), hello)
            raise LinkError(f"{self.node} refused the connection: {hello}")

    def _refuse(self, reason: str | None, error: Exception) -> None:
        if reason is not None:
            raise ConfigurationError(f"{self.node} refused the connection: {reason}.") from error

    def _hello(self) -> Command:
        user, secret = self._address.username, self._address.password
        login = ("AUTH", user or "default", secret or "") if user or secret else ()
        return ("HELLO", "3", *login, "SETNAME", self._name)

    def post(self, command: Command, answer: Answer) -> None:
        """Send one command; ``answer`` is called with its reply by a later `receive`."""
        self.put(command, answer)
        self.flush()

    def put(self, command: Command, answer: Answer) -> None:
        """Have one command sent with the next `flush`."""
        self._expect(answer)
        self._unsent += hiredis.pack_command(command)

    def _expect(self, answer: Answer | _Confirmation) -> None:
        if not self._answers:
            self.silent_since = time.monotonic()
        self._answers.append(answer)

    def subscribe(self, channel: str, refused: Answer) -> None:
        """Subscribe to a sharded channel; messages come to `on_push`, an error to ``refused``."""
        self._post_confirmed("ssubscribe", channel, refused)

    def unsubscribe(self, channel: str) -> None:
        """Leave a sharded channel."""
        self._post_confirmed("sunsubscribe", channel, _ignore)

    def _post_confirmed(self, kind: str, channel: str, refused: Answer) -> None:
        self._expect(_Confirmation(kind.encode(), channel.encode(), refused))
        self._unsent += hiredis.pack_command((kind, channel))
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket takes now."""
        while self._unsent:
            try:
                sent = self._open_socket().send(self._unsent)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._is_full = True
                return
            except OSError as error:
                raise self._broken(error) from error
            del self._unsent[:sent]
        self._is_full = False

    def receive(self) -> int:
        """Read what has come and call the answers' callbacks; returns how many replies that was."""
        count = self._dispatch()  # what a callback's error left undone
        while data := self._read_chunk():
            self.silent_since = time.monotonic()
            self._reader.feed(data)
            count += self._dispatch()
            if len(data) < _CHUNK and not self._pending_tls():
                break
        return count

    def _dispatch(self) -> int:
        count = 0
        while (reply := self._reader.gets()) is not _INCOMPLETE:
            if isinstance(reply, hiredis.PushNotification):
                self._pushed(reply)
            else:
                self._answered(reply)
                count += 1
        return count

    def _answered(self, reply: Any) -> None:
        answer = self._answers.popleft()
        if isinstance(answer, _Confirmation):
            answer.refused(reply)
        else:
            answer(reply)

    def _pushed(self, push: list[Any]) -> None:
        head = self._answers[0] if self._answers else None
        if isinstance(head, _Confirmation) and head.matches(push):
            self._answers.popleft()
        self.on_push(push)

    def _read_chunk(self) -> bytes:
        try:
            data = self._open_socket().recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        except OSError as error:
            raise self._broken(error) from error
        if not data:
            raise self._broken("the server closed the connection")
        return data

    def ask(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """Send ``commands`` in one go and wait for all answers until ``deadline`` (monotonic seconds).

        Error answers are returned in their place. Raises `LinkError`, after which the link is closed.
        """
        replies = self.send(commands)
        self.collect(replies, len(commands), deadline)
        return replies

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send ``commands`` in one go; the list that is returned fills up with the answers in `collect`."""
        replies: list[Any] = []
        for command in commands:
            self._expect(replies.append)
            self._unsent += hiredis.pack_command(command)
        self.flush()
        return replies

    def collect(self, replies: list[Any], count: int, deadline: float) -> None:
        """Wait until ``replies``, made by `send`, holds all ``count`` answers."""
        while True:
            self.flush()
            self.receive()
            if len(replies) >= count:
                return
            self._wait(deadline)

    def settle(self, deadline: float) -> None:
        """Wait until every answer has come that is owed; raises `LinkError`."""
        while self._answers:
            self.flush()
            self.receive()
            if self._answers:
                self._wait(deadline)

    def _wait(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise self._broken("no answer in time")
        poller = select.poll()
        poller.register(self.descriptor, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        if self._pending_tls() or poller.poll(min(left, AGAIN) * 1000):
            return
        if time.monotonic() - self.silent_since > DOUBT:
            self.on_silence(self)

    def _pending_tls(self) -> bool:
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise LinkError(f"the link to {self.node} is closed")
        return self._socket

    def give_up(self, reason: str) -> None:
        """Close the link and raise `LinkError`."""
        raise self._broken(reason)

    def _broken(self, reason: object) -> LinkError:
        self.close()
        return LinkError(f"lost {self.node}: {reason}")

    def __del__(self) -> None:
        """Close with the last reference: Celery drops backends and connections without a word."""
        self.close()

    def close(self) -> None:
        """Close the socket; answers still to come are given up."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket = None


def _ignore(_anything: Any) -> None:
    return None
