"""Hears results as they are stored: one thread, one link per master, however many tasks are waited for.

A task's result is told on a sharded channel of the same name as its key. Subscribing and reading the key go out
on one link in this order, so a result is either read or heard, whichever moment it is stored at. A task that is only
about to be called can hardly be done when its subscription goes out at once: its key is read a moment later, if
nothing was heard by then.
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

WAIT = 0.25
#: Seconds from the call of a task to its subscription within which its result cannot be there.
AT_ONCE = 0.001
#: Seconds from such a subscription until the key is read all the same.
LATER = 0.02


class Listener:
    """Tells ``came(key, value)``, in its own thread, of each wanted key that has a value."""

    def __init__(self, store: Store, came: Callable[[str, bytes], None]) -> None:
        self._came = came
        self._changes: deque[tuple[str, bool]] = deque()
        self._called: dict[str, float] = {}
        self._later: deque[tuple[float, str]] = deque()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._links = Links(store, attended=self._attended, heard=came, dropped=_nothing)

    def want(self, key: str, *, about_to_be_called: bool = False) -> None:
        """Tell of ``key`` from now on, also if it is there already."""
        if about_to_be_called:
            self._called[key] = time.monotonic()
        self._changes.append((key, True))
        self._start()
        self._links.wake()

    def unwant(self, key: str) -> None:
        """Stop telling of ``key``."""
        self._changes.append((key, False))

    def stop(self) -> None:
        """End the thread and close the links."""
        self._stopping.set()
        self._links.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2.0)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="results", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            while self._changes:
                key, wanted = self._changes.popleft()
                if wanted:
                    self._links.want(key)
                else:
                    self._called.pop(key, None)
                    self._links.unwant(key)
            self._links.upkeep()
            self._links.wait(self._read_the_late())
        self._links.close()

    def _attended(self, key: str) -> None:
        """A subscription was (re)made: what was stored before it must be read."""
        now = time.monotonic()
        if now - self._called.pop(key, 0.0) < AT_ONCE:
            self._later.append((now + LATER, key))
        else:
            self._read(key)

    def _read_the_late(self) -> float:
        """Read what is still not heard; returns the seconds until this must be done again."""
        now = time.monotonic()
        while self._later and (
            self._later[0][0] <= now or not self._links.wants(self._later[0][1])
        ):
            _, key = self._later.popleft()
            if self._links.wants(key):
                self._read(key)
        return self._later[0][0] - now if self._later else WAIT

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
