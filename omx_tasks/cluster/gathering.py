"""Make one cluster of nodes that run elsewhere, or bring the one that they are back in order.

It can be done again at any time, and does only what is missing:

- none of them holds anything, and they are no whole cluster: they are made one, whatever a making that broke off left;
- one has another address, or has lost what it knew: the others are told of it;
- one came back empty, under a new id: its replica takes over at once where it was a master, it becomes a replica of a
  master that has none, and its old id is forgotten.

What no node holds any more cannot be brought back: that is said, and nothing is thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import redis

from omx_tasks.cluster.formation import form_cluster, set_node_timeout, wait_until_durable
from omx_tasks.cluster.peer import Peer
from omx_tasks.cluster.readiness import SLOTS, try_to_look, unready
from omx_tasks.cluster.view import Member, View
from omx_tasks.errors import ClusterError, ConfigurationError

#: Seconds between two looks, and between two introductions of the same nodes.
_LOOK, _MEET = 0.1, 1.0
#: Seconds in which the nodes must have told each other what they hold.
_SETTLE = 5.0

Views = Mapping[Peer, View]


def gather(peers: Sequence[Peer], replicas: int, deadline: float) -> list[str]:
    """Return what was done, in words; the cluster of ``peers`` is ready then.

    ``replicas`` for each master, where a cluster has to be made. Raises ClusterError where it is not ready when
    ``time.monotonic()`` reaches ``deadline``, ConfigurationError where so many nodes cannot be shared out.
    """
    views = _answers(peers, deadline)
    if _served(views) == SLOTS or any(view.keys for view in views.values()):
        return Mending(peers, deadline).run()
    return _make(peers, views, replicas, deadline)


def _answers(peers: Sequence[Peer], deadline: float) -> dict[Peer, View]:
    """Wait until every node answers."""
    while True:
        views = {peer: try_to_look(peer) for peer in peers}
        there = {peer: view for peer, view in views.items() if view}
        if len(there) == len(peers):
            return there
        if time.monotonic() > deadline:
            silent = next(peer for peer in peers if peer not in there)
            raise ClusterError(silent.explain(f"does not answer in time{_why(silent)}"))
        time.sleep(_LOOK)


def _why(peer: Peer) -> str:
    try:
        peer.look()
    except redis.RedisError as error:
        return f": {error}"
    return ""


def _try(peer: Peer, *words: str | int) -> bool:
    """Send a command; what a node refuses because things have changed since is tried again after the next look."""
    try:
        peer.call(*words)
    except ClusterError:
        return False
    return True


def _served(views: Views) -> int:
    return sum(view.me.slots for view in views.values())


def _make(peers: Sequence[Peer], views: Views, replicas: int, deadline: float) -> list[str]:
    masters, rest = divmod(len(peers), 1 + replicas)
    if rest or masters < 1:
        raise ConfigurationError(
            f"{len(peers)} nodes are no masters with {replicas} replicas each: "
            f"name {1 + replicas} nodes for each master"
        )
    for peer, view in views.items():
        if len(view.members) > 1 or view.me.slots:
            peer.call("CLUSTER", "RESET", "HARD")
    _, patience = peers[0].call("CONFIG", "GET", "cluster-node-timeout")
    try:
        form_cluster(peers, masters, deadline)
        _wait_until_ready(peers, masters, deadline)
        wait_until_durable(peers, deadline)
    finally:
        with suppress(ClusterError):
            set_node_timeout(peers, int(patience))
    return [f"made a cluster of {masters} masters with {replicas} replicas each"]


def _wait_until_ready(peers: Sequence[Peer], masters: int, deadline: float) -> None:
    while trouble := unready({peer: try_to_look(peer) for peer in peers}, masters):
        _give_up(trouble, deadline)
        time.sleep(_LOOK)


def _give_up(trouble: Mapping[Peer, str], deadline: float) -> None:
    if time.monotonic() > deadline:
        peer, words = next(iter(trouble.items()))
        raise ClusterError(f"the cluster is not ready in time: {peer.explain(words)}")


class Mending:
    """Looks at the nodes again and again, and does what is missing at each look."""

    def __init__(self, peers: Sequence[Peer], deadline: float) -> None:
        self._peers = peers
        self._deadline = deadline
        self._done: list[str] = []
        self._met: dict[Peer, float] = {}
        self._whole = time.monotonic()

    def run(self) -> list[str]:
        """Mend until the cluster is ready; return what was done."""
        while True:
            views = _answers(self._peers, self._deadline)
            masters = sum(1 for view in views.values() if view.me.slots)
            bare = self._bare(views)
            trouble = unready(views, masters)
            if not trouble and not (bare and self._spare(views)):
                wait_until_durable(self._peers, self._deadline)
                return self._done
            self._check_held(views)
            _give_up(trouble or dict.fromkeys(bare, "has no replica"), self._deadline)
            self._introduce(views)
            self._take_over(views)
            self._follow(views, bare)
            self._forget(views)
            time.sleep(_LOOK)

    def _introduce(self, views: Views) -> None:
        """Tell a node that serves slots of those that it does not see well."""
        knower = max(views, key=lambda peer: views[peer].me.slots)
        for peer, view in views.items():
            seen = views[knower].member(view.me.id)
            back = view.member(views[knower].me.id)
            if (seen and seen.well and back and back.well) or peer is knower:
                continue
            if time.monotonic() - self._met.get(peer, 0.0) > _MEET:
                first = peer not in self._met
                self._met[peer] = time.monotonic()
                if _try(knower, "CLUSTER", "MEET", peer.ip(), peer.port) and first:
                    self._done.append(f"introduced {peer.name} to the others")

    def _take_over(self, views: Views) -> None:
        """Promote the replica that is furthest of a master that is none of the nodes any more."""
        ids = {view.me.id for view in views.values()}
        orphans: dict[str, list[Peer]] = {}
        for peer, view in views.items():
            master = view.member(view.me.master) if view.me.master else None
            if master and master.id not in ids and master.slots and not master.well:
                orphans.setdefault(master.id, []).append(peer)
        for heirs in orphans.values():
            heir = max(heirs, key=lambda peer: views[peer].offset)
            if _try(heir, "CLUSTER", "FAILOVER", "TAKEOVER"):
                self._done.append(f"{heir.name} took over from a master that is gone")

    def _bare(self, views: Views) -> list[Peer]:
        """Return the masters that nobody follows."""
        followed = {view.me.master for view in views.values()}
        return [p for p, view in views.items() if view.me.slots and view.me.id not in followed]

    def _spare(self, views: Views) -> list[Peer]:
        """Return the nodes that may follow another master: empty ones, then those of which a master has several."""
        empty = [
            peer
            for peer, view in views.items()
            if view.me.role == "master" and not view.me.slots and not view.keys
        ]
        several: list[Peer] = []
        seen: set[str] = set()
        for peer, view in views.items():
            master = view.me.master
            if master in seen:
                several.append(peer)
            elif master:
                seen.add(master)
        return empty + several

    def _follow(self, views: Views, bare: Sequence[Peer]) -> None:
        """Give each master that has no replica one that it can have."""
        for master, peer in zip(bare, self._spare(views), strict=False):
            known = views[peer].member(views[master].me.id)
            if known and known.well and _try(peer, "CLUSTER", "REPLICATE", known.id):
                self._done.append(f"{peer.name} is a replica of {master.name} now")

    def _forget(self, views: Views) -> None:
        """Forget ids of nodes that are gone: those that serve nothing, are none of these, and nobody sees well."""
        ids = {view.me.id for view in views.values()}
        for gone in self._gone(views) - ids:
            knowing = [peer for peer, view in views.items() if view.member(gone)]
            told = [peer for peer in knowing if _try(peer, "CLUSTER", "FORGET", gone)]
            if told == knowing:
                self._done.append(f"forgot node {gone[:8]}, which is gone")

    def _gone(self, views: Views) -> set[str]:
        lines: dict[str, list[Member]] = {}
        for view in views.values():
            for member in view.members:
                lines.setdefault(member.id, []).append(member)
        followed = {view.me.master for view in views.values()}
        return {
            name
            for name, seen in lines.items()
            if name not in followed
            and not any(member.well or member.slots or not member.met for member in seen)
        }

    def _check_held(self, views: Views) -> None:
        """Raise ClusterError where for a while no node has held some slots, as their master or its replica."""
        held: set[int] = set()
        for view in views.values():
            master = view.member(view.me.master) if view.me.master else None
            for first, last in (master or view.me).ranges:
                held.update(range(first, last + 1))
        if len(held) == SLOTS:
            self._whole = time.monotonic()
        elif time.monotonic() - self._whole > _SETTLE:
            raise ClusterError(
                f"no node holds {SLOTS - len(held)} of {SLOTS} slots any more: a master and its replicas lost their "
                "data. Start one of them with the data that it had, or begin anew with all nodes empty"
            )
