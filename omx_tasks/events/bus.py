"""Publishes events from any process: into a buffer, and from there to the cluster, in batches.

>>> publish("order.paid", {"sum": 3}, key="order-7")  # doctest: +SKIP

A publish returns when the event is in the buffer; `flush` waits until all are stored, as durable as
``OMX_DURABILITY`` says. What is accepted is stored, in order per key and priority, once, however often the
broker fails meanwhile. While it is away, ``OMX_EVENTS_AWAY`` says what a publish does:

- ``block``: the buffer fills up, then a publish waits for room, for ``OMX_REQUEST_TIMEOUT``; then it is refused
- ``spill``: events go to a file, whatever their number, and from there to the cluster when it is back, also
  after this process has ended
- ``refuse``: a publish is refused at once; what was accepted before waits in the buffer

A refused publish raises `UnavailableError`, and nothing of it is stored. When a process ends, its events get five more
seconds; what is not stored by then is spilled or, without a file, logged as lost.

Thread-safe; in a forked process the bus begins anew, and what its parent has accepted is the parent's to store.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from omx_tasks import settings
from omx_tasks.errors import UnavailableError
from omx_tasks.events import types
from omx_tasks.events.log import Entry, Keeping
from omx_tasks.events.shipper import Counts, Item, Shipper
from omx_tasks.events.spill import Spill
from omx_tasks.events.types import LARGEST, EventError
from omx_tasks.home import Home
from omx_tasks.priorities import Priority
from omx_tasks.settings import Away, Settings
from omx_tasks.store.client import Store
from omx_tasks.store.in_use import make_store

logger = logging.getLogger(__name__)

#: Seconds that a process has at its end to store what it has accepted.
LAST = 5.0


class Draft(NamedTuple):
    """An event to publish. Without a ``priority`` it has its type's; order is kept among those of one ``key``."""

    type: str
    data: Mapping[str, Any] | None = None
    priority: Priority | int | None = None
    key: str | None = None


