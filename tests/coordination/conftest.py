"""Coordinators on a cluster of their own: whoever leads on the session's would look after everybody's runs."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from standbys import Standbys

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.coordination.leader import Leader, Term
from omx_tasks.settings import Settings, load
from omx_tasks.store.client import Store

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("runs", "agents")]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    cluster = EmbeddedCluster(tmp_path_factory.mktemp("coordination") / "nodes")
    cluster.up(bound=True)
    yield cluster
    cluster.down(delete=True, timeout=5)


@pytest.fixture
def given() -> Settings:
    return load({})


@pytest.fixture
def term(cluster_url: str, until: Callable[..., None]) -> Iterator[Term]:
    """The test leads, long enough."""
    leader = Leader(lambda: Store(cluster_url), "test", lease=600.0)

    def leads() -> bool:
        leader.beat("{}")
        return leader.term is not None

    until(leads)
    assert leader.term is not None
    yield leader.term
    leader.close()


@pytest.fixture
def standbys(
    cluster_url: str, store: Store, tmp_path: Path, until: Callable[..., None]
) -> Iterator[Standbys]:
    """No coordinator yet; what a test starts is ended after it."""
    standbys = Standbys(cluster_url, store, tmp_path, until)
    yield standbys
    standbys.end()


@pytest.fixture
def word() -> str:
    """The first word of types that no other test publishes."""
    return f"t{uuid.uuid4().hex[:12]}"
