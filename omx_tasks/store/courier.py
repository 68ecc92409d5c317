"""A thread that carries script calls to the cluster for those who must not wait.

Event loops hand their calls over with `post` and go on. The courier takes everything that has gathered
since its last trip, sends it as one pipeline per node and tells each sender the answer. So batching needs
no timer: while one trip is under way, the next one fills up. A parcel is a function that makes its
calls only when the trip starts, so that a sender can merge what came in meanwhile (thirty acks in one script).

The courier also makes regular trips (`every`): a lease is renewed although the thread that runs the task is busy.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from omx_tasks.errors import OmxError
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.link import ReplyError
from omx_tasks.store.scripts import Call

Done = Callable[[Any], None]
Parcel = Callable[[], Iterable[tuple[Call, Done | None]]]

logger = logging.getLogger(__name__)


@dataclass(order=True)
class _Regular:
    """A parcel that is posted again and again."""

    due: float
    seconds: float = field(compare=False)
    parcel: Parcel = field(compare=False)


class Courier:
    """Start with `start`, end with `stop`; `post` works from any thread, also from inside an answer."""

    def __init__(self, store: Store, *, name: str = "courier") -> None:
        self._store = store
        self._name = name
        self._parcels: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()
        self._regular: list[_Regular] = []
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> Courier:
        """Start the thread; a second call changes nothing."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        return self

    def post(self, parcel: Parcel) -> None:
        """Have the calls of ``parcel`` made on the next trip."""
        self._parcels.put(parcel)

    def send(self, call: Call, done: Done | None = None) -> None:
        """Have one call made; ``done`` gets its answer, or an `OmxError`, in the courier's thread."""
        self._parcels.put(lambda: [(call, done)])

    def every(self, seconds: float, parcel: Parcel) -> None:
        """Post ``parcel`` every so many seconds from now on."""
        self._regular.append(_Regular(time.monotonic() + seconds, seconds, parcel))
        self._parcels.put(_nothing)

    def flush(self, timeout: float) -> bool:
        """Wait until everything posted so far is answered; False when time ran out."""
        empty = threading.Event()
        self._parcels.put(lambda: _then(empty))
        return empty.wait(timeout)

    def stop(self, timeout: float = 10.0) -> None:
        """Make the last trips, then end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            self._parcels.put(None)
            thread.join(timeout)

    def _run(self) -> None:
        going_on = True
        while going_on:
            parcels = self._gather()
            going_on = None not in parcels
            self._trip([parcel for parcel in parcels if parcel is not None])

    def _gather(self) -> list[Parcel | None]:
        """Wait for a first parcel or the next regular one; take all that is there."""
        parcels: list[Parcel | None] = []
        try:
            parcels.append(self._parcels.get(timeout=self._pause()))
            while True:
                parcels.append(self._parcels.get_nowait())
        except queue.Empty:
            return parcels + self._due()

    def _pause(self) -> float | None:
        if not self._regular:
            return None
        return max(0.0, min(regular.due for regular in self._regular) - time.monotonic())

    def _due(self) -> list[Parcel]:
        now = time.monotonic()
        due = [regular for regular in self._regular if regular.due <= now]
        for regular in due:
            regular.due = now + regular.seconds
        return [regular.parcel for regular in due]

    def _trip(self, parcels: list[Parcel]) -> None:
        pairs = [pair for parcel in parcels for pair in parcel()]
        if not pairs:
            return
        for (_, done), reply in zip(pairs, self._carry([call for call, _ in pairs]), strict=True):
            if done is not None:
                done(reply)
            elif isinstance(reply, OmxError):
                logger.error("a request without a reader failed: %s", reply)

    def _carry(self, calls: list[Call]) -> list[Any]:
        try:
            replies = self._store.run_many(calls)
        except OmxError as error:
            return [error] * len(calls)
        return [
            StoreError(str(reply)) if isinstance(reply, ReplyError) else reply for reply in replies
        ]


def _nothing() -> Iterable[tuple[Call, Done | None]]:
    return ()


def _then(event: threading.Event) -> Iterable[tuple[Call, Done | None]]:
    event.set()
    return ()
