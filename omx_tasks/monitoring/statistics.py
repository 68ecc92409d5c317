"""Reads what the `tracker` has counted: in the last hour, or days, by what one likes; and what arrived when."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from omx_tasks.monitoring.counts import Count
from omx_tasks.monitoring.histogram import quantile
from omx_tasks.monitoring.ledger import name_of
from omx_tasks.monitoring.tally import Dimension, Span
from omx_tasks.settings import Settings
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: What the series is called that all others are counted in, when there are too many.
OTHER = "(other)"
#: Buckets that are read with one request.
_PAGE = 60


@dataclass(frozen=True)
class Statistics:
    """What was counted from ``begins`` to ``ends`` (Unix seconds), by name; '' is what has no series of its own.

    ``since``: when counting began, None: never. ``late``: events that came when their time was not kept any more.
    """

    begins: float
    ends: float
    since: float | None
    late: int
    series: dict[str, Count]

    @property
    def seconds(self) -> float:
        """The time that counts are from."""
        return max(1.0, self.ends - max(self.begins, self.since or self.ends))

    def busiest(self) -> list[tuple[str, Count]]:
        """Return name and counts: first what takes most time, then what is most often; the others' sum last."""
        return sorted(
            self.series.items(),
            key=lambda one: (not one[0], -one[1].seconds, -one[1].number, one[0]),
        )


def statistics(
    store: Store,
    dimension: Dimension,
    last: float,
    given: Settings,
    *,
    now: float | None = None,
) -> Statistics:
    """Return what was counted in the last seconds: by whole minutes where these are kept for so long, else by hours."""
    ends = time.time() if now is None else now
    span = Span.MINUTE if last <= given.stats_minutes else Span.HOUR
    numbers = range(span.of(ends - last) + 1, span.of(ends) + 1)
    series: dict[str, Count] = defaultdict(Count)
    for bucket in _read(store, span, numbers, dimension):
        for name, count in bucket.items():
            series[name].add(count)
    key = keys.counts_state()
    since, late = store.command(key, "HMGET", key, "since", "late")
    return Statistics(
        numbers.start * span.seconds,
        ends,
        None if since is None else int(since) / 1000,
        int(late or 0),
        dict(series),
    )


def arrivals(store: Store, minutes: int = 60, *, now: float | None = None) -> dict[str, list[int]]:
    """Return how many operations became ready in each of the last whole minutes, oldest first, by capability set.

    They are known when they are over: of the last minutes the more are missing, the longer they wait and take. What
    waits now is in the queues. `forecast` takes such counts.
    """
    this = Span.MINUTE.of(time.time() if now is None else now)
    found: dict[str, list[int]] = defaultdict(lambda: [0] * minutes)
    buckets = _read(store, Span.MINUTE, range(this - minutes, this), Dimension.CAPABILITIES)
    for place, bucket in enumerate(buckets):
        for name, count in bucket.items():
            found[name][place] = count.number
    return dict(found)


def by_the_hour(store: Store, hours: range, dimension: Dimension) -> list[dict[str, Count]]:
    """Return what was counted in each of these hours, by their numbers since 1970."""
    return _read(store, Span.HOUR, hours, dimension)


def _read(store: Store, span: Span, numbers: range, dimension: Dimension) -> list[dict[str, Count]]:
    """Return what is kept of each bucket."""
    found: list[dict[str, Count]] = []
    for first in range(0, len(numbers), _PAGE):
        names = [keys.counts(span, number, dimension) for number in numbers[first : first + _PAGE]]
        answers = store.commands([(name, ("HGETALL", name)) for name in names])
        found += [_sum(one) for one in answers]
    return found


def _sum(fields: dict[bytes, bytes]) -> dict[str, Count]:
    """Return the counts of a bucket's pages, added up."""
    series: dict[str, Count] = defaultdict(Count)
    for field, packed in fields.items():
        series[name_of(field.decode())].add(Count.read(packed))
    return series


def figures(count: Count, seconds: float) -> dict[str, Any]:
    """Return what there is to say of a count; times in seconds, None where nothing was timed."""
    return {
        "count": count.number,
        "per_second": round(count.number / seconds, 3),
        "failed": count.failed,
        "attempts": count.attempts,
        "seconds": round(count.seconds, 6),
        "call": _quantiles(count.calls),
        "waiting": _quantiles(count.waits),
    }


def _quantiles(counts: dict[int, int]) -> dict[str, float | None]:
    return {f"p{part}": quantile(counts, part / 100) for part in (50, 90, 99)}
