"""The cluster as metrics: its shards, their replicas, and how far these are behind.

Nothing here is read from a key: so it is known also of a cluster of which a part is down.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from omx_tasks.errors import UnavailableError
from omx_tasks.monitoring.metrics import gauge
from omx_tasks.store import shards
from omx_tasks.store.client import Store


def cluster(store: Store) -> Iterator[Metric]:
    """Give the cluster's state as its masters tell it; where none answers, that it is down."""
    up = gauge("omx_cluster_up", "Whether the cluster answers: 1 or 0")
    try:
        found = shards.look(store)
    except UnavailableError:
        up.add_metric([], 0)
        yield up
        return
    up.add_metric([], 1)
    yield up
    yield from _shards(found)


def _shards(found: list[shards.Shard]) -> Iterator[Metric]:
    masters = gauge("omx_cluster_master_up", "Whether a master that serves slots answers", "master")
    replicas = gauge("omx_cluster_replicas", "Replicas that are connected to a master", "master")
    lag = gauge(
        "omx_cluster_replication_lag_bytes", "Writes that a replica has not confirmed yet", "master", "replica"
    )  # fmt: skip
    for shard in found:
        masters.add_metric([str(shard.master)], shard.answers)
        replicas.add_metric([str(shard.master)], len(shard.lags))
        for replica, behind in shard.lags.items():
            lag.add_metric([str(shard.master), replica], behind)
    yield from (masters, replicas, lag)
