"""Workers as processes, and pytest-celery's fixtures with processes in the place of containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from ledger_app import LATE
from ledger_file import Ledger
from ledger_workers import ledger_worker
from nodes import ClusterContainer, ProcessContainer, WorkerNode
from pytest_celery import (  # type: ignore[import-untyped]
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryWorkerCluster,
)

from omx_tasks.bench.worker import Worker
from omx_tasks.cluster.embedded import EmbeddedCluster

MakeWorker = Callable[..., Worker]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def settings(cluster_url: str, lease: float) -> dict[str, Any]:
    return {
        "broker_url": cluster_url,
        "result_backend": cluster_url,
        "broker_transport_options": {"lease": round(lease * 1000)},
        **LATE,
    }


@pytest.fixture
def lease() -> float:
    """Seconds of a lease."""
    return 2.0


@pytest.fixture
def make_worker(tmp_path: Path, settings: dict[str, Any], ledger: Ledger) -> Iterator[MakeWorker]:
    """Start workers ``(name, kind, queues)`` that are stopped after the test."""
    made: list[Worker] = []

    def make(name: str, kind: str, queues: str) -> Worker:
        worker = ledger_worker(tmp_path, name, kind, settings, ledger.path, queues)
        made.append(worker.start())
        return worker

    yield make
    for worker in made:
        worker.terminate()
    for worker in made:
        worker.stop()


@pytest.fixture
def client(settings: dict[str, Any]) -> Iterator[Celery]:
    """An app that publishes."""
    with Celery("client", set_as_current=False) as app:
        app.conf.update(settings)
        yield app


# --- pytest-celery's fixtures -----------------------------------------------------------------------


@pytest.fixture
def celery_broker_cluster(cluster: EmbeddedCluster) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(CeleryTestBroker(ClusterContainer(cluster)))


@pytest.fixture
def celery_backend_cluster(cluster: EmbeddedCluster) -> CeleryBackendCluster:
    return CeleryBackendCluster(CeleryTestBackend(ClusterContainer(cluster)))


@pytest.fixture
def celery_worker_cluster(make_worker: MakeWorker, queue: str) -> Iterator[CeleryWorkerCluster]:
    kinds = ("prefork", "threads")
    nodes = [WorkerNode(ProcessContainer(make_worker(kind, kind, queue)), None) for kind in kinds]
    assert all(node.ready() for node in nodes)
    yield CeleryWorkerCluster(*nodes)
    for node in nodes:
        node.teardown()


@pytest.fixture
def celery_setup_app(
    celery_setup_config: dict[str, Any], celery_setup_cls: type[CeleryTestSetup], lease: float
) -> Iterator[Celery]:
    with Celery(celery_setup_cls.name(), set_as_current=False) as app:
        app.config_from_object({**celery_setup_config, **LATE})
        yield app
