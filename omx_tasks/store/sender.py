"""Sends script calls at once, from the thread that makes them, and takes the answers later.

For what must be on its way before its sender goes on, but need not be confirmed by then. What the system has taken over
reaches the server even when this process is killed the next moment. Answers are taken with later calls and, when there
are none, now and then in the courier's thread, which also carries again whatever was refused or lost with its
link::

    send ──► on its way ──► answered
                 └──► refused, link broken or silent ──► the courier's matter ──► answered, or told to be lost

Calls with one first key are done in the order in which they were sent: as long as the courier has one of them, those
that follow go with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from omx_tasks.errors import ConfigurationError, OmxError
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store
from omx_tasks.store.courier import Courier, Done
from omx_tasks.store.link import Link, LinkError, ReplyError
from omx_tasks.store.scripts import Call
from omx_tasks.store.topology import slot_of

logger = logging.getLogger(__name__)

#: Unread answers of one node from which on the next call reads them.
MANY = 16
#: Seconds between two looks at answers that no later call has read.
ROUND = 0.25
#: Seconds without a word from a node that owes an answer, after which its calls are carried again.
SILENCE = 5.0


class Sender:
    """Thread-safe, fork-safe; ``lost`` is told of each call that was not confirmed within the store's time."""

    def __init__(self, store: Store, lost: Callable[[Call, OmxError], None]) -> None:
        self._store = store
        self._lost = lost
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._links: dict[Node, Link] = {}
        self._on_its_way: dict[Node, dict[int, Call]] = {}
        self._taught: dict[Node, set[str]] = {}
        #: First keys of the calls that the courier has, and how many.
        self._carried: Counter[str] = Counter()
        self._number = 0
        self._looking = False
        self._courier = Courier(self._store, name="sender")

    def __repr__(self) -> str:
        waiting = sum(len(calls) for calls in self._on_its_way.values())
        return f"<Sender on_its_way={waiting}>"

    def send(self, call: Call) -> None:
        """Send a call; when this returns, it has left this process or is the courier's matter."""
        if os.getpid() != self._pid:
            self._begin()
        with self._lock:
            node = self._owner(slot_of(call.keys[0]))
            if node is None or call.keys[0] in self._carried or not self._post(node, call):
                self._carry(call)

    def flush(self, timeout: float) -> bool:
        """Wait until everything sent so far is answered; False when time ran out."""
        deadline = time.monotonic() + timeout
        if os.getpid() != self._pid:
            return True
        with self._lock:
            for node, link in list(self._links.items()):
                self._guard(node, partial(link.settle, deadline))
        return not self._courier.running or self._courier.flush(deadline - time.monotonic())

    def close(self, timeout: float = 5.0) -> None:
        """Flush, end the thread, close the links."""
        self.flush(timeout)
        self._courier.stop()
        with self._lock:
            for link in self._links.values():
                link.close()
            self._links.clear()

    # --- with the lock ------------------------------------------------------------------------------

    def _owner(self, slot: int) -> Node | None:
        """Return the node that has a slot; the first call of a process asks the cluster for it."""
        if self._store.topology.owner(slot) is None:
            with contextlib.suppress(OmxError):
                self._store.ping(self._store.attempt)
        return self._store.topology.owner(slot)

    def _post(self, node: Node, call: Call) -> bool:
        """Send to a node; False when it is not the way."""
        link = self._links.get(node) or self._connect(node)
        if link is None:
            return False
        self._number += 1
        number = self._number
        self._on_its_way[node][number] = call

        def talk() -> None:
            command = call.by_digest() if self._knows(link, call) else call.by_text()
            link.post(command, partial(self._answered, node, number))
            if link.unsent:  # more than the system takes over at once
                link.settle(time.monotonic() + self._store.attempt)
            elif link.waiting > MANY:
                link.receive()

        self._guard(node, talk)
        self._look_later()
        return True

    def _knows(self, link: Link, call: Call) -> bool:
        """Whether a node was taught a script over this link; the sender may not live to hear that it was not."""
        taught = self._taught[link.node]
        known = call.script.digest in taught
        taught.add(call.script.digest)
        return known

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            self._courier.later(ROUND, self._look)

    def _connect(self, node: Node) -> Link | None:
        try:
            link = self._store.take(node, time.monotonic() + self._store.attempt)
        except (LinkError, ConfigurationError):
            return None
        self._links[node], self._on_its_way[node], self._taught[node] = link, {}, set()
        self._courier.start()
        return link

    def _answered(self, node: Node, number: int, reply: Any) -> None:
        calls = self._on_its_way[node]
        call = calls.pop(number)
        if isinstance(reply, ReplyError):
            self._carry(call)
            for later in [other for other in calls.values() if other.keys[0] == call.keys[0]]:
                self._carry(later)  # done already, perhaps, and yet to be done after it

    def _guard(self, node: Node, act: Callable[[], Any]) -> None:
        """Talk to a node; when the link breaks, what it has not answered is carried again."""
        try:
            act()
        except LinkError as error:
            logger.info("%s; what it did not answer is sent again", error)
            self._drop(node)

    def _drop(self, node: Node) -> None:
        self._links.pop(node).close()
        for call in self._on_its_way.pop(node).values():
            self._carry(call)

    def _carry(self, call: Call) -> None:
        self._courier.start()
        self._carried[call.keys[0]] += 1
        self._courier.send(call, partial(self._told, call))

    # --- in the courier's thread --------------------------------------------------------------------

    def _told(self, call: Call, answer: Any) -> None:
        key = call.keys[0]
        with self._lock:
            self._carried[key] -= 1
            if not self._carried[key]:
                del self._carried[key]
        if isinstance(answer, OmxError):
            self._lost(call, answer)

    def _look(self) -> Iterable[tuple[Call, Done | None]]:
        """Take the answers that no later call has taken."""
        with self._lock:
            for node, link in list(self._links.items()):
                if link.waiting:
                    self._guard(node, link.receive)
                silent = link.waiting and time.monotonic() - link.silent_since > SILENCE
                if silent and node in self._links:  # it may have been dropped for a broken link
                    logger.warning("%s has been silent for %d s; sending again", node, SILENCE)
                    self._drop(node)
            self._looking = False
            if any(link.waiting for link in self._links.values()):
                self._look_later()
        return ()
