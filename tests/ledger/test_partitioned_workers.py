"""Real workers on a queue with partitions: killed, and told of more partitions while messages wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from ledger_app import LATE, NOTE
from ledger_file import Ledger
from ledger_workers import ledger_worker

from omx_tasks.bench.worker import Worker
from omx_tasks.broker import audit
from omx_tasks.broker.many import publish_many
from omx_tasks.broker.pattern import TaskCall
from omx_tasks.store.client import Store

Until = Callable[..., None]
LEASE = 1500
COUNT = 300


def _settings(url: str, partitions: int) -> dict[str, Any]:
    return {
        "broker_url": url,
        "broker_transport_options": {"lease": LEASE, "partitions": partitions},
        **LATE,
    }


@contextmanager
def _client(url: str, partitions: int) -> Iterator[Celery]:
    with Celery("partitions", set_as_current=False) as app:
        app.conf.update(_settings(url, partitions))
        yield app


@pytest.fixture
def start(cluster_url: str, ledger: Ledger, queue: str, tmp_path: Path) -> Iterator[Any]:
    made: list[Worker] = []

    def start(name: str, kind: str, partitions: int) -> Worker:
        settings = _settings(cluster_url, partitions)
        worker = ledger_worker(tmp_path, name, kind, settings, ledger.path, queue)
        made.append(worker)
        return worker.start().wait_until_ready()

    yield start
    for worker in made:
        worker.stop()


def _publish(app: Celery, queue: str, numbers: Sequence[int]) -> None:
    """Publish half of them one by one, the rest at once."""
    for number in numbers[::2]:
        app.send_task(NOTE, (number,), queue=queue, ignore_result=True)
    calls = [TaskCall((number,)) for number in numbers[1::2]]
    publish_many(NOTE, calls, app=app, queue=queue, ignore_result=True)


def _acked(store: Store, queue: str) -> int:
    return audit.reports(store, [queue])[0].stats.counters.get("acked", 0)


def test_nothing_is_lost_when_a_worker_is_killed_that_held_messages_of_all_partitions(
    start: Callable[..., Worker],
    cluster_url: str,
    ledger: Ledger,
    queue: str,
    store: Store,
    until: Until,
) -> None:
    with _client(cluster_url, 3) as app:
        start("first", "prefork", 3)
        victim = start("victim", "threads", 3)
        _publish(app, queue, range(COUNT))
        until(lambda: len(ledger.entries()) > COUNT // 10)
        victim.kill()
        _publish(app, queue, range(COUNT, 2 * COUNT))
        until(lambda: len(ledger.counts()) == 2 * COUNT, 100)
    until(lambda: _acked(store, queue) == 2 * COUNT)
    (report,) = audit.reports(store, [queue])
    assert (report.present, report.missing, report.stats.dead) == (0, 0, 0)


def test_a_worker_works_off_partitions_that_came_while_messages_wait(
    start: Callable[..., Worker],
    cluster_url: str,
    ledger: Ledger,
    queue: str,
    store: Store,
    until: Until,
) -> None:
    with _client(cluster_url, 1) as old, _client(cluster_url, 6) as new:
        _publish(old, queue, range(COUNT))
        start("one", "one", 1)
        _publish(new, queue, range(COUNT, 2 * COUNT))
        _publish(old, queue, range(2 * COUNT, 3 * COUNT))
        until(lambda: len(ledger.entries()) == 3 * COUNT, 100)
    assert set(ledger.counts().values()) == {1}
    until(lambda: _acked(store, queue) == 3 * COUNT)
    assert audit.reports(store, [queue])[0].missing == 0
