"""Coordinators as metrics: how many there are, whether one leads, and how its duties go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from omx_tasks.coordination.registry import CoordinatorRecord
from omx_tasks.coordination.registry import coordinators as heard
from omx_tasks.monitoring.metrics import counter, gauge
from omx_tasks.store.client import Store


def coordinators(store: Store, clock: Callable[[], float] = time.time) -> Iterator[Metric]:
    """Give what the coordinators said of themselves lately; of the duties, what their leader said."""
    found = heard(store)
    count = gauge("omx_coordinators", "Coordinators that were heard lately")
    count.add_metric([], len(found))
    yield count
    leading = [one for one in found if one.leads]
    leader = gauge("omx_leader", "Whether a coordinator leads: 1 or 0")
    leader.add_metric([], len(leading))
    yield leader
    for one in leading:
        yield from _duties(one, clock())


def _duties(leader: CoordinatorRecord, now: float) -> Iterator[Metric]:
    term = gauge("omx_leader_term_seconds", "For how long the leader has led")
    if leader.since is not None:
        term.add_metric([], max(0.0, now - leader.since))
    yield term
    begun = gauge("omx_duty_age_seconds", "How long ago the leader began a duty last", "duty")
    failing = gauge("omx_duty_failing", "Failures of a duty since it succeeded last", "duty")
    failed = counter("omx_duty_failures", "Failures of a duty in its leader's process", "duty")
    for name, duty in leader.duties.items():
        if duty["last"] is not None:
            begun.add_metric([name], max(0.0, now - duty["last"]))
        failing.add_metric([name], duty["failing"])
        failed.add_metric([name], duty["failures"])
    yield from (begun, failing, failed)
