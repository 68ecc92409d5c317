"""A cluster of its own, since what is counted there is all that happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.store import keys
from omx_tasks.store.client import Store


@pytest.fixture(scope="module")
def counted_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    cluster = EmbeddedCluster(tmp_path_factory.mktemp("counted") / "nodes")
    cluster.up(bound=True)
    yield cluster.url()
    cluster.down(delete=True, timeout=5)


@pytest.fixture
def counted_store(counted_url: str) -> Iterator[Store]:
    """A client of it, when it is empty."""
    store = Store(counted_url, timeout=10.0)
    for number in range(3):  # each on another master
        store.command(keys.event_meta(number), "FLUSHALL")
    yield store
    store.close()
