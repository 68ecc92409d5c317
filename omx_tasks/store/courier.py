"""A thread that carries script calls to the cluster for those who must not wait.

Event loops hand their calls over with `post` and go on. The courier takes everything that has gathered
since its last trip, sends it as one pipeline per node and tells each sender the answer: while one trip is under way,
the next one fills up. For what is in no hurry there is an ``interval``: a courier leaves at the earliest that
long after its last departure, so after a rest at once; a flush is not kept waiting. A parcel is a function that
makes its calls only when the trip starts, so that a sender can merge what came meanwhile (thirty acks in one script).
What one shard did not answer goes along on the next trips, until its time is over; the other shards do not wait for it.

The courier also makes regular trips (`every`): a lease is renewed although the thread that runs the task is busy.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from omx_tasks.errors import OmxError
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.link import ReplyError
from omx_tasks.store.requests import Request
from omx_tasks.store.scripts import Call

Done = Callable[[Any], None]
Parcel = Callable[[], Iterable[tuple[Call, Done | None]]]

#: Seconds that one trip waits for a node, and between two trips with the same request.
ATTEMPT = 2.0
PAUSE = 0.05

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Errand:
    """A call on its way: carried on each trip until it is answered or its time is over."""

    request: Request
    done: Done | None
    deadline: float


@dataclass(eq=False)
class _Regular:
    """A parcel that is posted again and again; with no seconds between, once."""

    due: float
    seconds: float
    parcel: Parcel


class Courier:
    """Start with `start`, end with `stop`; `post` works from any thread, also from inside an answer."""

    def __init__(self, store: Store, *, name: str = "courier", interval: float = 0.0) -> None:
        self._store = store
        self._name = name
        self._interval = interval
        self._departed = 0.0
        self._hurry = False
        self._parcels: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()
        self._regular: list[_Regular] = []
        self._open: list[_Errand] = []
        self._flushes: list[threading.Event] = []
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

    def later(self, seconds: float, parcel: Parcel) -> None:
        """Post ``parcel`` once, so many seconds from now."""
        self._regular.append(_Regular(time.monotonic() + seconds, 0.0, parcel))
        self._parcels.put(_nothing)

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def flush(self, timeout: float) -> bool:
        """Wait until everything posted so far is answered; False when time ran out, or it does not run."""
        if not self.running:
            return False
        empty = threading.Event()

        def flushed() -> Iterable[tuple[Call, Done | None]]:
            self._flushes.append(empty)
            return ()

        self._hurry = True
        self._parcels.put(flushed)
        return empty.wait(timeout)

    def stop(self, timeout: float = 10.0) -> None:
        """Make the last trips, then end the thread; from inside a parcel without waiting for that."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        self._hurry = True
        self._parcels.put(None)
        if thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        going_on = True
        while going_on or self._open or not self._parcels.empty():
            parcels = self._gather(self._pause() if going_on else PAUSE)
            going_on = going_on and None not in parcels
            self._pack([parcel for parcel in parcels if parcel is not None])
            self._trip()

    def _gather(self, pause: float | None) -> list[Parcel | None]:
        """Wait for a first parcel or the next regular one; take all that is there."""
        parcels: list[Parcel | None] = []
        try:
            parcels.append(self._parcels.get(timeout=pause))
            leave = self._departed + self._interval
            while not self._hurry and (left := leave - time.monotonic()) > 0:
                parcels.append(self._parcels.get(timeout=left))
            while True:
                parcels.append(self._parcels.get_nowait())
        except queue.Empty:
            return parcels + self._due()

    def _pause(self) -> float | None:
        pause = PAUSE if self._open else None
        if self._regular:
            due = min(regular.due for regular in self._regular) - time.monotonic()
            pause = max(0.0, due if pause is None else min(pause, due))
        return pause

    def _due(self) -> list[Parcel]:
        now = time.monotonic()
        due = [regular for regular in self._regular if regular.due <= now]
        for regular in due:
            if regular.seconds:
                regular.due = now + regular.seconds
            else:
                self._regular.remove(regular)
        return [regular.parcel for regular in due]

    def _pack(self, parcels: list[Parcel]) -> None:
        deadline = time.monotonic() + self._store.timeout
        for parcel in parcels:
            try:
                self._open += [_Errand(Request.of(call), done, deadline) for call, done in parcel()]
            except Exception:  # a sender's fault must not end the thread that renews leases
                logger.exception("a parcel could not be packed")

    def _trip(self) -> None:
        """Carry everything once; tell the answers that came, and keep what is to be carried again."""
        if self._open:
            self._departed = time.monotonic()
            errands, self._open = self._open, []
            limit = time.monotonic() + ATTEMPT
            reason = self._store.try_once([errand.request for errand in errands], limit)
            now = time.monotonic()
            for errand in errands:
                if errand.request.done:
                    _tell(errand, _answer(errand.request.reply))
                elif now >= errand.deadline:
                    _tell(errand, self._store.unconfirmed(reason, [errand.request]))
                else:
                    self._open.append(errand)
        if not self._open:
            self._hurry = False
            flushes, self._flushes = self._flushes, []
            for empty in flushes:
                empty.set()


def _answer(reply: Any) -> Any:
    return StoreError(str(reply)) if isinstance(reply, ReplyError) else reply


def _tell(errand: _Errand, answer: Any) -> None:
    if errand.done is None:
        if isinstance(answer, OmxError):
            logger.error("a request without a reader failed: %s", answer)
        return
    try:
        errand.done(answer)
    except Exception:  # as above
        logger.exception("an answer could not be told")


def _nothing() -> Iterable[tuple[Call, Done | None]]:
    return ()
