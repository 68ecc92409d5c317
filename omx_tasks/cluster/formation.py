"""Make one cluster out of nodes that do not know each other.

A node that begins as a master refuses work for two seconds, however soon its cluster is complete.
A replica does not, and keeps its state when it is promoted. So where there are replicas, the first
replica of each shard holds the slots at first, the future master follows it and then takes over,
empty as they both are. That makes a cluster ready several times sooner.

Nodes tell each other news with their pings, twice per node timeout; so it is short meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis

from omx_tasks.cluster.peer import POLL_SECONDS, Peer
from omx_tasks.cluster.readiness import SLOTS
from omx_tasks.errors import ClusterError

_MEANWHILE_MS = 400


@dataclass(frozen=True)
class Shard:
    """A master, its replicas and the slots they are to serve, both ends included."""

    master: Peer
    replicas: tuple[Peer, ...]
    first_slot: int
    last_slot: int

    @property
    def founder(self) -> Peer:
        """The node that holds the slots at first."""
        return self.replicas[0] if self.replicas else self.master


def form_cluster(nodes: Sequence[Peer], masters: int, deadline: float) -> None:
    """Join empty nodes, masters first, to a cluster with equal shares of the slots.

    The cluster is ready a moment later; it is for the caller to ``set_node_timeout`` then. Raises
    ClusterError where a node refuses, or is not so far when ``time.monotonic()`` reaches
    ``deadline``.
    """
    set_node_timeout(nodes, _MEANWHILE_MS)
    shards = plan_shards(nodes, masters)
    ids = {node: str(node.call("CLUSTER", "MYID")) for node in nodes}
    for epoch, node in enumerate(nodes, start=1):
        node.call("CLUSTER", "SET-CONFIG-EPOCH", epoch)
    for shard in shards:
        shard.founder.call("CLUSTER", "ADDSLOTSRANGE", shard.first_slot, shard.last_slot)
    _introduce(nodes)
    _each(nodes, lambda node: _knows(node, len(nodes)), "does not know the others", deadline)
    for shard in shards:
        _follow(shard, ids)
    promoted = {shard.master: shard for shard in shards if shard.replicas}
    _each(
        list(promoted),
        lambda node: _take_over(node, ids[promoted[node].founder]),
        "cannot take the slots over",
        deadline,
    )


def set_node_timeout(nodes: Sequence[Peer], milliseconds: int) -> None:
    """Set after how much silence a node counts as failed. Raises ClusterError."""
    for node in nodes:
        node.call("CONFIG", "SET", "cluster-node-timeout", milliseconds)


def wait_until_durable(nodes: Sequence[Peer], deadline: float) -> None:
    """Wait until every node has its append-only file: it makes a new one when it begins to follow.

    Before that, a master acknowledges writes that would not survive a crash.
    """
    _each(nodes, lambda node: not node.look().rewriting, "has no append-only file", deadline)


def plan_shards(nodes: Sequence[Peer], masters: int) -> list[Shard]:
    """Share nodes and slots out: the first nodes are masters, the others follow them in turn."""
    ends = [SLOTS * number // masters for number in range(masters + 1)]
    return [
        Shard(
            nodes[number],
            tuple(nodes[masters + number :: masters]),
            ends[number],
            ends[number + 1] - 1,
        )
        for number in range(masters)
    ]


def _introduce(nodes: Sequence[Peer]) -> None:
    """Tell every node of every later one: gossip alone would take a second more."""
    for number, node in enumerate(nodes):
        for other in nodes[number + 1 :]:
            node.call("CLUSTER", "MEET", other.ip(), other.port)


def _follow(shard: Shard, ids: dict[Peer, str]) -> None:
    """Make all other nodes of the shard replicas of its founder."""
    for node in (shard.master, *shard.replicas):
        if node is not shard.founder:
            node.call("CLUSTER", "REPLICATE", ids[shard.founder])


def _knows(node: Peer, count: int) -> bool:
    """Say whether the node has been introduced to all the others."""
    members = node.look().members
    return len(members) == count and all(member.well for member in members)


def _take_over(node: Peer, founder_id: str) -> bool:
    """Promote the node if it is ready for it: in service, and aware of what its founder serves."""
    view = node.look()
    founder = view.member(founder_id)
    if view.me.role == "master" or view.state != "ok" or founder is None or not founder.slots:
        return False
    node.call("CLUSTER", "FAILOVER", "TAKEOVER")
    return True


def _each(
    nodes: Sequence[Peer], step: Callable[[Peer], bool], trouble: str, deadline: float
) -> None:
    """Try a step on all nodes until each has done it; ``trouble`` says what it is not to have."""
    left = list(nodes)
    while left := [node for node in left if not _attempt(node, step)]:
        if time.monotonic() > deadline:
            raise ClusterError(left[0].explain(trouble))
        time.sleep(POLL_SECONDS)


def _attempt(node: Peer, step: Callable[[Peer], bool]) -> bool:
    try:
        return step(node)
    except redis.RedisError as error:
        raise ClusterError(node.explain(f"broke off ({error})")) from error
