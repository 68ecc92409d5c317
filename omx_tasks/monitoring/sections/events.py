"""Events as metrics: how many were stored, how far each handler is behind, and what it has given up."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from omx_tasks.events import log
from omx_tasks.events.groups import Standing, standings
from omx_tasks.monitoring.metrics import Section, bounded, counter, filled, gauge
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store


def events(partitions: int) -> Section:
    """Return the section; ``partitions``: of the events, should nobody have said so before."""

    def read(store: Store) -> Iterator[Metric]:
        yield _stored(store, partitions)
        yield from _handlers(standings(store, partitions))

    return read


def _stored(store: Store, partitions: int) -> Metric:
    """Return how many events there ever were: each log numbers its own."""
    family = counter("omx_events_stored", "Events that were stored", "priority")
    names = [keys.event_meta(number) for number in range(log.open_log(store, partitions))]
    fields = [f"last:{int(priority)}" for priority in Priority]
    answers = store.commands([(name, ("HMGET", name, *fields)) for name in names])
    for priority, lasts in zip(Priority, zip(*answers, strict=True), strict=True):
        family.add_metric([priority.name], sum(int(last or 0) for last in lasts))
    return family


def _handlers(found: list[Standing]) -> Iterator[Metric]:
    behind = gauge(
        "omx_event_handler_behind", "Events that a handler has not been through", "handler", "priority"
    )  # fmt: skip
    for priority in Priority:
        left = [(one.handler, float(one.behind.get(priority, 0))) for one in found]
        for name, value in bounded(left).items():
            behind.add_metric([name, priority.name], value)
    yield behind
    oldest = gauge(
        "omx_event_handler_oldest_seconds", "Age of the oldest event that a handler has not been through", "handler"
    )  # fmt: skip
    yield filled(oldest, [(one.handler, one.oldest or 0.0) for one in found], sums=False)
    retrying = gauge(
        "omx_event_handler_retrying", "Events that failed and are tried again, and what waits behind them", "handler"
    )  # fmt: skip
    yield filled(retrying, [(one.handler, one.retrying) for one in found])
    dead = gauge("omx_event_handler_dead", "Events that a handler failed on too often", "handler")
    yield filled(dead, [(one.handler, one.dead) for one in found])
    unserved = gauge(
        "omx_event_handler_unserved", "Partitions that no process serves for a handler", "handler"
    )
    yield filled(unserved, [(one.handler, one.unserved) for one in found])
    failed = counter("omx_event_handler_failed", "How often a handler failed on events", "handler")
    yield filled(failed, [(one.handler, one.failed) for one in found])
    dropped = counter(
        "omx_event_handler_dropped", "Events dropped before a handler took them", "handler"
    )
    yield filled(dropped, [(one.handler, one.dropped) for one in found])
