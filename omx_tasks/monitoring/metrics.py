"""The metrics of the whole system, read from the cluster when they are asked for.

::

    scrape ─► Collector ─► queues: messages, ages, counters      (broker.audit)
                       ├─► agents: slots, sessions, circuits     (agents.registry)
                       ├─► scaling: agents wanted, running       (coordination.decided)
                       ├─► cluster: nodes, shards, lag           (store.shards)
                       ├─► runs                                  (runs.listing)
                       ├─► operations: ends, times, by tool      (the tracker)
                       ├─► events: logs, handlers                (events.groups)
                       ├─► coordinators: who leads, duties       (coordination.registry)
                       └─► targets: what is wanted, and what is  (sections.targets)

Nothing is counted a second time: every figure is one that the product keeps anyhow, so metrics cost the agents nothing,
and one exporter answers for any number of processes. Several may run; they say the same.

Names begin with ``omx_``, units are seconds and bytes, counters end with ``_total``. Labels are bounded: where a label
has more than ``MOST`` values, those beyond the largest are one, ``other``. A section that cannot be read is left out,
which ``omx_scrape_errors_total`` says, while the others answer: a node that is down costs a scrape a few seconds at
most, and is seen by that scrape.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from omx_tasks.errors import OmxError
from omx_tasks.monitoring.histogram import FIRST, TO_DOUBLE
from omx_tasks.store.client import Store

logger = logging.getLogger(__name__)

#: Different values of one label at most.
MOST = 200
OTHER = "other"
#: Bounds of Prometheus' buckets, each twice the one before: 1.28 ms to 84 s. They are bounds of the counted ones too.
_DOUBLINGS = range(7, 24)

#: Seconds in which a section must be read; Prometheus waits for 10.
PATIENCE = 5.0

#: Reads metrics of one kind.
Section = Callable[[Store], Iterator[Metric]]
#: All of a section, and the seconds that it took.
_Read = tuple[list[Metric], float]


class SystemCollector(Collector):
    """Reads all sections at once at each scrape; ``sections`` by name, ``patience`` in seconds.

    Who scrapes while a section is still being read, gets what that brings: nothing is read twice at a time.
    """

    def __init__(
        self, store: Store, sections: dict[str, Section], patience: float = PATIENCE
    ) -> None:
        self._store, self._sections, self._patience = store, sections, patience
        self._errors = dict.fromkeys(sections, 0)
        self._readers = ThreadPoolExecutor(max(1, len(sections)), "section")
        self._under_way: dict[str, Future[_Read]] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<SystemCollector {list(self._sections)}>"

    def collect(self) -> Iterator[Metric]:
        """Give all metrics of this moment."""
        deadline = time.monotonic() + self._patience
        reading = {name: self._begin(name) for name in self._sections}
        took = gauge("omx_scrape_seconds", "How long it took to read a section", "section")
        for name, future in reading.items():
            try:
                metrics, seconds = future.result(max(0.0, deadline - time.monotonic()))
            except (OmxError, TimeoutError) as error:
                self._errors[name] += 1
                reason = str(error) or f"they were not read in {self._patience:g} s"
                logger.warning("no metrics of the %s: %s", name, reason)
                continue
            yield from metrics
            took.add_metric([name], seconds)
        yield took
        errors = counter(
            "omx_scrape_errors", "Scrapes in which a section could not be read", "section"
        )
        for name, count in self._errors.items():
            errors.add_metric([name], count)
        yield errors

    def begin(self) -> None:
        """Look once, so that counters which begin at the first look begin now."""
        wait([self._begin(name) for name in self._sections], self._patience)

    def stop(self) -> None:
        """Read no more."""
        self._readers.shutdown(wait=False, cancel_futures=True)

    def _begin(self, name: str) -> Future[_Read]:
        with self._lock:
            future = self._under_way.get(name)
            if future is None or future.done():
                future = self._readers.submit(self._read, self._sections[name])
                self._under_way[name] = future
            return future

    def _read(self, section: Section) -> _Read:
        """Return all of a section or nothing: half of it would look like a fall."""
        began = time.perf_counter()
        return list(section(self._store)), time.perf_counter() - began

    def describe(self) -> Iterable[Metric]:
        """Say nothing ahead: registering must not read the cluster."""
        return []


def gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    """Return an empty family of values that rise and fall."""
    return GaugeMetricFamily(name, meaning, labels=labels)


def counter(name: str, meaning: str, *labels: str) -> CounterMetricFamily:
    """Return an empty family of values that only rise; its name gets ``_total``."""
    return CounterMetricFamily(name, meaning, labels=labels)


def histogram(name: str, meaning: str, *labels: str) -> HistogramMetricFamily:
    """Return an empty family of durations."""
    return HistogramMetricFamily(name, meaning, labels=labels)


def buckets_of(counts: Mapping[int, int]) -> list[tuple[str, float]]:
    """Return how many durations of a counted histogram were up to each bound, as Prometheus takes them."""
    found = [
        (
            f"{FIRST * 2**doublings:.6g}",
            float(sum(n for bucket, n in counts.items() if bucket <= doublings * TO_DOUBLE)),
        )
        for doublings in _DOUBLINGS
    ]
    return [*found, ("+Inf", float(sum(counts.values())))]


def bounded(
    values: Sequence[tuple[str, float]], most: int = MOST, *, sums: bool = True
) -> dict[str, float]:
    """Return the values by label; those beyond the ``most`` largest are one, `OTHER`: their sum, or their largest."""
    ordered = sorted(values, key=lambda pair: -pair[1])
    kept, rest = dict(ordered[:most]), [value for _, value in ordered[most:]]
    if rest:
        kept[OTHER] = sum(rest) if sums else rest[0]
    return kept


def filled(
    family: GaugeMetricFamily | CounterMetricFamily,
    values: Iterable[tuple[str, float]],
    *,
    sums: bool = True,
) -> Metric:
    """Return the family with these values of its only label, as `bounded` has them."""
    for name, value in bounded(list(values), sums=sums).items():
        family.add_metric([name], value)
    return family
