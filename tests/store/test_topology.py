"""The slot table, beside one that has an entry for each slot."""

from __future__ import annotations

import random

from omx_tasks.store.address import Address, Node
from omx_tasks.store.topology import SLOTS, Topology

NODES = [Node("127.0.0.1", port) for port in (7000, 7001, 7002)]


def test_each_slot_has_the_owner_that_was_last_told() -> None:
    topology = Topology(Address(seeds=(NODES[0],)))
    assert topology.masters == []
    told = [
        [first, last, [b"", node.port]]
        for (first, last), node in zip(_thirds(), NODES, strict=True)
    ]
    topology._adopt(told, NODES[0])
    owners = [
        node
        for (first, last), node in zip(_thirds(), NODES, strict=True)
        for _ in range(first, last + 1)
    ]
    assert topology.masters == NODES
    choose = random.Random(1)
    for slot in [0, SLOTS - 1, 5460, 5461, *choose.sample(range(SLOTS), 50)]:
        owners[slot] = choose.choice(NODES)
        topology.moved(slot, owners[slot])
    assert [topology.owner(slot) for slot in range(SLOTS)] == owners
    topology._adopt([[0, SLOTS - 2, [b"", NODES[1].port]]], NODES[0])
    assert topology.masters == [NODES[1]]
    assert topology.owner(SLOTS - 1) is None


def _thirds() -> list[tuple[int, int]]:
    return [(0, 5460), (5461, 10922), (10923, SLOTS - 1)]
