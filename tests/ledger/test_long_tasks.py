"""A task may take as long as it likes: its lease is renewed until it is done."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery
from ledger_app import HOLD
from ledger_file import Ledger

from omx_tasks.bench.worker import Worker
from omx_tasks.broker import queues
from omx_tasks.broker.queues import Stats
from omx_tasks.store.client import Store

POOLS = ("prefork", "threads", "solo")
LEASES = 5


def test_a_message_held_for_many_lease_lengths_runs_once_on_every_pool(
    make_worker: Callable[..., Worker],
    client: Celery,
    ledger: Ledger,
    store: Store,
    queue: str,
    lease: float,
    until: Callable[..., None],
) -> None:
    names = [f"{queue}-{pool}" for pool in POOLS]
    workers = [make_worker(pool, pool, name) for pool, name in zip(POOLS, names, strict=True)]
    for number, name in enumerate(names):
        client.send_task(HOLD, (number, LEASES * lease), queue=name, ignore_result=True)
    until(lambda: len(ledger.counts("began")) == len(POOLS), 60)
    rival = make_worker("rival", "threads", ",".join(names))

    until(lambda: len(ledger.counts("ended")) == len(POOLS), 60)
    until(lambda: all(_stats(store, name).counters.get("acked") for name in names))

    until(rival.is_ready)
    assert rival.pid not in {entry.pid for entry in ledger.entries()}
    assert all(worker.alive for worker in workers)
    for number, name in enumerate(names):
        assert (ledger.counts("began")[number], ledger.counts("ended")[number]) == (1, 1)
        assert _stats(store, name).counters == {"published": 1, "acked": 1}


def _stats(store: Store, queue: str) -> Stats:
    return queues.read_stats(store.run(queues.stats(queue)))
