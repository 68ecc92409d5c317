"""Carries a process's events to their logs: one script a partition, many partitions at once, in order.

::

    buffer ──size or time──► lines (partition, priority) ──► batch of a number, one a partition under way ──► stored
                                                               │  sent again, same number, until that is known
                                                               └──broker away, `spill`──► file ──in order──► stored

A batch that was sent and not answered may have been stored: it is sent again under its number, by which the
partition knows it. So a partition has one batch under way at a time, and the next one its turn after it.

Urgent events leave at once, others gather for a moment; while a trip is under way, the next batches fill up.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from omx_tasks.errors import OmxError
from omx_tasks.events import log
from omx_tasks.events.log import Entry, Keeping
from omx_tasks.events.spill import Batch, Spill
from omx_tasks.store.client import Store
from omx_tasks.store.link import ReplyError
from omx_tasks.store.requests import Request

logger = logging.getLogger(__name__)

#: Events in one batch at most: a server does nothing else meanwhile.
MOST = 500
#: Seconds that an event of each priority may wait for company.
LINGER = (0.0, 0.002, 0.01, 0.03)
#: Seconds that a batch gathers for the file, while that is where it goes.
SPILL_LINGER = 0.25
#: Seconds that one trip waits for a node, and until the next one after one in vain.
ATTEMPT, PAUSE = 2.0, 0.1
#: Events without a key that go to one partition before the next one has its turn.
TURN = 128

_FOREVER = float("inf")


@dataclass
class Counts:
    """What became of a process's events. ``repeated``: batches that were found stored when they were sent again."""

    accepted: int = 0
    stored: int = 0
    refused: int = 0
    unknown: int = 0
    spilled: int = 0
    replayed: int = 0
    repeated: int = 0


@dataclass(slots=True)
class Item:
    """An event in the buffer; ``place`` is its one among all that this process has published."""

    entry: Entry
    unknown: bool
    place: int = -1


@dataclass(eq=False)
class _UnderWay:
    """A batch that is sent until it is stored; ``first`` is the place of its oldest event."""

    batch: Batch
    first: int
    request: Request = field(init=False)


