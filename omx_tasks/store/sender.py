"""Sends script calls at once, from the thread that makes them, and takes the answers later.

For what must be on its way before its sender goes on, but need not be confirmed by then. What the system has taken over
reaches the server even when this process is killed the next moment. Answers are taken with later calls and, when there
are none, now and then in the courier's thread, which also carries again whatever was refused or lost with its
link::

    send ──► on its way ──► answered ──► confirmed, if it is durable
                 │             └──► no replica has it ──┐
                 └──► refused, link broken or silent ───┴──► the courier's matter ──► answered, or told to be lost

Calls with one first key are done in the order in which they were sent: as long as the courier has one of them, those
that follow go with it.

Durable calls are confirmed now and then, for all that were answered until then. A node reads nothing more of a link
while it waits for its replica, and forgets what it has not read when the link ends: so nothing is sent over a link that
is being confirmed, but over another one meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from omx_tasks.errors import ConfigurationError, OmxError
from omx_tasks.store.address import Node
from omx_tasks.store.client import WORD, Store
from omx_tasks.store.courier import Courier, Done
from omx_tasks.store.link import DOUBT, Link, LinkError, ReplyError
from omx_tasks.store.scripts import Call
from omx_tasks.store.topology import slot_of

logger = logging.getLogger(__name__)

#: Unread answers of one node from which on the next call reads them.
MANY = 16
#: Seconds between two looks at answers that no later call has read.
ROUND = 0.25
#: Seconds until the next look at a link that was too busy to be confirmed.
SOON = 0.005
#: Seconds without a word from a node that owes an answer, after which its calls are carried again in any case.
SILENCE = 5.0


@dataclass(eq=False)
class _Lane:
    """A link, what it has carried and is not answered, and what is answered and not confirmed."""

    link: Link
    on_its_way: dict[int, Call] = field(default_factory=dict)
    unconfirmed: list[Call] = field(default_factory=list)


class Sender:
    """Thread-safe, fork-safe; ``lost`` is told of each call that was not confirmed within the store's time."""

    def __init__(self, store: Store, lost: Callable[[Call, OmxError], None]) -> None:
        self._store = store
        self._lost = lost
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._lanes: dict[Node, _Lane] = {}
        self._taught: dict[Node, set[str]] = {}
        #: First keys of the calls that the courier has, and how many.
        self._carried: Counter[str] = Counter()
        self._number = 0
        self._looking = False
        self._courier = Courier(self._store, name="sender")

    def __repr__(self) -> str:
        waiting = sum(len(lane.on_its_way) for lane in self._lanes.values())
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
            for node, lane in list(self._lanes.items()):
                self._guard(node, partial(lane.link.settle, deadline))
            answered = self._retire()
        self._confirm(answered, deadline)
        return not self._courier.running or self._courier.flush(deadline - time.monotonic())

    def close(self, timeout: float = 5.0) -> None:
        """Flush, end the thread, close the links."""
        self.flush(timeout)
        self._courier.stop()
        with self._lock:
            for lane in self._lanes.values():
                lane.link.close()
            self._lanes.clear()

    # --- with the lock ------------------------------------------------------------------------------

    def _owner(self, slot: int) -> Node | None:
        """Return the node that has a slot; the first call of a process asks the cluster for it."""
        if self._store.topology.owner(slot) is None:
            with contextlib.suppress(OmxError):
                self._store.ping(self._store.attempt)
        return self._store.topology.owner(slot)

    def _post(self, node: Node, call: Call) -> bool:
        """Send to a node; False when it is not the way."""
        lane = self._lanes.get(node) or self._connect(node)
        if lane is None:
            return False
        self._number += 1
        link, number = lane.link, self._number
        lane.on_its_way[number] = call

        def talk() -> None:
            command = call.by_digest() if self._knows(link, call) else call.by_text()
            link.post(command, partial(self._answered, lane, number))
            if link.unsent:  # more than the system takes over at once
                link.settle(time.monotonic() + self._store.attempt)
            elif link.waiting > MANY:
                link.receive()

        self._guard(node, talk)
        self._look_later(ROUND)
        return True

    def _knows(self, link: Link, call: Call) -> bool:
        """Whether a node was taught a script over this link; the sender may not live to hear that it was not."""
        taught = self._taught.setdefault(link.node, set())
        known = call.script.digest in taught
        taught.add(call.script.digest)
        return known

    def _look_later(self, seconds: float) -> None:
        if not self._looking:
            self._looking = True
            self._courier.later(seconds, self._look)

    def _connect(self, node: Node) -> _Lane | None:
        try:
            link = self._store.take(node, time.monotonic() + self._store.attempt)
        except (LinkError, ConfigurationError):
            return None
        lane = self._lanes[node] = _Lane(link)
        self._courier.start()
        return lane

    def _answered(self, lane: _Lane, number: int, reply: Any) -> None:
        call = lane.on_its_way.pop(number)
        if isinstance(reply, ReplyError):
            self._carry(call)
            self._carry_later([lane], {call.keys[0]})
        elif call.durable and self._store.confirmer.active:
            lane.unconfirmed.append(call)

    def _carry_later(self, lanes: Iterable[_Lane], keys: set[str]) -> None:
        """Have done again what followed calls that are carried, for the same keys: it is to be done after them."""
        for lane in lanes:
            for call in (*lane.unconfirmed, *lane.on_its_way.values()):
                if call.keys[0] in keys:
                    self._carry(call)

    def _guard(self, node: Node, act: Callable[[], Any]) -> None:
        """Talk to a node; when the link breaks, what it has not answered is carried again."""
        try:
            act()
        except LinkError as error:
            logger.info("%s; what it did not answer is sent again", error)
            self._drop(node)

    def _drop(self, node: Node) -> None:
        lane = self._lanes.pop(node)
        lane.link.close()
        self._taught.pop(node, None)
        for call in (*lane.unconfirmed, *lane.on_its_way.values()):
            self._carry(call)

    def _retire(self) -> list[_Lane]:
        """Take the links away that owe no answer and carried something durable: to be confirmed."""
        ready = [lane for lane in self._lanes.values() if lane.unconfirmed and not lane.on_its_way]
        for lane in ready:
            del self._lanes[lane.link.node]
        return ready

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
            for node, lane in list(self._lanes.items()):
                if lane.link.waiting:
                    self._guard(node, lane.link.receive)
            silent = {lane.link: self._silence(lane) for lane in self._lanes.values()}
        gone = [link for link, seconds in silent.items() if self._is_gone(link.node, seconds)]
        with self._lock:
            for node, lane in list(self._lanes.items()):
                if lane.link in gone and self._silence(lane) > DOUBT:
                    logger.warning(
                        "%s has been silent for %.1f s; sending again", node, silent[lane.link]
                    )
                    self._drop(node)
            answered = self._retire()
            self._looking = False
            if any(lane.unconfirmed for lane in self._lanes.values()):
                self._look_later(SOON)
            elif any(lane.on_its_way for lane in self._lanes.values()):
                self._look_later(ROUND)
        self._confirm(answered, time.monotonic() + self._store.attempt)
        return ()

    def _silence(self, lane: _Lane) -> float:
        """Return for how many seconds answers have been awaited without a word."""
        return time.monotonic() - lane.link.silent_since if lane.link.waiting else 0.0

    def _is_gone(self, node: Node, silent: float) -> bool:
        """Whether a silent node is not to be waited for: others have its slots, or it takes too long."""
        return silent > SILENCE or (silent > DOUBT and not self._store.topology.serves(node, WORD))

    def _confirm(self, lanes: Iterable[_Lane], deadline: float) -> None:
        """Make sure of what links have carried, and give them back; or have it carried again."""
        confirmer = self._store.confirmer
        for lane in lanes:
            confirmed = False
            try:
                first = confirmer.command(lane.link.node)
                confirmed = confirmer.pursue(lane.link, first, deadline)
                self._store.give(lane.link)
            except (LinkError, ConfigurationError) as error:
                logger.info("%s; what it was to confirm is sent again", error)
                lane.link.close()
                confirmer.forget(lane.link.node)
            if not confirmed:
                self._carry_again(lane)

    def _carry_again(self, lane: _Lane) -> None:
        """Carry what was not confirmed, and what was sent after it for the same keys."""
        with self._lock:
            for call in lane.unconfirmed:
                self._carry(call)
            self._carry_later(self._lanes.values(), {call.keys[0] for call in lane.unconfirmed})
