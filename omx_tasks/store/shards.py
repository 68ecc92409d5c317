"""Which shards could lose something: those without a replica."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from omx_tasks.durability import Durability, Promise, WithoutReplica
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store
from omx_tasks.store.confirmer import ROLE, follows
from omx_tasks.store.link import LinkError, ReplyError


class Shards(NamedTuple):
    """How many shards serve slots, and how many of them have no replica now (or no master that answers)."""

    alone: int
    total: int
    #: The masters without a replica, where they are known.
    nodes: tuple[Node, ...] = ()

    def told(self, promise: Promise) -> str:
        """Say what follows from shards without a replica; nothing where there are none."""
        if not self.alone:
            return ""
        if promise.durability is Durability.MEMORY:
            consequence = "what they store has no copy"
        elif promise.without_replica is WithoutReplica.ACCEPT:
            consequence = "confirmed by the master alone"
        else:
            consequence = "writes to them are refused"
        return f"{self.alone} of {self.total} shards without replica; {consequence}"

    def told_each(self, accepted: Mapping[str, int]) -> list[str]:
        """Say for each of the shards how many writes its master alone has accepted."""
        return [
            f"shard {node} has no replica: writes accepted by it alone, {accepted[str(node)]:,} so far"
            for node in self.nodes
            if accepted.get(str(node))
        ]


def count(store: Store) -> Shards:
    """Ask every master for its replicas."""
    store.ping(store.attempt)
    masters = store.topology.masters
    deadline = time.monotonic() + store.attempt
    alone = tuple(node for node in masters if not _followed(store, node, deadline))
    return Shards(len(alone), len(masters), alone)


class Shard(NamedTuple):
    """A shard as its master sees it; ``lags``: bytes that each replica (``host:port``) has not confirmed yet."""

    master: Node
    answers: bool
    lags: dict[str, int]


def look(store: Store) -> list[Shard]:
    """Ask every master for its replicas and how far behind they are; raises `UnavailableError` where none answers."""
    store.ping(store.attempt)
    deadline = time.monotonic() + store.attempt
    return [_look(store, node, deadline) for node in store.topology.masters]


def _look(store: Store, node: Node, deadline: float) -> Shard:
    role = _role(store, node, deadline)
    if role is None or role[0] != b"master":
        return Shard(node, False, {})
    offset, replicas = int(role[1]), role[2]
    lags = {
        f"{host.decode()}:{int(port)}": max(0, offset - int(confirmed))
        for host, port, confirmed in replicas
    }
    return Shard(node, True, lags)


def _followed(store: Store, node: Node, deadline: float) -> bool:
    role = _role(store, node, deadline)
    return role is not None and follows(role)


def _role(store: Store, node: Node, deadline: float) -> Any:
    """Return what a node says of its role, or None where it does not answer."""
    try:
        link = store.take(node, deadline)
        (answer,) = link.ask([ROLE], deadline)
    except LinkError:
        return None
    store.give(link)
    return None if isinstance(answer, ReplyError) else answer
