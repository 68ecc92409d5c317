"""Clusters of a fault's own; ledger and agents are those of ``tests/ledger`` and ``tests/agents``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from omx_tasks.cluster.embedded import EmbeddedCluster

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("ledger", "agents")]

#: Milliseconds in which no replica takes over from a master that hangs or is dead.
NODE_TIMEOUT = 60_000


@pytest.fixture
def slow_cluster(tmp_path: Path) -> Iterator[EmbeddedCluster]:
    cluster = EmbeddedCluster(tmp_path / "nodes", node_timeout_ms=NODE_TIMEOUT)
    cluster.up(bound=True)
    yield cluster
    cluster.down(delete=True, timeout=2)
