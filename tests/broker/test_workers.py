"""Celery's own workers on the transport and the result backend, in processes of their own, on each pool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import WorkerLostError
from celery import Celery, chain, chord, group
from celery.exceptions import TaskRevokedError

from omx_tasks.broker import queues
from omx_tasks.broker.transport import register
from omx_tasks.store.client import Store

Until = Callable[..., None]
HERE = Path(__file__).parent


class Worker:
    """A worker process, and an app that publishes to it."""

    def __init__(self, url: str, pool: str, log: Path) -> None:
        self.queue = f"worker-{uuid.uuid4().hex[:12]}"
        self.node = f"{self.queue}@test"
        self.log = log
        register()
        self.app = Celery("client", broker=url, backend=url, set_as_current=False)
        self.app.conf.update(
            task_default_queue=self.queue, broker_transport_options={"lease": 1500}
        )
        self._command = [
            sys.executable, "-m", "celery", "-A", "sample_app", "worker", "-P", pool, "-c", "2",
            "-n", self.node, "-l", "info", "--without-gossip", "--without-mingle",
        ]  # fmt: skip
        self._environ = os.environ | {"SAMPLE_URL": url, "SAMPLE_QUEUE": self.queue}
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=HERE, env=self._environ, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 100
        while not self.control.ping([self.node], timeout=0.3):
            assert time.monotonic() < deadline, self.log.read_text()
        return self.process

    @property
    def control(self) -> Any:
        return self.app.control

    def task(self, name: str, *args: Any) -> Any:
        return self.app.signature(f"sample_app.{name}", args, app=self.app)

    def kill(self) -> None:
        """End the worker and its children as a crash would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
        backend = self.app.backend
        backend.result_consumer.stop()
        backend.store.close()
        self.app.close()


@pytest.fixture(scope="module", params=["prefork", "threads", "solo"])
def worker(
    request: pytest.FixtureRequest, cluster_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    worker = Worker(cluster_url, request.param, tmp_path_factory.mktemp("worker") / "log")
    yield worker
    worker.stop()


def test_a_task_runs_and_its_result_comes_back(worker: Worker) -> None:
    assert worker.task("add", 1, 2).delay().get(timeout=60) == 3


def test_the_exception_of_a_task_is_raised_where_its_result_is_awaited(worker: Worker) -> None:
    with pytest.raises(ValueError, match="as asked"):
        worker.task("fail").delay().get(timeout=60)


def test_a_hundred_tasks_run_once_each(worker: Worker, store: Store, until: Until) -> None:
    until(lambda: _stats(store, worker.queue).leased == 0)
    before = _stats(store, worker.queue).counters.get("acked", 0)
    results = group(worker.task("add", i, i) for i in range(100)).apply_async()
    assert results.get(timeout=60, interval=0.005) == [2 * i for i in range(100)]
    until(lambda: _stats(store, worker.queue).counters.get("acked", 0) - before == 100)
    assert _stats(store, worker.queue).leased == 0


def test_a_chord_calls_its_body_with_all_results(worker: Worker) -> None:
    header = [worker.task("add", i, i) for i in range(10)]
    assert chord(header)(worker.task("total")).get(timeout=60) == 90


def test_a_chain_hands_results_on(worker: Worker) -> None:
    steps = chain(worker.task("add", 1, 1), worker.task("add", 2), worker.task("add", 3))
    assert steps.apply_async().get(timeout=60) == 7


def test_a_countdown_is_kept(worker: Worker) -> None:
    began = time.monotonic()
    assert worker.task("add", 1, 1).apply_async(countdown=0.5).get(timeout=60) == 2
    assert time.monotonic() - began > 0.49


def test_a_task_is_tried_again(worker: Worker) -> None:
    assert worker.task("third_time").delay().get(timeout=60) == 2


def test_a_revoked_task_does_not_run(worker: Worker) -> None:
    result = worker.task("add", 1, 1).apply_async(countdown=3.0)
    worker.control.revoke(result.id, destination=[worker.node], reply=True, timeout=60)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=60)


def test_a_worker_answers_questions_and_obeys_orders(worker: Worker, until: Until) -> None:
    ask = worker.control.inspect([worker.node], timeout=60)
    assert [q["name"] for q in ask.active_queues()[worker.node]] == [worker.queue]
    other = f"{worker.queue}-other"
    worker.control.add_consumer(other, destination=[worker.node], reply=True, timeout=60)
    task = worker.task("add", 2, 2)
    assert task.apply_async(queue=other).get(timeout=60) == 4
    worker.control.cancel_consumer(other, destination=[worker.node], reply=True, timeout=60)
    until(lambda: _names(ask.active_queues(), worker) == [worker.queue])


def _names(answer: Any, worker: Worker) -> list[str]:
    return [queue["name"] for queue in (answer or {}).get(worker.node, [])]


def test_a_task_longer_than_its_lease_is_delivered_once(worker: Worker, store: Store) -> None:
    before = _stats(store, worker.queue).counters.get("returned", 0)
    assert worker.task("long", 2.5).delay().get(timeout=60) == "done"
    if "solo" not in worker.log.read_text().split("concurrency:")[1][:20]:
        assert _stats(store, worker.queue).counters.get("returned", 0) == before


def test_the_results_of_tasks_acknowledged_early_outlive_the_process_that_gave_them(
    cluster_url: str, tmp_path: Path
) -> None:
    """The next task kills each process before it can hear that its results are stored."""
    worker = Worker(cluster_url, "prefork", tmp_path / "log")
    try:
        for _ in range(3):
            results = [worker.task("early", number).delay() for number in range(20)]
            deaths = [worker.task("die").delay() for _ in range(2)]
            assert [result.get(timeout=60) for result in results] == list(range(20))
            for death in deaths:
                with pytest.raises(WorkerLostError):
                    death.get(timeout=60)
    finally:
        worker.stop()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_the_messages_of_a_killed_worker_are_back_within_two_leases(
    cluster_url: str, store: Store, tmp_path: Path, until: Until, pool: str
) -> None:
    worker = Worker(cluster_url, pool, tmp_path / "log")
    try:
        results = [worker.task("long", 30).delay(), worker.task("long", 30).delay()]
        until(lambda: _stats(store, worker.queue).leased == 2)
        worker.kill()
        deliveries: list[queues.Delivery] = []

        def both_are_back() -> bool:
            call = queues.claim(worker.queue, uuid.uuid4().hex, most=10, lease=60_000)
            deliveries.extend(queues.claimed(store.run(call)).deliveries)
            return len(deliveries) == 2

        until(both_are_back)
        assert {delivery.count for delivery in deliveries} == {2}
        assert len(results) == 2
    finally:
        worker.stop()


def test_a_warm_shutdown_gives_back_what_was_not_begun(
    cluster_url: str, store: Store, tmp_path: Path, until: Until
) -> None:
    worker = Worker(cluster_url, "threads", tmp_path / "log")
    try:
        for _ in range(6):
            worker.task("long", 1.0).delay()
        until(lambda: _stats(store, worker.queue).leased >= 4)
        worker.process.terminate()
        worker.process.wait(60)
        stats = _stats(store, worker.queue)
        assert stats.leased == 0, worker.log.read_text()
        assert sum(stats.waiting) + stats.counters["acked"] == 6
        assert stats.counters["acked"] >= 2
    finally:
        worker.stop()


def _stats(store: Store, queue: str) -> queues.Stats:
    return queues.read_stats(store.run(queues.stats(queue)))