class Shipper:
    """The thread that empties the buffer. ``changed`` guards all that is shared with publishers."""

    def __init__(
        self,
        store: Store,
        *,
        partitions: int,
        keeping: Keeping,
        open_spill: Callable[[str], Spill] | None,
    ) -> None:
        self.producer = secrets.token_hex(8)
        self.changed = threading.Condition()
        self.counts = Counts()
        #: Why nothing can be stored now; None while it can.
        self.away: str | None = None
        #: Events that are accepted, and neither stored nor on disk.
        self.held = 0
        #: The place of the last event that was accepted.
        self.last = -1
        self._store, self._keeping = store, keeping
        self._spill = open_spill(self.producer) if open_spill else None
        self._partitions, self._opened = partitions, False
        self._buffer: list[Item] = []
        self._leave_at = _FOREVER
        self._lines: dict[int, tuple[deque[Item], ...]] = {}
        self._numbers: dict[int, int] = {}
        self._under_way: dict[int, _UnderWay] = {}
        self._give_up_at = _FOREVER
        self._stopping = False
        self._hurry = False
        self._last_spilled = 0.0
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Shipper held={self.held} away={self.away!r} {self.counts}>"

    # --- with `changed` held, in the publishers' threads -----------------------------------------------

    def put(self, items: list[Item]) -> None:
        """Take events into the buffer."""
        for place, item in enumerate(items, self.last + 1):
            item.place = place
        self.last += len(items)
        urgent = min(item.entry.priority for item in items)
        self._buffer += items
        self.held += len(items)
        self.counts.accepted += len(items)
        spilling = self._spill is not None and self.away is not None
        linger = SPILL_LINGER if spilling else LINGER[urgent]
        leave_at = 0.0 if len(self._buffer) >= MOST else time.monotonic() + linger
        if leave_at < self._leave_at:
            self._leave_at = leave_at
            self.changed.notify_all()

    def is_stored(self, place: int) -> bool:
        """Whether all events up to a place are in their logs."""
        if self._spill is not None and not self._spill.empty:
            return False
        return self._oldest() > place

    def make_room(self) -> bool:
        """Write all to the file, if it goes there now; True if that made room.

        Of what is under way this may make a second copy: under its number it is known.
        """
        if self._spill is None or self.away is None:
            return False
        before = self.held
        self._place()
        self._spill_all()
        return self.held < before

    def hurry(self) -> None:
        """Leave now."""
        self._hurry = True
        self.changed.notify_all()

    def _oldest(self) -> float:
        heads = [self._buffer[0].place] if self._buffer else []
        heads += [trip.first for trip in self._under_way.values()]
        heads += [line[0].place for lines in self._lines.values() for line in lines if line]
        return min(heads, default=_FOREVER)

    # --- the thread ------------------------------------------------------------------------------------

    def stop(self, timeout: float) -> int:
        """Make the last trips for ``timeout`` seconds, then spill what is left; returns how many are given up."""
        with self.changed:
            self._stopping, self._give_up_at = True, time.monotonic() + timeout
            self.changed.notify_all()
        self._thread.join(timeout + ATTEMPT)
        with self.changed:
            if self._spill is not None and not self._thread.is_alive():
                self._place()
                self._spill_all()
                self._spill.close()
            self._store.close()
            return self.held

    def forget(self) -> None:
        """In a forked process: everything in here is the parent's."""
        if self._spill is not None:
            self._spill.forget()

    def _run(self) -> None:
        while self._wait():
            try:
                self._go()
            except OmxError as error:
                with self.changed:
                    self._note_away(str(error))
                    self._spill_all()
                    self.changed.notify_all()
                time.sleep(PAUSE)

    def _wait(self) -> bool:
        """Wait until there is something to do; False when all is done, or nothing can be and it is to end."""
        with self.changed:
            while not (self._stopping or self._hurry):
                now = time.monotonic()
                if self._leave_at <= now or self._is_busy():
                    break
                left = self._leave_at - now
                self.changed.wait(None if left == _FOREVER else left)
            self._hurry = False
            self._place()
            idle = not self._is_busy()
            kept = self._spill is not None and self.away is not None
        return not self._stopping or not (idle or kept or time.monotonic() >= self._give_up_at)

    def _is_busy(self) -> bool:
        """Whether there is something to be sent that has left the buffer."""
        return (
            bool(self._under_way)
            or self._has_lines()
            or (self._spill is not None and not self._spill.empty)
        )

    def _place(self) -> None:
        """Move the buffer into the lines."""
        items, self._buffer, self._leave_at = self._buffer, [], _FOREVER
        for item in items:
            partition = self._partition_of(item)
            lines = self._lines.get(partition)
            if lines is None:
                lines = self._lines[partition] = (deque(), deque(), deque(), deque())
            lines[item.entry.priority].append(item)

    def _partition_of(self, item: Item) -> int:
        if item.entry.key:
            return log.partition_of(item.entry.key, self._partitions)
        return item.place // TURN % self._partitions

    def _go(self) -> None:
        self._open()
        with self.changed:
            spilling = self._spill is not None and not self._spill.empty
            if not spilling:
                self._form_batches()
        if spilling:
            self._replay()
            return
        reason = self._trip([trip.request for trip in self._under_way.values()])
        with self.changed:
            reason = self._settle() or reason
            in_vain = bool(self._under_way)
            if in_vain:
                self._note_away(reason or "no node answered")
                self._spill_all()
            else:
                self._note_back()
            self.changed.notify_all()
        if in_vain:
            time.sleep(PAUSE)

    def _open(self) -> None:
        """Learn how many partitions there are; what waits until then is placed anew."""
        if self._opened:
            return
        partitions = log.open_log(self._store, self._partitions, timeout=ATTEMPT)
        with self.changed:
            if partitions != self._partitions:
                items = [item for lines in self._lines.values() for line in lines for item in line]
                self._lines.clear()
                self._buffer = sorted([*items, *self._buffer], key=lambda item: item.place)
                self._partitions = partitions
                self._place()
        self._opened = True

    def _form_batches(self) -> None:
        """Put up to one batch a partition under way."""
        for partition, lines in self._lines.items():
            if partition in self._under_way:
                continue
            items: list[Item] = []
            for line in lines:
                while line and len(items) < MOST:
                    items.append(line.popleft())
            if items:
                self._under_way[partition] = self._batch(partition, items)

    def _batch(self, partition: int, items: list[Item]) -> _UnderWay:
        number = self._numbers[partition] = self._numbers.get(partition, 0) + 1
        batch = Batch(
            self.producer,
            number,
            partition,
            tuple(item.entry for item in items),
            sum(item.unknown for item in items),
        )
        trip = _UnderWay(batch, min(item.place for item in items))
        trip.request = self._request(batch)
        return trip

    def _request(self, batch: Batch) -> Request:
        call = log.publish(
            batch.partition,
            batch.producer,
            batch.number,
            batch.entries,
            keeping=self._keeping,
            unknown=batch.unknown,
        )
        return Request.of(call)

    def _trip(self, requests: list[Request]) -> str | None:
        return self._store.try_once(requests, time.monotonic() + ATTEMPT)

    def _settle(self) -> str | None:
        """Take what is stored off the list; return why something is not."""
        reason = None
        for partition, trip in list(self._under_way.items()):
            refusal = _refusal(trip.request)
            if refusal is None:
                self.held -= len(trip.batch.entries)
                self._count_stored(trip.batch, trip.request.reply)
                del self._under_way[partition]
            elif trip.request.done:
                reason = refusal
                trip.request = self._request(trip.batch)
        return reason

    def _count_stored(self, batch: Batch, reply: Any) -> None:
        self.counts.stored += len(batch.entries)
        self.counts.repeated += reply == b"known"

    # --- the file --------------------------------------------------------------------------------------

    def _spill_all(self) -> None:
        """Write what has left the buffer to the file, if that is what is wanted."""
        if self._spill is None:
            return
        self._last_spilled = time.monotonic()
        try:
            while self._under_way or self._has_lines():
                self._form_batches()
                for partition, trip in list(self._under_way.items()):
                    self._spill.append(trip.batch)
                    del self._under_way[partition]
                    self.held -= len(trip.batch.entries)
                    self.counts.spilled += len(trip.batch.entries)
        except OSError as error:
            logger.error("cannot keep events on disk, so publishers wait: %s", error)

    def _has_lines(self) -> bool:
        return any(line for lines in self._lines.values() for line in lines)

    def _replay(self) -> None:
        """Send the file's first batch; everything new goes to its end."""
        assert self._spill is not None
        with self.changed:
            due = time.monotonic() >= self._last_spilled + SPILL_LINGER
            if due or self._stopping or self.held > MOST:
                self._spill_all()
            batch = self._spill.head()
        if batch is None:
            return
        request = self._request(batch)
        reason = self._trip([request])
        refusal = _refusal(request)
        with self.changed:
            if refusal is None:
                self._spill.sent()
                self._count_stored(batch, request.reply)
                self.counts.replayed += len(batch.entries)
                self._note_back()
            else:
                self._note_away(refusal if request.done else reason or refusal)
            self.changed.notify_all()
        if refusal is not None:
            time.sleep(PAUSE)

    # --- said once -------------------------------------------------------------------------------------

    def _note_away(self, reason: str) -> None:
        if self.away is None:
            consequence = "they are kept on disk" if self._spill else "they wait in this process"
            logger.warning("events cannot be stored now, %s: %s", consequence, reason)
        self.away = reason

    def _note_back(self) -> None:
        if self.away is not None:
            logger.warning("events are stored again")
        self.away = None


def _refusal(request: Request) -> str | None:
    """Return why a batch is not stored; None when it is."""
    if not request.done:
        return "no node answered"
    if isinstance(request.reply, ReplyError):
        return str(request.reply)
    if request.reply == b"full":
        return "handlers are so far behind that the log is full"
    return None
