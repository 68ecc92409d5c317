"""Which shards could lose something: those without a replica."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from omx_tasks.durability import Durability, Promise, WithoutReplica
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store
from omx_tasks.store.confirmer import ROLE, follows
from omx_tasks.store.link import LinkError


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


def _followed(store: Store, node: Node, deadline: float) -> bool:
    try:
        link = store.take(node, deadline)
        (answer,) = link.ask([ROLE], deadline)
    except LinkError:
        return False
    store.give(link)
    return follows(answer)
