"""What is wanted of the system beside what it is now: each figure is at most its target, or something is to be done.

======================  =============================================================  =========
figure                  what it is                                                     at most
======================  =============================================================  =========
failed_share            operations that failed, of those that ended in the last 5 min  0.005
wait_p99_seconds_p0     for how long 99 % of the urgent operations waited at most      0.5 s
event_age_seconds       age of the oldest event that some handler has not been through 5 s
replication_lag_bytes   writes that the slowest replica has not confirmed yet          1 MiB
shards_without_replica  masters with no replica                                        0
dead_messages           messages and events that were delivered too often              0
======================  =============================================================  =========

A figure of which nothing is known, since nothing happened, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from omx_tasks.broker import audit
from omx_tasks.events.groups import standings
from omx_tasks.monitoring.counts import Count
from omx_tasks.monitoring.histogram import quantile
from omx_tasks.monitoring.metrics import Section, gauge
from omx_tasks.monitoring.statistics import statistics
from omx_tasks.monitoring.tally import Dimension
from omx_tasks.settings import Settings
from omx_tasks.store import shards
from omx_tasks.store.client import Store

#: Seconds of which operations are looked at.
LATELY = 300.0
TARGETS = {
    "failed_share": 0.005,
    "wait_p99_seconds_p0": 0.5,
    "event_age_seconds": 5.0,
    "replication_lag_bytes": 1024.0 * 1024.0,
    "shards_without_replica": 0.0,
    "dead_messages": 0.0,
}


def targets(given: Settings) -> Section:
    """Return the section."""

    def read(store: Store) -> Iterator[Metric]:
        actuals = {**_operations(store, given), **_events(store, given), **_shards(store)}
        wanted = gauge("omx_target", "What a figure should be at most", "figure")
        actual = gauge("omx_actual", "What a figure is now", "figure")
        for figure, target in TARGETS.items():
            wanted.add_metric([figure], target)
        for figure, value in actuals.items():
            if value is not None:
                actual.add_metric([figure], value)
        yield from (wanted, actual)

    return read


def _operations(store: Store, given: Settings) -> dict[str, float | None]:
    found = statistics(store, Dimension.PRIORITY, LATELY, given).series
    ended = sum(count.number for count in found.values())
    failed = sum(count.failed for count in found.values())
    return {
        "failed_share": failed / ended if ended else None,
        "wait_p99_seconds_p0": quantile(found.get("P0", Count()).waits, 0.99),
    }


def _events(store: Store, given: Settings) -> dict[str, float | None]:
    found = standings(store, given.events_partitions)
    messages = sum(report.stats.dead for report in audit.reports(store) if not report.is_internal)
    return {
        "event_age_seconds": max((one.oldest or 0.0 for one in found), default=None),
        "dead_messages": messages + sum(one.dead for one in found),
    }


def _shards(store: Store) -> dict[str, float | None]:
    found = shards.look(store)
    lags = [behind for shard in found for behind in shard.lags.values()]
    return {
        "replication_lag_bytes": max(lags, default=None),
        "shards_without_replica": sum(not shard.lags for shard in found),
    }
