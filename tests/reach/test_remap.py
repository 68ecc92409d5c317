"""Addresses that the cluster announces and that do not lead to it from here: relays stand in front of the nodes."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from relay import HOST, Relay
from server_nodes import ServerNodes
from task_worker import TaskWorker

from omx_tasks.errors import UnavailableError
from omx_tasks.store.address import Address, Node
from omx_tasks.store.client import Store
from omx_tasks.store.link import Link
from omx_tasks.store.topology import slot_of

Until = Callable[..., None]


class Forwarded:
    """A cluster whose nodes announce ports at which nobody listens, with a relay for each node."""

    def __init__(self, folder: Path) -> None:
        self._reserved = [socket.socket() for _ in range(3)]  # bound, but nobody listens there
        for held in self._reserved:
            held.bind((HOST, 0))
        self.announced = [held.getsockname()[1] for held in self._reserved]
        self.nodes = ServerNodes(folder)
        for port, announced in zip(self.nodes.ports, self.announced, strict=True):
            self.announce(port, announced)
        self.relays = [Relay(port) for port in self.nodes.ports]

    def announce(self, port: int, announced: int) -> None:
        """Let a node announce another port; it still listens where it does."""
        self.nodes.call(port, "CONFIG", "SET", "cluster-announce-bus-port", port + 10_000)
        self.nodes.call(port, "CONFIG", "SET", "cluster-announce-port", announced)

    @property
    def seeds(self) -> str:
        return ",".join(f"{HOST}:{relay.port}" for relay in self.relays)

    @property
    def remap(self) -> dict[str, str]:
        return {
            f"{HOST}:{announced}": f"{HOST}:{relay.port}"
            for announced, relay in zip(self.announced, self.relays, strict=True)
        }

    def close(self) -> None:
        for relay in self.relays:
            relay.close()
        for held in self._reserved:
            held.close()
        self.nodes.stop()


@pytest.fixture
def forwarded(tmp_path: Path, until: Until) -> Iterator[Forwarded]:
    forwarded = Forwarded(tmp_path / "nodes")
    try:
        until(lambda: _tables_are_about(forwarded, forwarded.announced))
        yield forwarded
    finally:
        forwarded.close()


def _tables_are_about(forwarded: Forwarded, ports: list[int]) -> bool:
    """Whether every node tells clients these ports and no others."""
    nodes = forwarded.nodes
    for port in nodes.ports:
        address = Address.parse(f"rediscluster://{HOST}:{port}")
        link = Link(address.seeds[0], address).connect(5)
        (table,) = link.ask([("CLUSTER", "SLOTS")], time.monotonic() + 5)
        link.close()
        if sorted(entry[2][1] for entry in table) != sorted(ports):
            return False
    return True


def test_without_a_remap_the_announced_addresses_lead_nowhere(forwarded: Forwarded) -> None:
    store = Store(f"rediscluster://{forwarded.seeds}", timeout=0.5)
    with pytest.raises(UnavailableError):
        store.command("k", "GET", "k")


@pytest.mark.parametrize("as_text", [True, False])
def test_a_worker_and_its_callers_reach_all_nodes_by_their_relays(
    forwarded: Forwarded, tmp_path: Path, as_text: bool
) -> None:
    remap: Any = json.dumps(forwarded.remap) if as_text else forwarded.remap
    options = {"address_remap": remap}
    worker = TaskWorker(
        f"rediscluster://{forwarded.seeds}", tmp_path / "log",
        broker_transport_options=options, result_backend_transport_options=options,
    )  # fmt: skip
    with worker:
        results = [worker.task("add", i, i).delay() for i in range(30)]
        assert [result.get(timeout=60) for result in results] == [2 * i for i in range(30)]
    assert all(relay.carried for relay in forwarded.relays)


def test_a_remap_in_the_url_is_followed_by_redirections_too(forwarded: Forwarded) -> None:
    url = f"rediscluster://{forwarded.seeds}?address_remap={quote(json.dumps(forwarded.remap))}"
    store = Store(url, timeout=10)
    store.ping(5)
    relays = {Node(HOST, relay.port) for relay in forwarded.relays}
    assert set(store.topology.masters) == relays
    right = store.topology.owner(slot_of("k"))
    store.topology.moved(slot_of("k"), next(node for node in relays if node != right))
    store.topology.refresh = lambda timeout: None  # type: ignore[method-assign]
    store.command("k", "SET", "k", "1")
    assert store.topology.owner(slot_of("k")) == right
    store.close()


def test_the_seed_leads_back_when_every_address_has_changed(
    forwarded: Forwarded, until: Until
) -> None:
    """The seed is a proxy: no node announces it, and it is all that stays."""
    seed = Relay(forwarded.nodes.ports[0])
    store = Store(f"rediscluster://{HOST}:{seed.port}", timeout=20)
    ports = forwarded.nodes.ports
    before = [relay.port for relay in forwarded.relays]
    _announce(forwarded, before, until)
    store.command("k", "SET", "k", "1")
    assert [node.port for node in store.topology.masters] == before

    moved = [Relay(port) for port in ports]
    _announce(forwarded, [relay.port for relay in moved], until)
    for relay in forwarded.relays:
        relay.close()
    assert store.command("k", "GET", "k") == b"1"
    assert [node.port for node in store.topology.masters] == [relay.port for relay in moved]

    seed.target = ports[1]  # what stands behind the proxy is another node now
    _announce(forwarded, ports, until)
    for relay in moved:
        relay.close()
    assert store.command("k", "GET", "k") == b"1"
    assert [node.port for node in store.topology.masters] == ports
    store.close()
    seed.close()


def test_hung_nodes_of_an_old_table_are_not_all_waited_for_before_the_seed(
    forwarded: Forwarded, until: Until
) -> None:
    seed = Relay(forwarded.nodes.ports[0])
    _announce(forwarded, forwarded.nodes.ports, until)
    store = Store(f"rediscluster://{HOST}:{seed.port}", timeout=20)
    silent = [socket.create_server((HOST, 0)) for _ in range(5)]
    hung = tuple(Node(HOST, server.getsockname()[1]) for server in silent)
    store.topology._known = hung
    store.topology.refresh(1.0)
    assert sum(_was_called(server) for server in silent) == 1
    for server in silent:
        server.close()
    store.close()
    seed.close()


def _was_called(server: socket.socket) -> bool:
    server.setblocking(False)
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _announce(forwarded: Forwarded, announced: list[int], until: Until) -> None:
    for port, other in zip(forwarded.nodes.ports, announced, strict=True):
        forwarded.announce(port, other)
    until(lambda: _tables_are_about(forwarded, announced))


@pytest.mark.parametrize("endpoints", ["unknown-endpoint", "hostname"])
def test_nodes_that_announce_no_address_or_a_name_are_reached(
    tmp_path: Path, endpoints: str
) -> None:
    settings = [
        "--cluster-preferred-endpoint-type",
        endpoints,
        "--cluster-announce-hostname",
        "localhost",
    ]
    nodes = ServerNodes(tmp_path, settings=settings)
    try:
        store = Store(f"rediscluster://{HOST}:{nodes.ports[0]}", timeout=10)
        names = [f"slots-{i}" for i in range(50)]
        store.commands([(name, ("SET", name, name)) for name in names])
        assert sorted(node.port for node in store.topology.masters) == nodes.ports
        right = store.topology.owner(slot_of("k"))
        wrong = next(node for node in store.topology.masters if node != right)
        store.topology.moved(slot_of("k"), wrong)
        assert store.command("k", "SET", "k", "1") == b"OK"
        assert store.topology.owner(slot_of("k")) == right
        store.close()
    finally:
        nodes.stop()
