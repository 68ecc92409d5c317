"""Which shards could lose something: those without a replica."""

from __future__ import annotations

import time
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


def count(store: Store) -> Shards:
    """Ask every master for its replicas."""
    store.ping(store.attempt)
    masters = store.topology.masters
    deadline = time.monotonic() + store.attempt
    return Shards(sum(not _followed(store, node, deadline) for node in masters), len(masters))


def _followed(store: Store, node: Node, deadline: float) -> bool:
    try:
        link = store.take(node, deadline)
        (answer,) = link.ask([ROLE], deadline)
    except LinkError:
        return False
    store.give(link)
    return follows(answer)
