"""One shard of an embedded cluster: its processes, and commands for its nodes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from omx_tasks.cluster.status import ClusterStatus, NodeStatus
from omx_tasks.store import keys
from omx_tasks.store.address import Address, Node
from omx_tasks.store.link import Command, Link, LinkError, ReplyError
from omx_tasks.store.topology import slot_of

PAUSE = 0.02
#: Seconds for what a fault waits for: an election, a node's return.
PATIENCE = 60.0


class Cluster(Protocol):
    """What a fault and a load ask of a cluster."""

    def url(self) -> str: ...
    def status(self) -> ClusterStatus: ...
    def up(self, bound: bool = ..., timeout: float = ...) -> None: ...
    def down(self, delete: bool = ..., timeout: float = ...) -> None: ...


class Shard:
    """The shard that a queue is in, as it was when this was made."""

    def __init__(self, cluster: Cluster, queue: str) -> None:
        self.cluster = cluster
        self.slot = slot_of(keys.meta(queue))
        self.master = self.owner()
        nodes = cluster.status().nodes
        self.replicas = [node for node in nodes if node.master == self.master.id]

    @property
    def replica(self) -> NodeStatus:
        return self.replicas[0]

    def owner(self) -> NodeStatus:
        """Return the node that has the slot now."""
        return next(
            node
            for node in self.cluster.status().nodes
            if any(first <= self.slot <= last for first, last in node.ranges)
        )

    def other_master(self) -> NodeStatus:
        """Return a master of another shard."""
        nodes = self.cluster.status().nodes
        return next(n for n in nodes if n.slots and n.id != self.master.id)

    def wait_for_heir(self) -> None:
        """Wait until another node has the slot and says so."""
        wait_until(lambda: any(self._serves(node) for node in self.replicas))

    def _serves(self, node: NodeStatus) -> bool:
        answer = ask(node, "ROLE")
        return isinstance(answer, list) and answer[0] == b"master"

    def mend(self) -> None:
        """Start what is dead, and return when the cluster is ready in every way."""
        self.cluster.up(bound=True, timeout=PATIENCE)


def ask(node: NodeStatus, *command: Any, timeout: float = 5.0) -> Any:
    """Send one command to one node; an error is an answer, None that it does not answer."""
    try:
        (answer,) = ask_all(node, [command], timeout)
    except LinkError:
        return None
    return answer


def ask_all(node: NodeStatus, commands: Sequence[Command], timeout: float = 5.0) -> list[Any]:
    """Send commands to one node over one connection. Raises `LinkError` where it does not answer."""
    place = Node(node.host, node.port)
    link = Link(place, Address(seeds=(place,))).connect(timeout)
    try:
        return link.ask(commands, time.monotonic() + timeout)
    finally:
        link.close()


def tell(node: NodeStatus, *command: Any) -> Any:
    """Send one command that has to succeed."""
    answer = ask(node, *command)
    assert not isinstance(answer, ReplyError | None), (command, answer)
    return answer


def kill(*nodes: NodeStatus) -> None:
    send(signal.SIGKILL, *nodes)


def send(number: int, *nodes: NodeStatus) -> None:
    for node in nodes:
        assert node.pid is not None
        os.kill(node.pid, number)


@contextmanager
def stalled(*nodes: NodeStatus) -> Iterator[None]:
    """Stop nodes where they are; let them go on afterwards."""
    send(signal.SIGSTOP, *nodes)
    try:
        yield
    finally:
        send(signal.SIGCONT, *nodes)


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(PAUSE)
