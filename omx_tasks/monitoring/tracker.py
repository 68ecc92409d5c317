"""Keeps count of what happens, in the store: a handler of all events, served by the coordinators.

::

    events ──batches──► tally ──► ledger ──one script──► buckets of a minute, of an hour ──expire──► gone
                                                 └► how far each log is counted

Each event counts once. With the counts, in the same script, is kept up to which number each log of the events was
counted; so a batch that comes again, since its coordinator died before it could say that it was done, or had been given
up and went on, adds nothing, and one of which a part was counted adds the other part. That holds as long as the logs
do: events that were lost with their master before they were confirmed, and stored again by their publisher under the
same numbers, may be missed or counted twice; and so may what comes again alone after a fault of the tracker itself.

While the cluster cannot be written the tracker waits and tries again: events stay in their logs until they are counted.
How long calls take is kept here as it was, to be looked at. What plans expect is another matter (`results.durations`):
agents measure that themselves, also where nobody counts and operations are not told of.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from omx_tasks.errors import OmxError
from omx_tasks.events.handlers import Handler
from omx_tasks.events.types import Event
from omx_tasks.monitoring.ledger import Ledger
from omx_tasks.monitoring.names import Names
from omx_tasks.monitoring.tally import Bucket, Dimension, Span, Tally, tally
from omx_tasks.settings import Settings
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, script

logger = logging.getLogger(__name__)

#: The handler's name, by which its place in the logs is kept.
NAME = "omx.tracker"
#: Events of a batch, and seconds for which they gather to be one.
BATCH, GATHER = 3000, 0.25
#: Deliveries after which an event is parked that is said to end each process that counts it.
DELIVERIES = 20
#: Seconds until a write is tried again that was refused.
PAUSE = 1.0


class Tracker:
    """Counts events into one store. ``clock`` tells Unix seconds."""

    def __init__(
        self, store: Store, given: Settings, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._keep = {Span.MINUTE: given.stats_minutes, Span.HOUR: given.stats_hours}
        self._names = Names(store, given.stats_series, given.stats_hours)
        self._ledger = Ledger()
        self._clock = clock
        self._complained = False

    def __repr__(self) -> str:
        return f"<Tracker {self._store.address}>"

    def handler(self, name: str = NAME, patterns: Sequence[str] = ("*",)) -> Handler:
        """Return the handler to be served."""
        return Handler(
            name,
            self.count,
            tuple(patterns),
            batch=BATCH,
            gather=GATHER,
            deliveries=DELIVERIES,
            begins="oldest",
        )

    def count(self, events: list[Event]) -> None:
        """Count a batch; returns when that is stored."""
        while events:
            known = self._write(events)
            events = [event for event in events if not _is_known(event, known)] if known else []

    def _write(self, events: list[Event]) -> dict[str, int]:
        """Store what is counted of events; or return how far logs were counted before, if they were."""
        known: dict[str, int] | None = None
        try:
            known = self._counted(self._call(events))
        finally:
            if known != {} or any(event.place is None for event in events):
                # What is in the ledger was not stored, or a late repetition could store it once more.
                self._ledger.forget()
        return known

    def _counted(self, call: Call) -> dict[str, int]:
        answer = self._patiently(lambda: self._store.run(call))
        pairs = zip(answer[::2], answer[1::2], strict=True)
        return {log.decode(): int(number) for log, number in pairs}

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        """Ask the store until it answers."""
        while True:
            try:
                answer = ask()
            except OmxError as error:
                if not self._complained:
                    logger.warning("events are not counted for now: %s", error)
                self._complained = True
                threading.Event().wait(PAUSE)
            else:
                self._complained = False
                return answer

    def _call(self, events: list[Event]) -> Call:
        now = self._clock()
        counts = tally(events, now)
        wanted = [(minute.dimension, name) for minute, names in counts.items() for name in names]
        self._patiently(lambda: self._names.learn(wanted))
        late = self._enter(counts, now)
        names, logs = [keys.counts_state()], _logs(events)
        arguments: list[Any] = [late, len(logs)]
        for log, (first, last) in logs.items():
            arguments += (log, first, last)
        for bucket, fields in self._ledger.changes().items():
            names.append(keys.counts(bucket.span, bucket.number, bucket.dimension))
            arguments += (round(self._left(bucket, now)), len(fields))
            arguments += chain.from_iterable(fields.items())
        return Call(script("count_1"), names, arguments, durable=True)

    def _enter(self, counts: Tally, now: float) -> int:
        """Enter counts in the ledger where they are kept for some time yet; returns how many events are in nothing."""
        late = 0
        for minute, series in counts.items():
            kept = [bucket for bucket in minute.buckets() if self._left(bucket, now) >= 1]
            for name, count in series.items():
                for bucket in kept:
                    self._ledger.add(bucket, self._names.of(minute.dimension, name), count)
                if not kept and minute.dimension is Dimension.EVENT:
                    late += count.number
        return late

    def _left(self, bucket: Bucket, now: float) -> float:
        """Return for how many seconds yet a bucket is kept."""
        return bucket.ends + self._keep[bucket.span] - now


def _log_of(event: Event) -> str | None:
    return None if event.place is None else f"{event.place.partition}:{int(event.priority)}"


def _logs(events: Sequence[Event]) -> dict[str, tuple[int, int]]:
    """Return the logs that events are from, and the first and the last number of each."""
    found: dict[str, tuple[int, int]] = {}
    for event in events:
        log = _log_of(event)
        if log is not None and event.place is not None:
            number = event.place.number
            first, last = found.get(log, (number, number))
            found[log] = (min(first, number), max(last, number))
    return found


def _is_known(event: Event, known: dict[str, int]) -> bool:
    log = _log_of(event)
    return log is not None and event.place is not None and event.place.number <= known.get(log, 0)
