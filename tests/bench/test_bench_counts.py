"""What the bench counts with: finished tasks, requests, waiting connections."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from omx_tasks.bench.requests import counting_requests
from omx_tasks.bench.sides import Side, stock_side
from omx_tasks.bench.tally import Tally
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store

ADDER = """
import sys
from pathlib import Path
from omx_tasks.bench.tally import Tally
tally = Tally(Path(sys.argv[1]))
for _ in range(1000):
    tally.add()
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    """A cluster of which nobody else asks anything."""
    cluster = EmbeddedCluster(tmp_path_factory.mktemp("alone") / "nodes", replicas=0)
    cluster.up(bound=True)
    yield cluster
    cluster.down(delete=True, timeout=5)


@pytest.fixture
def side(alone: EmbeddedCluster) -> Side:
    return Side("ours", {}, tuple(Node(node.host, node.port) for node in alone.status().nodes))


def test_processes_and_threads_count_in_one_file_without_losing_any(tmp_path: Path) -> None:
    tally = Tally.create(tmp_path / "tally")
    command = [sys.executable, "-c", ADDER, str(tally.path)]
    processes = [subprocess.Popen(command) for _ in range(2)]

    def add() -> None:
        for _ in range(1000):
            tally.add()

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [process.wait(60) for process in processes] == [0, 0]
    assert tally.total == 5000
    assert repr(tally) == "<Tally 5000 by 5>"


def test_a_script_counts_as_one_request_whatever_it_does(side: Side) -> None:
    script = "for _ = 1, 50 do redis.call('ECHO', 'x') end"
    with side.links() as links, counting_requests(side) as seen:
        links[0].ask([("EVAL", script, "0"), ("PING",)], time.monotonic() + 60)
    assert sorted(seen.values()) == [2]


def test_requests_of_all_masters_are_counted_by_client(side: Side, alone: EmbeddedCluster) -> None:
    with closing(Store(alone.url(), timeout=10.0)) as store:
        store.command("a", "GET", "a")  # connected, the slots learned
        with counting_requests(side) as seen:
            store.commands([(str(number), ("GET", str(number))) for number in range(30)])
    assert seen.total() >= 30
    assert len(seen) == 3


def test_the_stock_side_has_a_server_of_its_own_that_ends_with_it(tmp_path: Path) -> None:
    with stock_side(tmp_path / "stock") as side:
        (node,) = side.nodes
        assert str(node) in side.settings["broker_url"]
        with side.links() as (link,):
            assert link.ask([("ECHO", "there")], time.monotonic() + 60) == [b"there"]
    with pytest.raises(ConnectionError), side.links():
        pass
