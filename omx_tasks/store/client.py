"""The waiting client of the cluster: script calls and commands, routed by slot, retried until a deadline.

Every process has its own `Store`; links are made after a fork, never shared over one. MOVED, ASK, TRYAGAIN,
CLUSTERDOWN, READONLY, LOADING and a broken connection are ordinary weather: the request is
sent again, with the slot table learned anew, until ``timeout`` seconds are over. A request can therefore run twice,
so everything that is sent here must come to the same when it does; the scripts are written that way.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omx_tasks.errors import OmxError, UnavailableError
from omx_tasks.store.address import Address, Node
from omx_tasks.store.link import Command, Link, LinkError, ReplyError
from omx_tasks.store.scripts import Call
from omx_tasks.store.topology import Topology, slot_of

#: Answers that say "not here" or "not now", and are worth another try.
PASSING = frozenset(
    {"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS"}
)
_PAUSE = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)


class StoreError(OmxError):
    """The cluster refused a request for good (out of memory, no permission, a broken script)."""


@dataclass(slots=True)
class _Request:
    """One request on its way: what to send, where, and what came of it."""

    key: str
    slot: int
    command: Command
    call: Call | None = None
    asking: Node | None = None
    reply: Any = None
    done: bool = False


class Store:
    """Thread-safe, fork-safe access to one cluster.

    ``timeout`` is how many seconds one request may take over all its tries; ``attempt`` how many
    one try may, so that a hung master costs one attempt and not the whole timeout.
    """

    def __init__(
        self, address: Address | str, *, timeout: float = 30.0, attempt: float = 5.0
    ) -> None:
        self.address = Address.parse(address) if isinstance(address, str) else address
        self.timeout = timeout
        self.attempt = attempt
        self.topology = Topology(self.address)
        self._links: dict[Node, deque[Link]] = defaultdict(deque)
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Store {self.address}>"

    def run(self, call: Call, *, timeout: float | None = None) -> Any:
        """Call one script and return its answer; raises `UnavailableError` or `StoreError`."""
        return _raised(self.run_many([call], timeout=timeout)[0])

    def run_many(self, calls: Sequence[Call], *, timeout: float | None = None) -> list[Any]:
        """Call many scripts, pipelined per node; an error stands in its place in the answer."""
        requests = [
            _Request(call.keys[0], slot_of(call.keys[0]), call.by_digest(), call) for call in calls
        ]
        return self._carry(requests, timeout)

    def command(self, key: str, *command: Any, timeout: float | None = None) -> Any:
        """Send a plain command to the node that owns ``key``; raises as `run` does."""
        return _raised(self._carry([_Request(key, slot_of(key), command)], timeout)[0])

    def commands(
        self, commands: Sequence[tuple[str, Command]], *, timeout: float | None = None
    ) -> list[Any]:
        """Send many ``(key, command)``, pipelined per node; raises the first error."""
        requests = [_Request(key, slot_of(key), command) for key, command in commands]
        return [_raised(reply) for reply in self._carry(requests, timeout)]

    def ping(self, timeout: float) -> None:
        """Make sure that the cluster can be reached within ``timeout`` seconds."""
        self.topology.refresh(timeout)

    def _carry(self, requests: list[_Request], timeout: float | None) -> list[Any]:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        reason = "no try was made"
        for attempt in range(1_000_000):
            todo = [request for request in requests if not request.done]
            if not todo:
                return [request.reply for request in requests]
            if time.monotonic() >= deadline:
                raise UnavailableError(
                    f"{self.address} did not confirm a request in time ({reason}); "
                    "it may have been stored all the same."
                )
            time.sleep(_PAUSE[min(attempt, len(_PAUSE) - 1)])
            reason = self._try(todo, deadline) or reason
        raise AssertionError("unreachable")

    def _try(self, requests: list[_Request], deadline: float) -> str | None:
        """Send what is not done; return the last reason why something still is not."""
        reason = None
        for node, group in self._by_node(requests, deadline).items():
            try:
                self._exchange(node, group, deadline)
            except LinkError as error:
                reason = str(error)
                self._forget(node)
        pending = [request for request in requests if not request.done]
        for request in pending:
            if isinstance(request.reply, ReplyError):
                reason = str(request.reply)
        if pending and not all(request.asking for request in pending):
            self._refresh(deadline)
        return reason

    def _by_node(self, requests: list[_Request], deadline: float) -> dict[Node, list[_Request]]:
        if any(self.topology.owner(request.slot) is None for request in requests):
            self._refresh(deadline, must=True)
        groups: dict[Node, list[_Request]] = defaultdict(list)
        for request in requests:
            node = request.asking or self.topology.owner(request.slot)
            if node is not None:
                groups[node].append(request)
        return groups

    def _refresh(self, deadline: float, *, must: bool = False) -> None:
        left = max(0.05, min(self.attempt, deadline - time.monotonic()))
        try:
            self.topology.refresh(min(left, 2.0))
        except UnavailableError:
            if must and time.monotonic() + 0.2 >= deadline:
                raise

    def _exchange(self, node: Node, group: list[_Request], deadline: float) -> None:
        commands: list[Command] = []
        for request in group:
            if request.asking:
                commands.append(("ASKING",))
            commands.append(request.command)
        link = self.take(node, deadline)
        replies = iter(link.ask(commands, min(deadline, time.monotonic() + self.attempt)))
        self.give(link)
        for request in group:
            if request.asking:
                next(replies)
            self._settle(request, next(replies))

    def _settle(self, request: _Request, reply: Any) -> None:
        request.reply, request.asking = reply, None
        if not isinstance(reply, ReplyError):
            request.done = True
        elif reply.code == "NOSCRIPT" and request.call is not None:
            request.command = request.call.by_text()
        elif reply.code == "MOVED":
            self.topology.moved(request.slot, redirected(reply))
        elif reply.code == "ASK":
            request.asking = redirected(reply)
        elif reply.code not in PASSING:
            request.done = True

    def take(self, node: Node, deadline: float) -> Link:
        """Borrow a connected link to ``node``; `give` it back, or `Link.close` it when it broke."""
        if os.getpid() != self._pid:
            self._after_fork()
        with self._lock:
            links = self._links[node]
            if links:
                return links.pop()
        timeout = max(0.05, min(self.attempt, deadline - time.monotonic()))
        return Link(node, self.address).connect(timeout)

    def give(self, link: Link) -> None:
        """Return a link that is still in order."""
        with self._lock:
            self._links[link.node].append(link)

    def _forget(self, node: Node) -> None:
        with self._lock:
            links = self._links.pop(node, deque())
        for link in links:
            link.close()

    def _after_fork(self) -> None:
        """Drop the parent's links; their sockets belong to it."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        inherited, self._links = self._links, defaultdict(deque)
        for links in inherited.values():
            for link in links:
                link.close()
        self.topology = Topology(self.address)

    def close(self) -> None:
        """Close all idle links."""
        for node in list(self._links):
            self._forget(node)


def redirected(reply: ReplyError) -> Node:
    """Return the node that a MOVED or ASK answer points to."""
    host, _, port = str(reply).rsplit(" ", 1)[1].rpartition(":")
    return Node(host, int(port))


def _raised(reply: Any) -> Any:
    if isinstance(reply, ReplyError):
        raise StoreError(f"the cluster refused a request: {reply}") from reply
    return reply
