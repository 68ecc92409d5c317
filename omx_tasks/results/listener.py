"""Hears results as they are stored: one link per master, however many tasks are waited for.

A task's result is told on a sharded channel of the same name as its key. Subscribing and reading the key go out
on one link in this order, so a result is either read or heard, whichever moment it is stored at. A task that is only
about to be called can hardly be done when its subscription goes out at once: its key is read a moment later, if
nothing was heard by then.

The listener has no thread of its own. Whoever waits for a result has it `listen`, one thread at a time; between
two waits nobody reads, and what came meanwhile is taken on the next occasion. So a call that is waited for at once
never hands its answer from one thread to another.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from omx_tasks.store.client import Store
from omx_tasks.store.link import Link, ReplyError
from omx_tasks.store.links import Links
from omx_tasks.store.topology import slot_of

#: Seconds from the call of a task to its subscription within which its result cannot be there.
AT_ONCE = 0.001
#: Seconds from such a subscription until the key is read all the same.
LATER = 0.02
#: Seconds after which a call also takes what has come meanwhile, for which nobody waits.
SELDOM = 0.01


class Listener:
    """Tells ``came(key, value)``, in the thread that listens, of each wanted key that has a value."""

    def __init__(self, store: Store, came: Callable[[str, bytes], None]) -> None:
        self._came = came
        self._changes: deque[tuple[str, bool]] = deque()
        self._called: dict[str, float] = {}
        self._later: deque[tuple[float, str]] = deque()
        #: Whoever listens; a callback may wait for another result meanwhile, in the same thread.
        self._listening = threading.RLock()
        self._listened_at = 0.0
        self._links = Links(store, attended=self._attended, heard=came, dropped=_nothing)

    def __repr__(self) -> str:
        return f"<Listener {self._links}>"

    def want(self, key: str, *, about_to_be_called: bool = False) -> None:
        """Tell of ``key`` from now on, also if it is there already."""
        if about_to_be_called:
            self._called[key] = time.monotonic()
        self._changes.append((key, True))
        if not self._attend():
            self._links.wake()

    def unwant(self, key: str) -> None:
        """Stop telling of ``key``; the server is told so on the next occasion."""
        self._changes.append((key, False))

    def listen(self, seconds: float) -> bool:
        """Take what has come; if there is nothing, wait so long. False at once where another thread is listening."""
        if not self._listening.acquire(blocking=False):
            return False
        try:
            self._make_changes()
            self._links.wait(min(seconds, self._read_the_late(seconds)))
            self._listened_at = time.monotonic()
        finally:
            self._listening.release()
        return True

    def _attend(self) -> bool:
        """Subscribe at once, and now and then take what has come; False where another thread is listening."""
        if time.monotonic() > self._listened_at + SELDOM:
            return self.listen(0.0)
        if not self._listening.acquire(blocking=False):
            return False
        try:
            self._make_changes()
        finally:
            self._listening.release()
        return True

    def stop(self) -> None:
        """Close the links; who listens stops at the next occasion."""
        self._links.wake()
        with self._listening:
            self._links.close()

    def _make_changes(self) -> None:
        while self._changes:
            key, wanted = self._changes.popleft()
            if wanted:
                self._links.want(key)
            else:
                self._called.pop(key, None)
                self._links.unwant(key)
        self._links.upkeep()

    def _attended(self, key: str) -> None:
        """A subscription was (re)made: what was stored before it must be read."""
        now = time.monotonic()
        if now - self._called.pop(key, 0.0) < AT_ONCE:
            self._later.append((now + LATER, key))
        else:
            self._read(key)

    def _read_the_late(self, most: float) -> float:
        """Read what is still not heard; returns the seconds until this must be done again, at most ``most``."""
        now = time.monotonic()
        while self._later and (
            self._later[0][0] <= now or not self._links.wants(self._later[0][1])
        ):
            _, key = self._later.popleft()
            if self._links.wants(key):
                self._read(key)
        return self._later[0][0] - now if self._later else most

    def _read(self, key: str) -> None:
        link = self._links.of(slot_of(key))
        if link is not None:
            self._links.guard(
                link, lambda: link.post(("GET", key), lambda reply: self._got(key, reply))
            )

    def _got(self, key: str, reply: object) -> None:
        if isinstance(reply, ReplyError):
            self._links.refresh()
        elif isinstance(reply, bytes):
            self._came(key, reply)


def _nothing(_link: Link) -> None:
    return None
