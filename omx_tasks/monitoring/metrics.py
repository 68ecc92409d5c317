"""The metrics of the whole system, read from the cluster when they are asked for.

::

    scrape ─► Collector ─► queues: messages, ages, counters      (broker.audit)
                       ├─► agents: slots, sessions, circuits     (agents.registry)
                       ├─► cluster: nodes, shards, lag           (store.shards)
                       └─► runs                                  (runs.listing)

Nothing is counted a second time: every figure is one that the product keeps anyhow, so metrics cost the agents nothing,
and one exporter answers for any number of processes. Several may run; they say the same.

Names begin with ``omx_``, units are seconds and bytes, counters end with ``_total``. Labels are bounded: where a label
has more than ``MOST`` values, those beyond the largest are one, ``other``. A section that cannot be read is left out,
which ``omx_scrape_errors_total`` says, while the others answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from omx_tasks.errors import OmxError
from omx_tasks.store.client import Store

logger = logging.getLogger(__name__)

#: Different values of one label at most.
MOST = 200
OTHER = "other"

#: Reads metrics of one kind.
Section = Callable[[Store], Iterator[Metric]]


class SystemCollector(Collector):
    """Reads each section at each scrape; ``sections`` by name."""

    def __init__(self, store: Store, sections: dict[str, Section]) -> None:
        self._store = store
        self._sections = sections
        self._errors = dict.fromkeys(sections, 0)

    def __repr__(self) -> str:
        return f"<SystemCollector {list(self._sections)}>"

    def collect(self) -> Iterator[Metric]:
        """Give all metrics of this moment."""
        seconds = gauge("omx_scrape_seconds", "How long it took to read a section", "section")
        for name, section in self._sections.items():
            began = time.perf_counter()
            try:
                # All of a section or nothing: half of it would look like a fall.
                yield from list(section(self._store))
            except OmxError as error:
                self._errors[name] += 1
                logger.warning("no metrics of the %s: %s", name, error)
            seconds.add_metric([name], time.perf_counter() - began)
        yield seconds
        errors = counter(
            "omx_scrape_errors", "Scrapes in which a section could not be read", "section"
        )
        for name, count in self._errors.items():
            errors.add_metric([name], count)
        yield errors

    def describe(self) -> Iterable[Metric]:
        """Say nothing ahead: registering must not read the cluster."""
        return []


def gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    """Return an empty family of values that rise and fall."""
    return GaugeMetricFamily(name, meaning, labels=labels)


def counter(name: str, meaning: str, *labels: str) -> CounterMetricFamily:
    """Return an empty family of values that only rise; its name gets ``_total``."""
    return CounterMetricFamily(name, meaning, labels=labels)


def bounded(
    values: Sequence[tuple[str, float]], most: int = MOST, *, sums: bool = True
) -> dict[str, float]:
    """Return the values by label; those beyond the ``most`` largest are one, `OTHER`: their sum, or their largest."""
    ordered = sorted(values, key=lambda pair: -pair[1])
    kept, rest = dict(ordered[:most]), [value for _, value in ordered[most:]]
    if rest:
        kept[OTHER] = sum(rest) if sums else rest[0]
    return kept
