"""The links of one consumer: one per master that serves something it wants, kept up whatever happens.

Whoever uses this says which channels it `wants`. For each, the master that owns its slot gets a link and the link a
subscription; after a lost connection, a failover or a moved slot both are made again, elsewhere if need
be, and ``attended`` tells that a channel is heard anew: what was published in between was not heard. What is asked over
the same link from then on is answered after the subscription; who asks over another one waits for ``confirmed``. A node
that stays silent while answers are awaited is given up as if its connection had broken: as soon as another one has its
slots, and else after a while. A quiet link is asked now and then.

Links live in the thread of the event loop (Celery's hub, or `wait`). Only `wake` may be called from others.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from omx_tasks.store import access
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store
from omx_tasks.store.connector import Connector
from omx_tasks.store.link import DOUBT, Link, LinkError
from omx_tasks.store.topology import slot_of

logger = logging.getLogger(__name__)

#: Seconds without a word from a node that owes an answer, after which its link is dropped.
SILENCE = 5.0
#: Seconds between two looks at the links' silence, and between two questions on a quiet link.
ROUND, QUIET = 0.5, 2.0
#: Seconds without `Links.upkeep` after which nobody was there to hear a node: that time is not its silence.
ABSENCE = 1.0


class Links:
    """Links and subscriptions. ``attended(channel)`` and ``heard(channel, payload)`` are called as they happen."""

    def __init__(
        self,
        store: Store,
        *,
        attended: Callable[[str], None],
        heard: Callable[[str, bytes], None],
        dropped: Callable[[Link], None],
        confirmed: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._attended, self._heard, self._dropped = attended, heard, dropped
        self._told_confirmed = confirmed
        self._connector = Connector(store, self._arrived)
        self._wanted: dict[str, int] = {}
        self._subscribed: dict[str, Link] = {}
        self._confirmed: set[str] = set()
        #: Wanted channels whose subscription is to be made, or looked at.
        self._unheard: set[str] = set()
        self._complained: set[str] = set()
        self._links: dict[Node, Link] = {}
        self._opening: set[Node] = set()
        self._refreshing = False
        self._closed = False
        self._next_round = self._next_question = 0.0
        self._last_upkeep = time.monotonic()
        self._inbox: deque[tuple[Node | None, Link | None]] = deque()
        self._waker: tuple[int, int] | None = None
        self._hub: Any = None

    def __repr__(self) -> str:
        return f"<Links open={len(self._links)} subscribed={len(self._subscribed)}>"

    def __len__(self) -> int:
        return len(self._links)

    def want(self, channel: str) -> None:
        """Hear this sharded channel from now on."""
        self._wanted[channel] = slot_of(channel)
        self._unheard.add(channel)

    def unwant(self, channel: str) -> None:
        """Stop hearing it."""
        self._wanted.pop(channel, None)
        self._unheard.discard(channel)
        self._confirmed.discard(channel)
        if link := self._subscribed.pop(channel, None):
            self.guard(link, partial(link.unsubscribe, channel))

    def wants(self, channel: str) -> bool:
        """Whether this channel is to be heard."""
        return channel in self._wanted

    def wait_until_heard(self, channel: str, seconds: float) -> bool:
        """Return when the subscription of a wanted channel is confirmed; False when that took too long."""
        deadline = time.monotonic() + seconds
        while channel not in self._confirmed:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.upkeep()
            self.wait(left)
        return True

    def of(self, slot: int) -> Link | None:
        """Return the link to the master of a slot, or None while there is none."""
        node = self._store.topology.owner(slot)
        return self._links.get(node) if node else None

    def renew(self, slot: int) -> None:
        """Connect to the master of a slot anew, whatever became of the link that there is."""
        if link := self.of(slot):
            self._drop(link)
        elif node := self._store.topology.owner(slot):
            self._opening.discard(node)
            self.refresh()

    def guard(self, link: Link, act: Callable[[], Any]) -> None:
        """Do something on a link; when it breaks, drop it and connect again."""
        try:
            act()
        except LinkError as error:
            logger.info("%s; connecting again", error)
            self._drop(link)

    def refresh(self) -> None:
        """Have the slot table learned anew."""
        if not self._refreshing:
            self._refreshing = True
            self._wake_descriptor()
            self._connector.refresh()

    def upkeep(self) -> None:
        """Take new links, flush full sockets, subscribe what is not: everything that needs no waiting."""
        while self._inbox:
            self._adopt(*self._inbox.popleft())
        for full in [link for link in self._links.values() if link.unsent]:
            self.guard(full, full.flush)
        self._listen_for_silence(time.monotonic())
        for channel in list(self._unheard):
            slot = self._wanted[channel]
            link = self.of(slot)
            if link is None:
                self.open(slot)
            elif self._subscribed.get(channel) is not link:
                self._subscribe(channel, link)
            else:
                self._unheard.discard(channel)

    def _listen_for_silence(self, now: float) -> None:
        absent, self._last_upkeep = now - self._last_upkeep > ABSENCE, now
        if absent:  # what the nodes said meanwhile is read after this
            for link in self._links.values():
                link.silent_since = now
        if now < self._next_round:
            return
        self._next_round = now + ROUND
        for link in [link for link in self._links.values() if link.waiting]:
            self._doubt(link, now - link.silent_since)
        if now >= self._next_question:
            self._next_question = now + QUIET
            self._unheard |= self._wanted.keys()  # a slot may have a new owner
            self._tidy()
            for quiet in [link for link in self._links.values() if not link.waiting]:
                self.guard(quiet, partial(quiet.post, ("PING",), _ignore))

    def _tidy(self) -> None:
        """Close links that are at rest to nodes that have no slots any more."""
        masters, heard = set(self._store.topology.masters), set(self._subscribed.values())
        for link in list(self._links.values()):
            if link.node not in masters and link not in heard and not link.waiting:
                self._drop(link)

    def _doubt(self, link: Link, silent: float) -> None:
        """Give up a node that is silent when another one has its slots, or after a while."""
        replaced = silent > DOUBT and link.node not in self._store.topology.masters
        if replaced or silent > SILENCE:
            logger.warning("%s has been silent for %.1f s; connecting again", link.node, silent)
            self._drop(link)
        elif silent > DOUBT and not self._refreshing:
            self._refreshing = True
            self._connector.doubt(link.node)

    def _subscribe(self, channel: str, link: Link) -> None:
        if former := self._subscribed.get(channel):
            self.guard(former, partial(former.unsubscribe, channel))
        self._subscribed[channel] = link
        self._confirmed.discard(channel)
        self.guard(link, lambda: link.subscribe(channel, partial(self._denied, channel)))
        self._attended(channel)

    def _denied(self, channel: str, error: Any) -> None:
        if error.code == "NOPERM" and channel not in self._complained:
            self._complained.add(channel)
            logger.error("%s", access.missing_right(f"use SSUBSCRIBE on {channel!r}"))
        self._refused(channel)

    def _refused(self, channel: str) -> None:
        if channel in self._wanted:
            self._unheard.add(channel)
        self._subscribed.pop(channel, None)
        self._confirmed.discard(channel)
        self.refresh()

    def open(self, slot: int) -> None:
        """Have a link to the master of a slot opened, if nobody has asked for it yet."""
        node = self._store.topology.owner(slot)
        if node is None:
            self.refresh()
        elif node not in self._opening:
            self._open_to(node)

    def open_all(self) -> None:
        """Have a link to each master opened that has none."""
        masters = self._store.topology.masters
        if not masters:
            self.refresh()
        for node in masters:
            if node not in self._links and node not in self._opening:
                self._open_to(node)

    def _open_to(self, node: Node) -> None:
        self._opening.add(node)
        self._wake_descriptor()  # the link may be there before anybody waits for it
        self._connector.open(node)

    def _arrived(self, node: Node | None, link: Link | None) -> None:
        """Take what the connector's thread made."""
        self._inbox.append((node, link))
        if self._closed:
            self._empty_inbox()
        else:
            self.wake()

    def _empty_inbox(self) -> None:
        """Close the links that came too late."""
        while self._inbox:
            _, link = self._inbox.popleft()
            if link is not None:
                link.close()

    def _adopt(self, node: Node | None, link: Link | None) -> None:
        if node is None:
            self._refreshing = False
            return
        self._opening.discard(node)
        if link is not None:
            self._links[node] = link
            link.on_push = lambda push: self._pushed(link, push)
            self._watch(link)

    def _pushed(self, link: Link, push: list[Any]) -> None:
        kind, channel = push[0], push[1].decode()
        if self._subscribed.get(channel) is not link:
            return  # a former master, or a channel that is no longer wanted
        if kind == b"smessage":
            self._heard(channel, push[2])
        elif kind == b"ssubscribe":
            self._confirmed.add(channel)
            if self._told_confirmed is not None:
                self._told_confirmed(channel)
        elif kind == b"sunsubscribe":
            self._refused(channel)

    def _drop(self, link: Link) -> None:
        if self._links.get(link.node) is link:
            del self._links[link.node]
        self._unwatch(link)
        link.close()
        self._unheard |= {c for c, other in self._subscribed.items() if other is link}
        self._subscribed = {c: other for c, other in self._subscribed.items() if other is not link}
        self._confirmed &= self._subscribed.keys()
        self.refresh()
        self._dropped(link)

    # --- the event loop -----------------------------------------------------------------------------

    def register(self, hub: Any) -> None:
        """Let Celery's event loop read the links."""
        self._hub = hub
        hub.add_reader(self._wake_descriptor(), self._read_waker)
        for link in self._links.values():
            self._watch(link)

    def wait(self, seconds: float) -> None:
        """Without an event loop: wait for something to read, and read it."""
        links = {link.descriptor: link for link in self._links.values()}
        poller = select.poll()
        poller.register(self._wake_descriptor(), select.POLLIN)
        for descriptor, link in links.items():
            poller.register(descriptor, select.POLLIN | (select.POLLOUT if link.unsent else 0))
        for descriptor, _ in poller.poll(seconds * 1000):
            if descriptor in links:
                self._read(links[descriptor])
            else:
                self._read_waker()

    def wake(self) -> None:
        """Make the event loop, or `wait`, go round once more; from any thread."""
        if self._waker is not None:
            with contextlib.suppress(OSError):
                os.write(self._waker[1], b"!")

    def _wake_descriptor(self) -> int:
        if self._waker is None:
            self._waker = os.pipe()
            for descriptor in self._waker:
                os.set_blocking(descriptor, False)
        return self._waker[0]

    def _read_waker(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_descriptor(), 4096)

    def _read(self, link: Link) -> None:
        self.guard(link, link.receive)

    def _watch(self, link: Link) -> None:
        if self._hub is not None:
            self._hub.add_reader(link.descriptor, self._read, link)

    def _unwatch(self, link: Link) -> None:
        if self._hub is not None:
            self._hub.remove(link.descriptor)

    def __del__(self) -> None:
        """Close with the last reference, as a link does."""
        self.close()

    def close(self) -> None:
        """Close every link and stop connecting."""
        self._closed = True
        self._connector.stop()
        self._empty_inbox()
        for link in self._links.values():
            self._unwatch(link)
            link.close()
        self._links.clear()
        if self._waker is not None:
            if self._hub is not None:
                self._hub.remove(self._waker[0])
            waker, self._waker = self._waker, None
            for descriptor in waker:
                os.close(descriptor)


def _ignore(_reply: Any) -> None:
    return None
