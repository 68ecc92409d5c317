"""The two sides of the comparison, each with servers of its own that are gone at the end.

*stock*: Celery's Redis transport and backend on one server. *ours*: ``rediscluster://`` for both, on three masters
with a replica each. The same server program, all on this machine's loopback.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omx_tasks.cluster.binary import find_server
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.cluster.launch import Launched, launch
from omx_tasks.cluster.ports import HOST, reserved_ports
from omx_tasks.errors import UnavailableError
from omx_tasks.store.address import Address, Node
from omx_tasks.store.link import Link, LinkError

START, GRACE, PAUSE = 10.0, 5.0, 0.02


@dataclass(frozen=True)
class Side:
    """One way to run Celery: ``settings`` for broker and backend, ``nodes`` that clients talk to."""

    name: str
    settings: dict[str, Any]
    nodes: tuple[Node, ...]

    @contextlib.contextmanager
    def links(self) -> Iterator[list[Link]]:
        """Give a link to every node."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(contextlib.closing(_connect(node))) for node in self.nodes]


def _connect(node: Node) -> Link:
    return Link(node, Address(seeds=(node,)), name="bench").connect(START)


def _settings(url: str, **options: Any) -> dict[str, Any]:
    return {
        "broker_url": url,
        "result_backend": url,
        "broker_transport_options": options,
        "broker_connection_retry_on_startup": True,
    }


@contextlib.contextmanager
def stock_side(folder: Path, **options: Any) -> Iterator[Side]:
    """Run one server for stock Celery; ``options`` are those of its transport."""
    folder.mkdir(parents=True)
    with reserved_ports(1) as (port,):
        node = Node(HOST, port)
        command = [str(find_server()), "--port", str(port), "--bind", HOST, "--dir", str(folder)]
        server = launch([*command, "--save", "", "--appendonly", "no"], folder / "log", bound=True)
        try:
            _wait_until_it_answers(node, server)
            yield Side("stock", _settings(f"redis://{node}/0", **options), (node,))
        finally:
            end(server)


@contextlib.contextmanager
def our_side(folder: Path, **options: Any) -> Iterator[Side]:
    """Run an embedded cluster for our transport and backend; ``options`` are those of the transport.

    Stock Celery confirms nothing beyond the one server's memory, so that is what both sides do unless asked otherwise.
    """
    cluster = EmbeddedCluster(folder)
    try:
        cluster.up(bound=True)
        masters = [node for node in cluster.status().nodes if node.role == "master"]
        nodes = tuple(Node(node.host, node.port) for node in masters)
        promise = {"durability": options.setdefault("durability", "memory")}
        settings = _settings(cluster.url(), **options)
        yield Side("ours", {**settings, "result_backend_transport_options": promise}, nodes)
    finally:
        cluster.down(delete=True, timeout=GRACE)


def _wait_until_it_answers(node: Node, server: Launched) -> None:
    deadline = time.monotonic() + START
    while True:
        try:
            _connect(node).close()
        except LinkError as error:
            if server.ended.is_set() or time.monotonic() > deadline:
                raise UnavailableError(f"the server on {node} did not start: {error}") from error
            time.sleep(PAUSE)
        else:
            return


def end(server: Launched) -> None:
    """End a server in order, and by force after a while."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if server.ended.is_set():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, number)
        server.ended.wait(GRACE)
