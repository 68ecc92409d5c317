"""The waiting client of the cluster: script calls and commands, routed by slot, retried until a deadline.

Every process has its own `Store`; links are made after a fork, never shared over one. MOVED, ASK, TRYAGAIN,
CLUSTERDOWN, READONLY, LOADING and a broken connection are ordinary weather: the request is
sent again, with the slot table learned anew, until ``timeout`` seconds are over. A request can therefore run twice,
so everything that is sent here must come to the same when it does; the scripts are written that way.

Requests for several nodes are under way at once: a node that hangs costs one attempt, not the others' answers; and no
longer than until the others have given its slots to another one, which is asked for as long as it is silent.

A durable call (`Call.durable`) is done when its write was confirmed as the store's `Durability` says, by one ``WAIT``
for all that went to a node together. Until then it counts as not answered, and is sent again.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

from omx_tasks.durability import SAFE, Durability, Promise
from omx_tasks.errors import ConfigurationError, OmxError, UnavailableError, UnconfirmedError
from omx_tasks.settings import Settings
from omx_tasks.store.address import Address, Node
from omx_tasks.store.confirmer import PROBE, Confirmer, refuse
from omx_tasks.store.link import Command, Link, LinkError, ReplyError
from omx_tasks.store.requests import Request
from omx_tasks.store.scripts import Call, Script
from omx_tasks.store.topology import Topology
from omx_tasks.store.trip import Trip

#: Seconds for opening a connection, and for another node's word on one that is silent.
CONNECT, WORD = 2.0, 0.5
_PAUSE = (0.0, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2)


class StoreError(OmxError):
    """The cluster refused a request for good (out of memory, no permission, a broken script)."""


class Store:
    """Thread-safe, fork-safe access to one cluster.

    ``timeout`` is how many seconds one request may take over all its tries; ``attempt`` how many
    one try may, so that a hung master costs one attempt and not the whole timeout; ``promise``, when a durable
    call counts as done.
    """

    def __init__(
        self,
        address: Address | str,
        *,
        timeout: float = 30.0,
        attempt: float = 5.0,
        promise: Promise = SAFE,
    ) -> None:
        self.address = Address.parse(address) if isinstance(address, str) else address
        self.timeout = timeout
        self.attempt = attempt
        self.topology = Topology(self.address)
        self.confirmer = Confirmer(promise)
        #: Called before each try of each request; what it raises, whoever makes the request gets.
        self.guard: Callable[[], None] = _unguarded
        self._links: dict[Node, deque[Link]] = defaultdict(deque)
        #: The version of the slot table by which idle links were looked through.
        self._tidied = 0
        self._pid = os.getpid()
        self._lock = threading.Lock()

    @classmethod
    def configured(cls, url: str, given: Settings) -> Store:
        """Return a store of the cluster at ``url`` as the settings want it."""
        return cls(url, timeout=given.request_timeout, promise=given.promise)

    def __repr__(self) -> str:
        return f"<Store {self.address}>"

    def run(self, call: Call, *, timeout: float | None = None) -> Any:
        """Call one script and return its answer.

        Raises `UnavailableError`, `StoreError`, or `ConfigurationError` where the cluster does not let us in.
        """
        return _raised(self.run_many([call], timeout=timeout)[0])

    def run_many(self, calls: Sequence[Call], *, timeout: float | None = None) -> list[Any]:
        """Call many scripts, pipelined per node; an error stands in its place in the answer."""
        return self._carry([Request.of(call) for call in calls], timeout)

    def command(self, key: str, *command: Any, timeout: float | None = None) -> Any:
        """Send a plain command to the node that owns ``key``; raises as `run` does."""
        return _raised(self._carry([Request.plain(key, command)], timeout)[0])

    def commands(
        self, commands: Sequence[tuple[str, Command]], *, timeout: float | None = None
    ) -> list[Any]:
        """Send many ``(key, command)``, pipelined per node; raises the first error."""
        requests = [Request.plain(key, command) for key, command in commands]
        return [_raised(reply) for reply in self._carry(requests, timeout)]

    def teach(self, scripts: Sequence[Script]) -> None:
        """Have all masters know these scripts.

        Raises `UnavailableError`, or `StoreError` where this user may not: then calls bring their scripts along.
        """
        self._notice_fork()
        self.guard()
        deadline = time.monotonic() + self.attempt
        if not self.topology.masters:
            self.topology.refresh(self.attempt)
        commands = [("SCRIPT", "LOAD", script.text) for script in scripts]
        for node in self.topology.masters:
            try:
                link = self.take(node, deadline)
                answers = link.ask(commands, deadline)
            except LinkError as error:
                raise UnavailableError(str(error)) from error
            self.give(link)
            for answer in answers:
                _raised(answer)

    def ping(self, timeout: float) -> None:
        """Make sure that the cluster can be reached within ``timeout`` seconds, and can do what it is to do.

        Raises `UnavailableError`, or `ConfigurationError` where it does not let us in or has no ``WAITAOF``.
        """
        self._notice_fork()
        self.topology.refresh(timeout)
        if self.confirmer.durability is Durability.FSYNC:
            self._probe(time.monotonic() + timeout)

    def _probe(self, deadline: float) -> None:
        try:
            link = self.take(self.topology.masters[0], deadline)
            (answer,) = link.ask([PROBE], deadline)
        except LinkError as error:
            raise UnavailableError(str(error)) from error
        self.give(link)
        if isinstance(answer, ReplyError):
            refuse(answer)

    def _carry(self, requests: list[Request], timeout: float | None) -> list[Any]:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        reason: str | None = None
        todo, attempt = requests, 0
        while todo:
            pause = _PAUSE[min(attempt, len(_PAUSE) - 1)]
            if attempt and time.monotonic() + pause >= deadline:
                raise self.unconfirmed(reason, requests)
            if pause:
                time.sleep(pause)
            reason = self._try(todo, deadline) or reason
            todo = [request for request in todo if not request.done]
            attempt += 1
        return [request.reply for request in requests]

    def unconfirmed(self, reason: str | None, requests: Sequence[Request]) -> UnavailableError:
        """Return the error of requests of which not all were done before their deadline: it says what may be stored."""
        if not self.topology.version and reason:
            return UnavailableError(reason)  # nothing was sent
        left = sum(not request.done for request in requests)
        what = "a request" if len(requests) == 1 else f"{left} of {len(requests)} requests"
        text = f"{self.address} did not confirm {what} in time ({reason or 'no node answered'}); "
        if any(request.uncertain for request in requests if not request.done):
            text += "it may have been stored all the same."
        else:
            text += "it was not stored." if left == len(requests) else "the others were stored."
        stored = any(
            request.durable and (request.uncertain or request.done) for request in requests
        )
        return UnconfirmedError(text) if stored else UnavailableError(text)

    # --- one try ------------------------------------------------------------------------------------

    def try_once(self, requests: list[Request], deadline: float) -> str | None:
        """Send each request once, with its script where a node lacks that; return a reason why one is not done."""
        try:
            return self._try(requests, deadline)
        except ConfigurationError as error:
            return str(error)

    def _try(self, requests: list[Request], deadline: float) -> str | None:
        """Do as `try_once`, but raise `ConfigurationError` where every node that is there refuses us."""
        self._notice_fork()
        self.guard()
        deadline = min(deadline, time.monotonic() + self.attempt)
        reason = self._exchange(self._by_node(requests, deadline), deadline)
        if untaught := [request for request in requests if request.untaught]:
            reason = self._exchange(self._by_node(untaught, deadline), deadline) or reason
        left = [request for request in requests if not request.done]
        if not left:
            return None
        refusals = [str(r.reply) for r in left if isinstance(r.reply, ReplyError)]
        lost = any(request.lost for request in left)
        unreachable = self._refresh(deadline) if lost else None
        return unreachable or (refusals[-1] if refusals else reason)

    def _by_node(self, requests: list[Request], deadline: float) -> dict[Node, list[Request]]:
        owner = self.topology.owner
        if any(owner(request.slot) is None for request in requests):
            self._refresh(deadline)
        groups: dict[Node, list[Request]] = defaultdict(list)
        for request in requests:
            node = request.asking or owner(request.slot)
            if node is not None:
                groups[node].append(request)
        return groups

    def _exchange(self, groups: dict[Node, list[Request]], deadline: float) -> str | None:
        """Send to every node, then collect from every node."""
        reason = None
        under_way: list[tuple[Link, Trip]] = []
        for node, group in groups.items():
            try:
                link = self.take(node, deadline)
                under_way.append((link, Trip(link, group, self.confirmer)))
            except (LinkError, ConfigurationError) as error:
                reason = str(error)
                self._forget(node)
        for link, trip in under_way:
            confirmed = False
            try:
                confirmed = trip.collect(deadline)
            except LinkError as error:
                reason = self.confirmer.why_not(link.node) if trip.answered else str(error)
                self._forget(link.node)
            else:
                self.give(link)
                reason = reason if confirmed else self.confirmer.why_not(link.node)
            finally:
                trip.settle(self.topology, confirmed)
        return reason

    def _refresh(self, deadline: float) -> str | None:
        """Learn the slot table anew; return the reason where that was not possible."""
        left = max(0.05, deadline - time.monotonic())
        try:
            self.topology.refresh(min(left, 2.0))
        except UnavailableError as error:
            return str(error)
        return None

    # --- links --------------------------------------------------------------------------------------

    def take(self, node: Node, deadline: float) -> Link:
        """Borrow a connected link to ``node``; `give` it back, or `Link.close` it when it broke."""
        self._notice_fork()
        if self._tidied != self.topology.version:
            self._tidy()
        with self._lock:
            links = self._links[node]
            if links:
                return links.pop()
        timeout = max(0.05, min(self.attempt, CONNECT, deadline - time.monotonic()))
        link = Link(node, self.address)
        link.on_silence = self._doubt
        return link.connect(timeout)

    def _doubt(self, link: Link) -> None:
        """Give a silent node up when the others say that it has no slots any more."""
        if self.topology.masters and not self.topology.serves(link.node, WORD):
            link.give_up("it is silent, and its slots are elsewhere")

    def give(self, link: Link) -> None:
        """Return a link that is still in order."""
        with self._lock:
            self._links[link.node].append(link)

    def _tidy(self) -> None:
        """Close idle links to nodes that have no slots any more."""
        self._tidied = self.topology.version
        masters = self.topology.masters
        with self._lock:
            idle = [self._links.pop(node) for node in self._links.keys() - set(masters)]
        for links in idle:
            for link in links:
                link.close()

    def _forget(self, node: Node) -> None:
        with self._lock:
            links = self._links.pop(node, deque())
        for link in links:
            link.close()
        self.confirmer.forget(node)

    def _notice_fork(self) -> None:
        """In a forked process, drop the parent's links; their sockets belong to it."""
        if os.getpid() == self._pid:
            return
        self._pid = os.getpid()
        self._lock = threading.Lock()
        inherited, self._links = self._links, defaultdict(deque)
        for links in inherited.values():
            for link in links:
                link.close()
        self.topology.after_fork()

    def close(self) -> None:
        """Close all idle links."""
        for node in list(self._links):
            self._forget(node)


def _unguarded() -> None:
    """Let every request through."""


def _raised(reply: Any) -> Any:
    if isinstance(reply, ReplyError):
        raise StoreError(f"the cluster refused a request: {reply}") from reply
    return reply
