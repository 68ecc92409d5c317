"""Nodes that run elsewhere are made one cluster, and brought back in order whatever became of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from omx_tasks.cluster.binary import find_server
from omx_tasks.cluster.gathering import gather
from omx_tasks.cluster.peer import Peer
from omx_tasks.cluster.ports import reserved_ports
from omx_tasks.cluster.readiness import try_to_look
from omx_tasks.errors import ClusterError
from omx_tasks.store.client import Store
from omx_tasks.store.shards import look

PASSWORD = 'a "pass\\word'
SECONDS = 60.0


class Nodes:
    """Six nodes as containers run them: a process, a volume and a password file each."""

    def __init__(self, folder: Path, server: str, ports: list[int]) -> None:
        self.folder = folder
        self.ports = ports
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        secret = folder / "password"
        secret.write_text(PASSWORD + "\n")
        self.environ = {
            **os.environ,
            "OMX_BROKER_PASSWORD_FILE": str(secret),
            "OMX_REDIS_SERVER": server,
            "OMX_BROKER_URL": "rediscluster://" + ",".join(f"127.0.0.1:{p}" for p in self.ports),
        }
        self.peers = [Peer("127.0.0.1", port, password=PASSWORD) for port in self.ports]

    def start(self, *ports: int) -> None:
        for port in ports or self.ports:
            words = ["cluster", "node", "--host", "localhost", "--port", str(port)]
            command = [sys.executable, "-m", "omx_tasks.cli.main", *words]
            with (self.folder / f"{port}.log").open("ab") as log:
                self.processes[port] = subprocess.Popen(
                    [*command, "--dir", str(self.folder / str(port))],
                    env=self.environ,
                    stdout=log,
                    stderr=log,
                )

    def kill(self, *ports: int, empty: bool = False) -> None:
        for port in ports:
            self.processes[port].kill()
            self.processes[port].wait(60)
            if empty:
                shutil.rmtree(self.folder / str(port))

    def gather(self, seconds: float = SECONDS) -> list[str]:
        return gather(self.peers, 1, time.monotonic() + seconds)

    def store(self) -> Store:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return Store(f"rediscluster://:a%20%22pass%5Cword@{hosts}", timeout=SECONDS)

    def master(self) -> tuple[int, int]:
        """Return the ports of a master and its replica."""
        views = {peer.port: peer.look() for peer in self.peers}
        port = next(port for port, view in views.items() if view.me.slots)
        mine = views[port].me.id
        return port, next(p for p, view in views.items() if view.me.master == mine)

    def stop(self) -> None:
        for peer in self.peers:
            peer.close()
        for process in self.processes.values():
            process.kill()
            process.wait(60)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with reserved_ports(6) as ports:
        nodes = Nodes(tmp_path, str(find_server()), ports)
        nodes.start()
        yield nodes
        nodes.stop()


def test_a_node_that_came_back_empty_is_taken_in_again_and_what_nobody_holds_is_told(
    nodes: Nodes, until: Callable[..., None]
) -> None:
    assert nodes.gather() == ["made a cluster of 3 masters with 1 replicas each"]
    assert nodes.gather() == []
    store = nodes.store()
    store.commands([(f"key{n}", ("SET", f"key{n}", n)) for n in range(100)])
    until(lambda: not any(lag for shard in look(store) for lag in shard.lags.values()))
    assert {node.host for node in store.topology.masters} == {"localhost"}

    replaced, heir = nodes.master()
    nodes.kill(replaced, empty=True)
    nodes.start(replaced)
    done = nodes.gather()
    assert f"127.0.0.1:{replaced} is a replica of 127.0.0.1:{heir} now" in done, done
    assert any("forgot node" in words for words in done)
    assert nodes.gather() == []
    found = store.commands([(f"key{n}", ("GET", f"key{n}")) for n in range(100)])
    assert [int(value) for value in found] == list(range(100))
    store.close()

    both = nodes.master()
    nodes.kill(*both, empty=True)
    nodes.start(*both)
    with pytest.raises(ClusterError, match=r"no node holds 546\d of 16384 slots any more"):
        nodes.gather()
    assert sum(peer.look().keys for peer in nodes.peers) > 50


def test_a_making_that_broke_off_begins_again_and_health_needs_no_secret(
    nodes: Nodes, until: Callable[..., None]
) -> None:
    until(lambda: try_to_look(nodes.peers[1]), SECONDS)
    nodes.peers[1].call("CLUSTER", "ADDSLOTSRANGE", 0, 100)
    assert nodes.gather() == ["made a cluster of 3 masters with 1 replicas each"]
    health = Peer("127.0.0.1", nodes.ports[0], "health", "any")
    assert "cluster_state:ok" in health.call("CLUSTER", "INFO")
    with pytest.raises(ClusterError, match="permission"):
        health.call("GET", "key")
    health.close()


def test_a_node_without_a_password_is_refused(tmp_path: Path) -> None:
    words = ["cluster", "node", "--host", "a", "--port", "7000", "--dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "omx_tasks.cli.main", *words],
        env={k: v for k, v in os.environ.items() if not k.startswith("OMX_")},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, "OMX_BROKER_PASSWORD_FILE" in done.stderr) == (2, True)
