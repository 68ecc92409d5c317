"""One real cluster for the whole session, three masters with a replica each, which dies with the test process.

No example of a property has a deadline: a machine that is busy with something else is no mistake.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.store.client import Store

Until = Callable[..., None]

settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def pytest_configure() -> None:
    """Keep from what tests start the size of our terminal, and a background job's deafness to Ctrl-C."""
    for name in ("COLUMNS", "LINES"):  # readline, which pytest imports, sets them
        os.environ.pop(name, None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    cluster = EmbeddedCluster(tmp_path_factory.mktemp("cluster") / "nodes")
    cluster.up(bound=True)
    yield cluster
    cluster.down(delete=True, timeout=5)


@pytest.fixture(scope="session")
def cluster_url(cluster: EmbeddedCluster) -> str:
    return cluster.url()


@pytest.fixture
def store(cluster_url: str) -> Iterator[Store]:
    store = Store(cluster_url, timeout=10.0)
    yield store
    store.close()


@pytest.fixture
def queue() -> str:
    """The name of a queue that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def until() -> Until:
    """Wait for a condition to come true, at most so many seconds."""

    def wait(condition: Callable[[], object], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, "it did not come true in time"
            pause.wait(0.01)

    return wait
