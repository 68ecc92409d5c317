"""Queues as metrics: what waits in them and for how long, and what became of all that was published."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from omx_tasks.broker import audit
from omx_tasks.broker.audit import QueueReport
from omx_tasks.monitoring.metrics import bounded, counter, gauge
from omx_tasks.priorities import Priority
from omx_tasks.store.client import Store

_STATES = ("leased", "delayed", "dead")
_COUNTED = {
    "published": "Messages published",
    "acked": "Messages done",
    "failed": "Messages refused by their worker",
    "returned": "Messages that came back because their lease ran out or they were given back",
    "fenced": "Messages that were acked after their lease was lost",
    "withdrawn": "Messages taken back before they were claimed",
}


def queues(store: Store) -> Iterator[Metric]:
    """Give depth, age and counters of every queue; Celery's own for remote control are left out."""
    found = [report for report in audit.reports(store) if not report.is_internal]
    yield from _depths(found)
    yield from _counters(found)


def _depths(found: list[QueueReport]) -> Iterator[Metric]:
    waiting = gauge("omx_queue_waiting", "Messages that wait to be claimed", "queue", "priority")
    oldest = gauge(
        "omx_queue_oldest_seconds", "How long the longest waiting message has waited", "queue", "priority"
    )  # fmt: skip
    for priority in Priority:
        depth = [(report.name, float(report.stats.waiting[priority])) for report in found]
        for queue, count in bounded(depth).items():
            waiting.add_metric([queue, priority.name], count)
        ages = [(report.name, report.stats.oldest[priority] or 0.0) for report in found]
        for queue, age in bounded(ages, sums=False).items():
            oldest.add_metric([queue, priority.name], age)
    yield from (waiting, oldest)
    held = gauge(
        "omx_queue_held", "Messages that do not wait: leased, delayed or dead", "queue", "state"
    )
    for state in _STATES:
        counts = [(report.name, float(getattr(report.stats, state))) for report in found]
        for queue, count in bounded(counts).items():
            held.add_metric([queue, state], count)
    yield held
    suspects = gauge(
        "omx_queue_suspects",
        "Waiting messages that agents had when they ended, twice or more: one at a time goes to an agent",
        "queue",
    )
    for queue, count in bounded([(one.name, float(one.stats.suspects)) for one in found]).items():
        suspects.add_metric([queue], count)
    yield suspects
    consumers = gauge("omx_queue_consumers", "Workers that consume a queue", "queue")
    for queue, count in bounded(
        [(report.name, float(report.consumers)) for report in found]
    ).items():
        consumers.add_metric([queue], count)
    yield consumers


def _counters(found: list[QueueReport]) -> Iterator[Metric]:
    for name, meaning in _COUNTED.items():
        family = counter(f"omx_queue_{name}", meaning, "queue")
        counts = [(report.name, float(report.stats.counters.get(name, 0))) for report in found]
        for queue, count in bounded(counts).items():
            family.add_metric([queue], count)
        yield family
