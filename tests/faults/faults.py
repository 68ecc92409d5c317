"""The vocabulary of faults, and `commit`, which does any of them to the shard of a queue.

A fault is a function that does harm, yields while it lasts, and mends what does not mend itself: clients and workers
are never touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from joining import begin_move, end_move, joined
from shard import Cluster, Shard, ask, kill, stalled, tell, wait_until
from spread import SpreadCluster, possible

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.store.link import ReplyError

#: Seconds that a fault lasts which has no end of its own.
A_WHILE = 1.5
#: Seconds for which a link is cut: an election takes less.
CUT = 6.0


class Fault(Enum):
    """What can happen to a cluster."""

    STALLED_THEN_KILLED = "replica stalled, then master killed"
    MASTER_KILLED = "master killed"
    MASTER_HUNG = "master hung"
    FAILOVER = "planned failover"
    SLOT_MIGRATED = "slot migrated, key by key"
    SLOT_MOVED_AT_ONCE = "slot migrated at once"
    SHARD_JOINED = "shard added, then removed"
    SCRIPTS_FLUSHED = "script cache flushed"
    SHARD_DOWN = "shard down and back"
    MEMORY_FULL = "memory full and freed"
    CONNECTIONS_KILLED = "client connections killed"
    REPLICA_KILLED = "replica killed"
    ALL_RESTARTED = "all nodes killed and back"
    CUT_OFF_WITH_CLIENT = "master and client cut off"
    CUT_OFF = "master cut off"


#: What takes a `SpreadCluster`.
CUTS = (Fault.CUT_OFF, Fault.CUT_OFF_WITH_CLIENT)
#: Bytes by which a message is larger where the load has to outgrow what sockets hold for a replica that is stalled.
PADDING = {Fault.STALLED_THEN_KILLED: 100_000}


class NotHereError(Exception):
    """This server program does not know such a fault."""


def cluster_for(fault: Fault, folder: Path, node_timeout_ms: int, server: str | None) -> Cluster:
    """Return the cluster that a fault needs, not made yet."""
    if fault not in CUTS:
        return EmbeddedCluster(folder, node_timeout_ms=node_timeout_ms, server=server)
    if not possible():
        raise NotHereError("cutting a link takes root and network namespaces")
    return SpreadCluster(folder, node_timeout_ms=node_timeout_ms, server=server)


def fits(fault: Fault, cluster: Cluster) -> bool:
    """Whether a fault can be committed to this kind of cluster: links are cut in one, shards join the other."""
    spread = isinstance(cluster, SpreadCluster)
    return not (fault in CUTS and not spread) and not (fault is Fault.SHARD_JOINED and spread)


@contextmanager
def commit(fault: Fault, cluster: Cluster, queue: str) -> Iterator[None]:
    """Commit a fault to the shard of ``queue``; afterwards the cluster is as ready as before."""
    shard = Shard(cluster, queue)
    with contextmanager(_FAULTS[fault])(shard):
        yield
    shard.mend()


def _stalled_then_killed(shard: Shard) -> Iterator[None]:
    with stalled(shard.replica):
        time.sleep(A_WHILE)
        kill(shard.master)
    yield
    shard.wait_for_heir()


def _master_killed(shard: Shard) -> Iterator[None]:
    kill(shard.master)
    yield
    shard.wait_for_heir()


def _master_hung(shard: Shard) -> Iterator[None]:
    with stalled(shard.master):
        yield
        shard.wait_for_heir()
        time.sleep(A_WHILE)


def _failover(shard: Shard) -> Iterator[None]:
    tell(shard.replica, "CLUSTER", "FAILOVER")
    yield
    shard.wait_for_heir()


def _slot_migrated(shard: Shard) -> Iterator[None]:
    source, target = shard.master, shard.other_master()
    begin_move(shard.slot, source, target)
    yield
    end_move(shard.slot, source, target)
    wait_until(lambda: shard.owner().id == target.id)


def _slot_moved_at_once(shard: Shard) -> Iterator[None]:
    target = shard.other_master()
    place = ("SLOTSRANGE", shard.slot, shard.slot, "NODE", target.id)
    if isinstance(ask(shard.master, "CLUSTER", "MIGRATESLOTS", *place), ReplyError):
        raise NotHereError("this server has no CLUSTER MIGRATESLOTS")
    yield
    wait_until(lambda: shard.owner().id == target.id)


def _shard_joined(shard: Shard) -> Iterator[None]:
    with joined(shard):
        time.sleep(A_WHILE)
    yield


def _scripts_flushed(shard: Shard) -> Iterator[None]:
    for node in shard.cluster.status().nodes:
        tell(node, "SCRIPT", "FLUSH")
    yield


def _shard_down(shard: Shard) -> Iterator[None]:
    kill(shard.master, *shard.replicas)
    yield
    time.sleep(A_WHILE)


def _memory_full(shard: Shard) -> Iterator[None]:
    tell(shard.master, "CONFIG", "SET", "maxmemory", 1)
    yield
    time.sleep(A_WHILE)
    tell(shard.master, "CONFIG", "SET", "maxmemory", 0)


def _connections_killed(shard: Shard) -> Iterator[None]:
    for kind in ("normal", "pubsub"):
        for node in shard.cluster.status().nodes:
            tell(node, "CLIENT", "KILL", "TYPE", kind)
    yield


def _replica_killed(shard: Shard) -> Iterator[None]:
    kill(shard.replica)
    yield
    time.sleep(A_WHILE)


def _all_restarted(shard: Shard) -> Iterator[None]:
    kill(*shard.cluster.status().nodes)
    yield


def _cut_off(shard: Shard) -> Iterator[None]:
    return _parted(shard, with_client=False)


def _cut_off_with_client(shard: Shard) -> Iterator[None]:
    return _parted(shard, with_client=True)


def _parted(shard: Shard, *, with_client: bool) -> Iterator[None]:
    assert isinstance(shard.cluster, SpreadCluster)
    shard.cluster.cut(shard.master.port, with_client=with_client)
    yield
    time.sleep(CUT)
    shard.cluster.join()
    shard.wait_for_heir()


_FAULTS: dict[Fault, Callable[[Shard], Iterator[None]]] = {
    Fault.STALLED_THEN_KILLED: _stalled_then_killed,
    Fault.MASTER_KILLED: _master_killed,
    Fault.MASTER_HUNG: _master_hung,
    Fault.FAILOVER: _failover,
    Fault.SLOT_MIGRATED: _slot_migrated,
    Fault.SLOT_MOVED_AT_ONCE: _slot_moved_at_once,
    Fault.SHARD_JOINED: _shard_joined,
    Fault.SCRIPTS_FLUSHED: _scripts_flushed,
    Fault.SHARD_DOWN: _shard_down,
    Fault.MEMORY_FULL: _memory_full,
    Fault.CONNECTIONS_KILLED: _connections_killed,
    Fault.REPLICA_KILLED: _replica_killed,
    Fault.ALL_RESTARTED: _all_restarted,
    Fault.CUT_OFF_WITH_CLIENT: _cut_off_with_client,
    Fault.CUT_OFF: _cut_off,
}
