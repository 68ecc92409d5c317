"""How a cluster and its nodes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from omx_tasks.cluster.node import Node
from omx_tasks.cluster.ports import HOST
from omx_tasks.cluster.readiness import SLOTS, Views, look_at_all, unready
from omx_tasks.cluster.record import Record
from omx_tasks.cluster.view import Member, View


@dataclass(frozen=True)
class NodeStatus:
    """One node. What only the node itself can tell is None while it does not answer.

    ``alive``: its process runs and answers. ``link``: ``up`` or ``down``, None for a master.
    ``lag``: bytes of the master's writes that the replica lacks. ``memory``: bytes.
    """

    host: str
    port: int
    role: str
    id: str | None
    master: str | None
    slots: int
    ranges: tuple[tuple[int, int], ...]
    pid: int | None
    alive: bool
    link: str | None
    lag: int | None
    memory: int | None
    keys: int | None


@dataclass(frozen=True)
class ClusterStatus:
    """A cluster: ``ok`` is ready in every way, ``down`` serves no slot, ``degraded`` is between."""

    state: str
    url: str
    directory: str
    server: str
    masters: int
    replicas: int
    slots_served: int
    trouble: tuple[str, ...]
    nodes: tuple[NodeStatus, ...]

    @property
    def alone(self) -> int:
        """How many masters that serve slots have no replica that is up to date.

        One that is dead may still be said to serve what its heir serves: they are one shard.
        """
        followed = {node.master for node in self.nodes if node.link == "up"}
        served = {pair for node in self.nodes if node.alive for pair in node.ranges}
        return sum(
            node.id not in followed and (node.alive or not served.issuperset(node.ranges))
            for node in self.nodes
            if node.slots
        )

    def as_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes: the same names, and lists for tuples."""
        return {
            **asdict(self),
            "alone": self.alone,
            "trouble": list(self.trouble),
            "nodes": [
                {**asdict(node), "ranges": [list(pair) for pair in node.ranges]}
                for node in self.nodes
            ],
        }


def cluster_url(ports: Sequence[int]) -> str:
    """Return the broker URL of a cluster on these ports."""
    return "rediscluster://" + ",".join(f"{HOST}:{port}" for port in ports)


def read_status(nodes: Sequence[Node], record: Record, directory: str) -> ClusterStatus:
    """Ask all nodes and return how the cluster is."""
    views = look_at_all(nodes)
    served = sum(view.me.slots for view in views.values() if view and view.state == "ok")
    trouble = unready(views, record.masters)
    return ClusterStatus(
        state=_state(served, bool(trouble)),
        url=cluster_url(record.ports),
        directory=directory,
        server=record.version,
        masters=record.masters,
        replicas=record.replicas,
        slots_served=served,
        trouble=tuple(f"node {HOST}:{port} {words}" for port, words in trouble.items()),
        nodes=tuple(_node_status(node, views) for node in nodes),
    )


def _state(served: int, trouble: bool) -> str:
    if served == 0:
        return "down"
    return "degraded" if trouble or served < SLOTS else "ok"


def _node_status(node: Node, views: Views) -> NodeStatus:
    view = views[node.port]
    member = view.me if view else _seen_by_others(node.port, views)
    return NodeStatus(
        host=HOST,
        port=node.port,
        role=member.role if member else "unknown",
        id=member.id if member else None,
        master=member.master if member else None,
        slots=member.slots if member else 0,
        ranges=member.ranges if member else (),
        pid=node.pid(),
        alive=view is not None,
        link=_link(view),
        lag=_lag(view, views) if view else None,
        memory=view.memory if view else None,
        keys=view.keys if view else None,
    )


def _seen_by_others(port: int, views: Views) -> Member | None:
    """Return what the first node that answers says about the node on this port."""
    others = (member for view in views.values() if view for member in view.members)
    return next((member for member in others if member.port == port), None)


def _link(view: View | None) -> str | None:
    if view is None or view.link_up is None:
        return None
    return "up" if view.link_up else "down"


def _lag(view: View, views: Views) -> int | None:
    """Return how many bytes a replica is behind its master, None where that is not known."""
    masters = (other for other in views.values() if other and other.me.id == view.me.master)
    master = next(masters, None)
    return None if master is None else max(0, master.offset - view.offset)
