"""The loads of the comparison: publishing, working a queue off, round trips, rest.

Every function does one thing to one side and returns what it measured, in seconds or tasks a second. Queues are
filled before they are worked off, so that no publisher takes processor time from the worker.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from celery import Celery

from omx_tasks.bench.app import NOTHING, make_app
from omx_tasks.bench.sides import Side
from omx_tasks.bench.tally import Tally
from omx_tasks.bench.worker import Worker
from omx_tasks.broker.many import publish_many
from omx_tasks.broker.routing import queue_of
from omx_tasks.errors import UnavailableError
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.operation import SERVER
from omx_tasks.graph.plan import compile_plan
from omx_tasks.runs.submit import submit
from omx_tasks.store.client import Store

PAUSE = 0.001
#: Seconds without a finished task after which a measurement is given up.
STALL = 30.0
#: The share of a queue that is worked off before the measurement begins.
RUN_UP = 0.05
#: Round trips before the first that is measured.
WARM_UP = 5
#: Seconds in which a worker does what is left when its queue is empty: last acks, answers, subscriptions.
SETTLE = 0.4
#: Seconds for which a run that ended is kept.
KEEP = 10.0


@contextmanager
def client(side: Side, *, results: bool) -> Iterator[Celery]:
    """Give an app that publishes to a side; without ``results`` it does not listen for any."""
    app = make_app({**side.settings, **({} if results else {"result_backend": None})})
    try:
        yield app
    finally:
        app.close()


def publish_singly(side: Side, queue: str, count: int) -> float:
    """Publish messages without a result one by one; returns messages a second."""
    with client(side, results=False) as app:
        publish = partial(app.tasks[NOTHING].apply_async, queue=queue, ignore_result=True)
        publish()
        return _rate(count - 1, lambda: [publish() for _ in range(count - 1)])


def publish_in_batches(side: Side, queue: str, count: int, *, results: bool) -> float:
    """Publish with ``producer.batch()``; returns messages a second, NaN where the transport has no batches."""
    with client(side, results=False) as app, app.producer_or_acquire() as producer:
        if not producer.supports_batch_publish:
            publish_singly(side, queue, count)
            return float("nan")
        options = {"queue": queue, "producer": producer, "ignore_result": not results}
        publish = partial(app.tasks[NOTHING].apply_async, **options)

        def load() -> None:
            with producer.batch():
                for _ in range(count - 1):
                    publish()

        publish()
        return _rate(count - 1, load)


def publish_at_once(side: Side, queue: str, count: int) -> float:
    """Publish messages without a result with one `publish_many`; returns messages a second."""
    with client(side, results=False) as app:
        publish = partial(publish_many, app.tasks[NOTHING], queue=queue, ignore_result=True)
        publish([()])
        return _rate(count - 1, lambda: publish([()] * (count - 1)))


def submit_operations(side: Side, server: str, count: int) -> str:
    """Submit a run of operations that need nothing but their server; returns their queue."""
    operations = [Operation(id=f"o{number}", server=server, tool="t") for number in range(count)]
    plan = compile_plan(Graph(name="bench", operations=operations))
    with contextlib.closing(Store(side.settings["broker_url"])) as store:
        submit(store, plan, {}, keep=KEEP)
    return queue_of([SERVER + server])


def _rate(count: int, load: Callable[[], Any]) -> float:
    began = time.perf_counter()
    load()
    return count / (time.perf_counter() - began)


@dataclass(frozen=True)
class Drained:
    """How a queue was worked off: tasks a second, and the parents' processor seconds for each task."""

    rate: float
    cpu: float


def drain(side: Side, workers: Sequence[Worker], tally: Tally, queue: str, count: int) -> Drained:
    """Have workers take on a queue that holds ``count`` messages, and measure until it is empty."""
    before = tally.total
    for worker in workers:
        consume(side, worker, queue)
    wait_for(tally, before + max(1, round(count * RUN_UP)))
    first, began, cpu = tally.total, time.perf_counter(), _cpu_seconds(workers)
    wait_for(tally, before + count)
    tasks, seconds = before + count - first, time.perf_counter() - began
    return Drained(tasks / seconds, (_cpu_seconds(workers) - cpu) / tasks)


def _cpu_seconds(workers: Sequence[Worker]) -> float:
    return sum(worker.cpu_seconds() for worker in workers)


def consume(side: Side, worker: Worker, *queues: str) -> None:
    """Have a worker consume more queues; returns when it said so."""
    deadline = time.monotonic() + STALL
    with client(side, results=False) as app:
        for queue in queues:
            while not app.control.add_consumer(queue, destination=[worker.node], reply=True):
                if time.monotonic() > deadline:
                    raise UnavailableError(f"the worker {worker.name} does not answer")


def wait_for(tally: Tally, total: int) -> None:
    """Return when so many tasks have run; raises `UnavailableError` when none does for long."""
    seen, patience = -1, 0.0
    while (now := tally.total) < total:
        if now != seen:
            seen, patience = now, time.monotonic() + STALL
        elif time.monotonic() > patience:
            raise UnavailableError(f"no task finished for {STALL:.0f} s; {total - now} are left")
        time.sleep(PAUSE)


@contextmanager
def calling(side: Side, queue: str) -> Iterator[Callable[[], float]]:
    """Give a function that sends one task, waits for its result and returns the seconds; warmed up."""
    with client(side, results=True) as app:
        call = app.tasks[NOTHING].apply_async

        def round_trip() -> float:
            began = time.perf_counter()
            call(queue=queue).get(timeout=STALL)
            return time.perf_counter() - began

        for _ in range(WARM_UP):
            round_trip()
        yield round_trip


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile of some values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def idle_cpu(worker: Worker, seconds: float) -> float:
    """Return the percentage of a processor that a worker's parent uses while there is nothing to do."""
    began, before = time.perf_counter(), worker.cpu_seconds()
    time.sleep(seconds)
    return 100 * (worker.cpu_seconds() - before) / (time.perf_counter() - began)