class Bus:
    """Publishes to one cluster. ``buffer``: events that it holds; ``timeout``: seconds to wait for room."""

    def __init__(
        self,
        make_store: Callable[[], Store],
        *,
        partitions: int = 6,
        keeping: Keeping | None = None,
        buffer: int = 10_000,
        away: Away = Away.BLOCK,
        spill: Path | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._make_store = make_store
        self._partitions, self._keeping = partitions, keeping or Keeping()
        self._size, self._policy, self._spill, self._timeout = buffer, away, spill, timeout
        self._shipper: Shipper | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    @classmethod
    def configured(
        cls, given: Settings, make_store: Callable[[], Store], *, timeout: float | None = None
    ) -> Bus:
        """Return a bus as the settings want it; ``timeout`` as it is wanted here."""
        return cls(
            make_store,
            partitions=given.events_partitions,
            keeping=Keeping(given.events_history, given.events_limit, given.events_patience),
            buffer=given.events_buffer,
            away=given.events_away,
            spill=given.events_spill or Home.of(os.environ).folder / "spill",
            timeout=given.request_timeout if timeout is None else timeout,
        )

    def __repr__(self) -> str:
        return f"<Bus {self._policy} {self._shipper}>"

    @property
    def counts(self) -> Counts:
        """What became of the events of this process."""
        return self._running().counts

    def publish(
        self,
        type: str,  # noqa: A002
        data: Mapping[str, Any] | None = None,
        *,
        priority: Priority | int | None = None,
        key: str | None = None,
    ) -> str:
        """Publish an event and return its id; raises `EventError` or `UnavailableError`, and has done nothing then."""
        return self.publish_many([Draft(type, data, priority, key)])[0]

    def publish_many(self, drafts: Iterable[Draft | tuple[Any, ...]]) -> list[str]:
        """Publish events and return their ids; one that is wrong refuses them all.

        More than the buffer takes go in part by part: `UnavailableError` then says how many were accepted.
        """
        shipper = self._running()
        items, ids = self._items(shipper.producer, drafts)
        for begin in range(0, len(items), self._size):
            self._put(shipper, items[begin : begin + self._size], begin)
        return ids

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was published so far is stored; False when time ran out."""
        if self._shipper is None or os.getpid() != self._pid:
            return True
        shipper = self._shipper
        with shipper.changed:
            target = shipper.last
            shipper.hurry()
            return shipper.changed.wait_for(lambda: shipper.is_stored(target), timeout)

    def close(self, timeout: float = LAST) -> None:
        """Store what was accepted, or say that it is lost; the next publish begins anew."""
        with self._lock:
            shipper, self._shipper = self._shipper, None
        if shipper is None or os.getpid() != self._pid:
            return
        atexit.unregister(self.close)
        if given_up := shipper.stop(timeout):
            logger.error(
                "%d events were accepted and could not be stored by the end of this process: %s",
                given_up,
                shipper.away or "time ran out",
            )

    def _running(self) -> Shipper:
        """Return this process's shipper; the first publish starts it."""
        shipper = self._shipper
        if shipper is not None and os.getpid() == self._pid:
            return shipper
        if os.getpid() != self._pid:
            self._pid, self._lock = os.getpid(), threading.Lock()
            inherited, self._shipper = self._shipper, None
            if inherited is not None:
                inherited.forget()
        with self._lock:
            if self._shipper is None:
                self._shipper = self._start()
                atexit.register(self.close)
            return self._shipper

    def _start(self) -> Shipper:
        folder = self._spill
        spills = self._policy is Away.SPILL and folder is not None
        return Shipper(
            self._make_store(),
            partitions=self._partitions,
            keeping=self._keeping,
            open_spill=(lambda name: Spill(folder, name)) if spills and folder else None,
        )

    def _items(
        self, producer: str, drafts: Iterable[Draft | tuple[Any, ...]]
    ) -> tuple[list[Item], list[str]]:
        items, ids = [], []
        for draft in drafts:
            event = types.make(f"{producer}-{next(self._numbers)}", *draft)
            unknown = types.is_unknown(event.type)
            items.append(Item(entry_of(event), unknown))
            ids.append(event.id)
        return items, ids

    def _put(self, shipper: Shipper, items: list[Item], before: int) -> None:
        deadline = time.monotonic() + self._timeout
        with shipper.changed:
            while (why := self._why_not(shipper, len(items))) is not None:
                if shipper.make_room():
                    continue
                left = deadline - time.monotonic()
                if self._policy is Away.REFUSE or left <= 0:
                    shipper.counts.refused += len(items)
                    accepted = f"; {before} before it were accepted" if before else ""
                    raise UnavailableError(f"the event was not accepted: {why}{accepted}")
                shipper.changed.wait(left)
            self._count_unknown(shipper, items)
            shipper.put(items)

    def _why_not(self, shipper: Shipper, count: int) -> str | None:
        if self._policy is Away.REFUSE and shipper.away is not None:
            return shipper.away
        if shipper.held and shipper.held + count > self._size:
            return f"the buffer of {self._size} events is full ({shipper.away or 'the cluster is slow'})"
        return None

    def _count_unknown(self, shipper: Shipper, items: list[Item]) -> None:
        for item in items:
            if item.unknown:
                shipper.counts.unknown += 1
                _note_unknown(item.entry.type)


@cache
def _note_unknown(type_: str) -> None:
    logger.warning("%s is no type of event that is known here; it is published as it is", type_)


def entry_of(event: types.Event) -> Entry:
    """Return what is stored of an event; raises `EventError` for what is no JSON, or too much of it."""
    return Entry(int(event.priority), event.type, event.key, _text(event))


def _text(event: types.Event) -> str:
    try:
        text = event.text()
    except (TypeError, ValueError) as error:
        raise EventError(f"the data of event {event.type!r} is no JSON: {error}") from error
    if len(text) > LARGEST:
        raise EventError(
            f"a {event.type} event of {len(text)} characters is too large: {LARGEST} at most; "
            "publish where its data is found instead"
        )
    return text


@cache
def default() -> Bus:
    """Return this process's bus, of the cluster in use."""
    return Bus.configured(settings.current(), make_store)


def publish(
    type: str,  # noqa: A002
    data: Mapping[str, Any] | None = None,
    *,
    priority: Priority | int | None = None,
    key: str | None = None,
) -> str:
    """Publish an event and return its id; see `Bus.publish`."""
    return default().publish(type, data, priority=priority, key=key)


def publish_many(drafts: Iterable[Draft | tuple[Any, ...]]) -> list[str]:
    """Publish events and return their ids; see `Bus.publish_many`."""
    return default().publish_many(drafts)


def flush(timeout: float | None = None) -> bool:
    """Wait until all that this process has published is stored; False when time ran out."""
    return default().flush(timeout)
