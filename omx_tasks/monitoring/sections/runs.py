"""Runs as metrics: how many are under way, and how the newest ones ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import Metric

from omx_tasks.monitoring.metrics import gauge
from omx_tasks.runs.listing import recent
from omx_tasks.store.client import Store

#: The newest runs that are looked at.
NEWEST = 500
STATES = ("running", "succeeded", "failed", "cancelled")


def runs(store: Store) -> Iterator[Metric]:
    """Give the newest runs by state, and the operations of those that are under way."""
    found = recent(store, NEWEST)
    states = Counter(line.state for line in found)
    family = gauge("omx_recent_runs", f"The newest {NEWEST} runs, by state", "state")
    for state in STATES:
        family.add_metric([state], states[state])
    yield family
    left = gauge("omx_open_operations", f"Operations not over yet, of the newest {NEWEST} runs")
    left.add_metric([], sum(line.open for line in found if line.state == "running"))
    yield left
