"""One server, spoken to by several clients: who asked what, so that each gets its own answers.

::

    client 7 ──{"id": 3}──►            ──{"id": 41}──►
    client 8 ──{"id": 3}──► Multiplexer──{"id": 42}──► server
    client 8 ◄─{"id": 3}──             ◄─{"id": 42}──

- Requests get ids of their own, and so do their progress tokens; ``notifications/cancelled`` names the new id. A client
  that leaves has its open requests cancelled at the server.
- There is one handshake: the first ``initialize`` (or ``server/discover``) is passed on, all others get its answer.
  ``notifications/initialized`` is said once, before any of them is answered.
- What a server tells of a request goes to who made it, all else (lists that changed, resources, logs) to all.
- What a server asks: a ping is answered here. Anything else (sampling, elicitation, roots) goes to the client that has
  requests open, if it is the only one: it says no, and knows what for. Where several have, it is refused here, once:
  nobody can tell whose call it is.
- ``subscriptions/listen`` is refused: its one answer would be a stream for each client.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from omx_tasks.mcp.lines import TOO_LARGE, answered_by

Message: TypeAlias = dict[str, Any]

METHOD_NOT_FOUND, INVALID_REQUEST = -32601, -32600
HELLOS = ("initialize", "server/discover")
#: Requests that do something for somebody.
CALLS = frozenset({"tools/call", "resources/read", "prompts/get"})

logger = logging.getLogger(__name__)


class Client(Protocol):
    """Who speaks to the server."""

    def tell(self, line: bytes) -> None:
        """Say one line to it."""


C = TypeVar("C", bound=Client)


@dataclass(frozen=True)
class _Request(Generic[C]):
    client: C
    id: Any
    method: str
    token: Any


@dataclass
class _Hello(Generic[C]):
    """A handshake: its answer, or who waits for it."""

    answer: Message | None = None
    waiting: list[tuple[C, Any]] = field(default_factory=list)


class Multiplexer(Generic[C]):
    """Keeps the clients of one server apart; ``send`` writes a line to it."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send
        self._clients: list[C] = []
        self._ids = itertools.count(1)
        self._requests: dict[int, _Request[C]] = {}
        self._hellos: dict[str, _Hello[C]] = {}
        self._greeting: dict[int, str] = {}
        self._asked: dict[str, C] = {}

    def __repr__(self) -> str:
        return f"<Multiplexer clients={len(self._clients)} open={len(self._requests)}>"

    @property
    def clients(self) -> list[C]:
        """Who speaks to the server now."""
        return list(self._clients)

    @property
    def is_called(self) -> bool:
        """Whether it does something for somebody now."""
        return any(request.method in CALLS for request in self._requests.values())

    def join(self, client: C) -> None:
        """Take one more client."""
        self._clients.append(client)

    def leave(self, client: C) -> None:
        """A client has gone: what it asked is cancelled."""
        if client not in self._clients:
            return
        self._clients.remove(client)
        for number, request in list(self._requests.items()):
            if request.client is client:
                self._cancel(number, {"reason": "its client has gone"})
        for asked, who in list(self._asked.items()):
            if who is client:
                del self._asked[asked]
                self._refuse(json.loads(asked), "its client has gone")
        for hello in self._hellos.values():
            hello.waiting = [one for one in hello.waiting if one[0] is not client]

    # --- from a client ------------------------------------------------------------------------------

    def heard(self, client: C, line: bytes) -> None:
        """Take one line of a client; raises ``ValueError`` where it is no message."""
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("a message must be an object")
        method = message.get("method")
        if method is None:
            self._answered(client, message)
        elif "id" not in message:
            self._told(client, message)
        elif method in HELLOS:
            self._greeted(client, message)
        elif method == "subscriptions/listen":
            _answer(client, message["id"], _error(METHOD_NOT_FOUND, "not on a shared server"))
        else:
            self._ask(client, message)

    def heard_too_much(self, client: C, most: int, ends: bytes, length: int) -> None:
        """Answer a line of a client that is too long."""
        number = answered_by(ends)
        if number is not None:
            said = f"a request of {length:,} bytes; {most:,} are allowed"
            _answer(client, number, _error(TOO_LARGE, said))

    def _ask(self, client: C, message: Message) -> None:
        number = next(self._ids)
        meta = (message.get("params") or {}).get("_meta") or {}
        token = meta.get("progressToken")
        self._requests[number] = _Request(client, message["id"], message["method"], token)
        if token is not None:
            meta["progressToken"] = number
        self._write({**message, "id": number})

    def _told(self, client: C, message: Message) -> None:
        """Take a notification; only that of a cancelled request is for the server."""
        if message["method"] != "notifications/cancelled":
            return
        params = message.get("params") or {}
        for number, request in self._requests.items():
            if request.client is client and request.id == params.get("requestId"):
                self._cancel(number, params)
                return

    def _cancel(self, number: int, params: Message) -> None:
        """Tell the server that nobody waits any more; what it answers all the same is nobody's."""
        del self._requests[number]
        params = {**params, "requestId": number}
        self._write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    def _answered(self, client: C, message: Message) -> None:
        if self._asked.get(asked := json.dumps(message.get("id"))) is client:
            del self._asked[asked]
            self._write(message)

    def _greeted(self, client: C, message: Message) -> None:
        method = message["method"]
        key = "initialize" if method == "initialize" else json.dumps(message.get("params"))
        hello = self._hellos.setdefault(key, _Hello())
        if hello.answer is not None:
            _answer(client, message["id"], hello.answer)
            return
        hello.waiting.append((client, message["id"]))
        if len(hello.waiting) == 1 and key not in self._greeting.values():
            number = next(self._ids)
            self._greeting[number] = key
            self._write({**message, "id": number})

    # --- from the server ----------------------------------------------------------------------------

    def said(self, line: bytes) -> None:
        """Take one line of the server; raises ``ValueError`` where it is no message."""
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("a message must be an object")
        if "method" not in message:
            self._give(message)
        elif "id" in message:
            self._questioned(message, line)
        elif message["method"] == "notifications/progress":
            self._progressed(message)
        elif message["method"] != "notifications/cancelled":
            for client in self.clients:
                client.tell(line)

    def said_too_much(self, most: int, ends: bytes, length: int) -> None:
        """Answer in the place of a line that is too long."""
        number = answered_by(ends)
        if number is not None:
            said = f"it answered with a message of {length:,} bytes; {most:,} are allowed"
            self._give({"id": number, **_error(TOO_LARGE, said)})

    def _give(self, message: Message) -> None:
        number = message.get("id")
        if number in self._greeting:
            self._welcomed(self._greeting.pop(number), message)
            return
        request = self._requests.pop(number, None) if isinstance(number, int) else None
        if request is not None:
            _answer(request.client, request.id, message)

    def _welcomed(self, key: str, answer: Message) -> None:
        hello = self._hellos[key]
        if key == "initialize" and "result" in answer:
            self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        hello.answer = answer
        waiting, hello.waiting = hello.waiting, []
        for client, asked in waiting:
            _answer(client, asked, answer)

    def _progressed(self, message: Message) -> None:
        params = message.get("params") or {}
        number = params.get("progressToken")
        request = self._requests.get(number) if isinstance(number, int) else None
        if request is not None and request.token is not None:
            params["progressToken"] = request.token
            request.client.tell(_line(message))

    def _questioned(self, message: Message, line: bytes) -> None:
        if message["method"] == "ping":
            self._write({"jsonrpc": "2.0", "id": message["id"], "result": {}})
            return
        asking = {id(one.client): one.client for one in self._requests.values()}
        if len(asking) == 1:
            (client,) = asking.values()
            self._asked[json.dumps(message["id"])] = client
            client.tell(line)
            return
        logger.warning("a shared server asked for %s; refused", message["method"])
        self._refuse(message["id"], f"{message['method']}: nobody answers, unattended run")

    def _refuse(self, number: Any, why: str) -> None:
        self._write({"jsonrpc": "2.0", "id": number, **_error(INVALID_REQUEST, why)})

    def _write(self, message: Message) -> None:
        self._send(_line(message))


def _answer(client: Client, number: Any, answer: Message) -> None:
    """Give a client its answer, under the id of its own request."""
    client.tell(_line({"jsonrpc": "2.0", "id": number, **_without_id(answer)}))


def _without_id(answer: Message) -> Message:
    return {key: value for key, value in answer.items() if key in ("result", "error")}


def _error(code: int, message: str) -> Message:
    return {"error": {"code": code, "message": message}}


def _line(message: Message) -> bytes:
    try:
        return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a character, which only an escape can hold
        return json.dumps(message, separators=(",", ":")).encode()
