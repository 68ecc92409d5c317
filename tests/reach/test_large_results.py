"""What becomes of a task whose result is too large, and of chords whose parts lie in many slots."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from celery import chord, group
from celery.exceptions import ChordError
from task_worker import TaskWorker

from omx_tasks.results.limits import ResultTooLargeError
from omx_tasks.store.client import Store
from omx_tasks.store.topology import slot_of

Until = Callable[..., None]


@pytest.fixture(scope="module")
def worker(cluster_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskWorker]:
    worker = TaskWorker(
        cluster_url, tmp_path_factory.mktemp("worker") / "log",
        result_backend_transport_options={"result_size_limit": 20_000}, result_extended=True,
    )  # fmt: skip
    with worker:
        yield worker


def test_a_task_with_too_large_a_result_fails_and_says_why(
    worker: TaskWorker, until: Until
) -> None:
    result = worker.task("letters", 50_000).delay()
    with pytest.raises(ResultTooLargeError, match=r"50,\d\d\d bytes is more than the 20,000"):
        result.get(timeout=60)
    assert result.state == "FAILURE"
    until(lambda: "ResultTooLargeError" in worker.log.read_text())
    assert worker.call("add", 1, 2) == 3


def test_a_task_with_too_large_an_error_fails_and_says_why(worker: TaskWorker) -> None:
    with pytest.raises(ResultTooLargeError, match="more than the 20,000"):
        worker.task("fail_with", 50_000).delay().get(timeout=60)


def test_a_chord_with_a_part_that_is_too_large_fails(worker: TaskWorker) -> None:
    header = [worker.task("letters", 50_000), worker.task("add", 1, 1)]
    with pytest.raises((ChordError, ResultTooLargeError), match="more than the 20,000"):
        chord(header)(worker.task("total")).get(timeout=60)


def test_a_chord_joins_parts_of_all_masters(worker: TaskWorker, store: Store) -> None:
    header = group(worker.task("add", i, i) for i in range(30))
    result = chord(header)(worker.task("total"))
    assert result.get(timeout=60) == 870
    store.ping(5)
    key_of = worker.app.backend.get_key_for_task
    masters = {
        store.topology.owner(slot_of(key_of(part.id).decode())) for part in result.parent.results
    }
    assert len(masters) == 3
