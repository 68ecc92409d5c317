"""Real servers: every test of a cluster runs on each server program that this machine has."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from redis.cluster import RedisCluster

from omx_tasks.cluster.binary import find_server
from omx_tasks.cluster.embedded import EmbeddedCluster

SERVERS = {"packaged": str(find_server())}
if (_debian := shutil.which("redis-server")) is not None:
    SERVERS["redis-server"] = _debian


class MakeCluster(Protocol):
    def __call__(self, name: str = "cluster", **wishes: Any) -> EmbeddedCluster: ...


WaitUntil = Callable[[Callable[[], bool]], None]


@pytest.fixture(params=SERVERS.values(), ids=SERVERS.keys())
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_cluster(tmp_path: Path, server: str) -> Iterator[MakeCluster]:
    """Make clusters in folders of the test, which are stopped and removed after it."""
    made: list[EmbeddedCluster] = []

    def make(name: str = "cluster", **wishes: Any) -> EmbeddedCluster:
        made.append(EmbeddedCluster(tmp_path / name, **{"server": server, **wishes}))
        return made[-1]

    yield make
    for cluster in made:
        cluster.down(delete=True, timeout=2)


@pytest.fixture
def connect() -> Iterator[Callable[[EmbeddedCluster], RedisCluster]]:
    """Connect to clusters as their users do."""
    clients: list[RedisCluster] = []

    def open_client(cluster: EmbeddedCluster) -> RedisCluster:
        port = next(node.port for node in cluster.status().nodes if node.alive)
        clients.append(RedisCluster(host="127.0.0.1", port=port, decode_responses=True))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


@pytest.fixture
def wait_until() -> WaitUntil:
    """Wait for a condition, at most a minute."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, "it did not come true in time"
            pause.wait(0.02)

    return wait
