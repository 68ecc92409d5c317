"""A shard that joins a running cluster and leaves it again, and slots that move from one master to another.

::

    two empty nodes ──met──► known ──replica follows──► slots moved to them ──► … ──► slots moved back ──► forgotten

It is what an operator does with ``redis-cli --cluster``, in the same commands; each waits until all nodes agree.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from shard import PATIENCE, Shard, ask, ask_all, tell, wait_until

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.cluster.formation import wait_until_durable
from omx_tasks.cluster.node import Node, closing_all, stop_all
from omx_tasks.cluster.ports import HOST, reserved_ports
from omx_tasks.cluster.record import NODES_NAME, read_record
from omx_tasks.cluster.startup import start_nodes
from omx_tasks.cluster.status import NodeStatus

#: Keys that one MIGRATE takes along.
AT_ONCE = 100
#: Slots that a shard which joins gets at most.
MOST_SLOTS = 64


@contextmanager
def joined(shard: Shard) -> Iterator[None]:
    """Have a master and a replica join: they get the shard's slots in which there is something, until the end."""
    assert isinstance(shard.cluster, EmbeddedCluster)
    old = shard.cluster.status().nodes
    with _started(shard.cluster, 2) as (master, replica):
        ids = _join(shard, master, replica)
        new, follower = (
            replace(shard.master, port=node.port, id=one)
            for node, one in zip((master, replica), ids, strict=True)
        )
        slots, everyone = _used_slots(shard), [*old, new, follower]
        _move_all(slots, shard.master, new, everyone)
        yield
        _move_all(slots, new, shard.master, everyone)
        for node in old:
            for one in ids:
                tell(node, "CLUSTER", "FORGET", one)


def begin_move(slot: int, source: NodeStatus, target: NodeStatus) -> None:
    """Have two masters agree that a slot is on its way: from now on new keys of it go to the target."""
    tell(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    tell(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)


def end_move(slot: int, source: NodeStatus, target: NodeStatus) -> None:
    """Take the keys of a slot over, and say whose it is."""
    while names := tell(source, "CLUSTER", "GETKEYSINSLOT", slot, AT_ONCE):
        tell(source, "MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *names)
    tell(target, "CLUSTER", "SETSLOT", slot, "NODE", target.id)
    # It refuses when that was its last slot: by then it has heard of it, and follows the target.
    ask(source, "CLUSTER", "SETSLOT", slot, "NODE", target.id)


def _move_all(
    slots: Iterable[int], source: NodeStatus, target: NodeStatus, everyone: Sequence[NodeStatus]
) -> None:
    moved = list(slots)
    for slot in moved:
        begin_move(slot, source, target)
        end_move(slot, source, target)
    wait_until(lambda: all(_owned(node, moved, target) for node in everyone))


def _owned(node: NodeStatus, slots: Iterable[int], owner: NodeStatus) -> bool:
    """Say whether a node has heard that all these slots are the owner's."""
    table = ask(node, "CLUSTER", "SLOTS") or ()
    ranges = [(first, last) for first, last, (_, port, *_), *_ in table if port == owner.port]
    return all(any(first <= slot <= last for first, last in ranges) for slot in slots)


def _used_slots(shard: Shard) -> list[int]:
    """Return slots of the shard's master that hold keys, that of its queue first."""
    slots = [slot for first, last in shard.owner().ranges for slot in range(first, last + 1)]
    counts = ask_all(shard.master, [("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in slots])
    used = [slot for slot, count in zip(slots, counts, strict=True) if count]
    return sorted({*used, shard.slot}, key=lambda slot: slot != shard.slot)[:MOST_SLOTS]


@contextmanager
def _started(cluster: EmbeddedCluster, count: int) -> Iterator[list[Node]]:
    """Run nodes beside those of a cluster, with the same program; nothing is left of them."""
    record = read_record(cluster.directory)
    assert record is not None
    folder = cluster.directory / f"{NODES_NAME}-joined"
    with (
        reserved_ports(count) as ports,
        closing_all(Node(folder / str(port), port) for port in ports) as nodes,
    ):
        try:
            start_nodes(nodes, record, True, time.monotonic() + PATIENCE)
            yield nodes
        finally:
            stop_all(nodes)
            shutil.rmtree(folder, ignore_errors=True)


def _join(shard: Shard, master: Node, replica: Node) -> list[str]:
    """Introduce two empty nodes to all others, have one follow the other; returns their ids."""
    ids = [str(node.call("CLUSTER", "MYID")) for node in (master, replica)]
    known = len(shard.cluster.status().nodes) + 2
    for node in (master, replica):
        node.call("CLUSTER", "MEET", HOST, shard.master.port)
    wait_until(lambda: _well(master, known) and _well(replica, known))
    replica.call("CLUSTER", "REPLICATE", ids[0])
    wait_until(lambda: replica.look().link_up)
    wait_until(lambda: master.look().state == "ok")  # one that is new refuses work for two seconds
    wait_until_durable((master, replica), time.monotonic() + PATIENCE)
    return ids


def _well(node: Node, count: int) -> bool:
    members = node.look().members
    return len(members) == count and all(member.well for member in members)
