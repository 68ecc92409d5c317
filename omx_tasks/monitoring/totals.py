"""Counters that only rise, made of what the `tracker` keeps by the hour.

Hours expire, so their sum falls now and then; Prometheus takes any fall of a counter for a new beginning, and would
see everything happen again. So a counter begins at nothing when it is made and gets what each look finds more in this
hour and the one before. What is counted later than that is in `omx stats` only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from omx_tasks.monitoring.counts import Count
from omx_tasks.monitoring.statistics import by_the_hour
from omx_tasks.monitoring.tally import Dimension, Span
from omx_tasks.store.client import Store

_Series = Mapping[str, Count]


class Totals:
    """What was counted of one dimension since the first look. ``clock`` tells Unix seconds."""

    def __init__(self, dimension: Dimension, clock: Callable[[], float] = time.time) -> None:
        self._dimension, self._clock = dimension, clock
        self._hours: dict[int, _Series] = {}
        self._gone: dict[str, Count] = {}
        self._before: dict[str, Count] | None = None

    def __repr__(self) -> str:
        return f"<Totals {self._dimension} hours={sorted(self._hours)}>"

    def look(self, store: Store) -> dict[str, Count]:
        """Return the totals by name; '' is what has no series of its own."""
        this = Span.HOUR.of(self._clock())
        hours = range(this - 1, this + 1)
        found = by_the_hour(store, hours, self._dimension)
        for old in sorted(self._hours.keys() - set(hours)):
            _add(self._gone, self._hours.pop(old))
        self._hours |= zip(hours, found, strict=True)
        total: dict[str, Count] = {}
        for series in (self._gone, *self._hours.values()):
            _add(total, series)
        if self._before is None:
            self._before = total
        nothing = Count()
        return {
            name: _less(count, self._before.get(name, nothing)) for name, count in total.items()
        }


def _add(total: dict[str, Count], more: _Series) -> None:
    for name, count in more.items():
        total.setdefault(name, Count()).add(count)


def _less(count: Count, before: Count) -> Count:
    """Return what was counted after ``before``."""
    rest = Count(
        count.number - before.number,
        count.failed - before.failed,
        count.attempts - before.attempts,
        max(0.0, count.seconds - before.seconds),
    )
    for mine, all_, earlier in (
        (rest.calls, count.calls, before.calls),
        (rest.waits, count.waits, before.waits),
    ):
        mine.update({bucket: n - earlier.get(bucket, 0) for bucket, n in all_.items()})
    return rest
