"""When a cluster is ready, and waiting for it.

Ready means: every node answers and says ``cluster_state:ok``, all slots are served, every replica's
link to its master is up, and all nodes have the same picture of the cluster.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import redis

from omx_tasks.cluster.node import Node
from omx_tasks.cluster.peer import POLL_SECONDS, Peer
from omx_tasks.cluster.view import View
from omx_tasks.errors import ClusterError

SLOTS = 16_384

Views = Mapping[int, View | None]  # by port; None: no answer

_K = TypeVar("_K", bound=Hashable)


def look_at_all(nodes: Sequence[Node]) -> dict[int, View | None]:
    """Ask all nodes for their views, by port; None for those that do not run or do not answer."""
    return {node.port: try_to_look(node) for node in nodes}


def unready(views: Mapping[_K, View | None], masters: int) -> dict[_K, str]:
    """Return what keeps the cluster from being ready, by the node at fault as ``views`` names it.

    Empty when it is ready. ``masters`` is how many masters with slots there have to be.
    """
    silent = {node: "does not answer" for node, view in views.items() if view is None}
    return silent or _unsettled({node: view for node, view in views.items() if view}, masters)


def wait_until_ready(nodes: Sequence[Node], masters: int, deadline: float) -> None:
    """Wait until the cluster is ready.

    Raises ClusterError with the node at fault and the end of its log where a process ends or the
    time of ``time.monotonic()`` is past ``deadline``.
    """
    while trouble := unready(look_at_all(nodes), masters):
        for node in nodes:
            if node.pid() is None:
                raise ClusterError(node.explain("is dead"))
        if time.monotonic() > deadline:
            port, words = next(iter(trouble.items()))
            culprit = next(node for node in nodes if node.port == port)
            raise ClusterError(f"the cluster is not ready in time: {culprit.explain(words)}")
        time.sleep(POLL_SECONDS)


def try_to_look(node: Peer) -> View | None:
    """Return what a node says, None where it does not answer."""
    try:
        return node.look()
    except redis.RedisError:
        return None


def _unsettled(views: Mapping[_K, View], masters: int) -> dict[_K, str]:
    """Return what is missing where every node answers."""
    common = Counter(view.table() for view in views.values()).most_common(1)[0][0]
    trouble = {node: _trouble(view, masters, len(views)) for node, view in views.items()}
    for node, view in views.items():
        if view.table() != common:
            trouble[node] = trouble[node] or "does not agree with the others yet"
    return {node: words for node, words in trouble.items() if words}


def _trouble(view: View, masters: int, nodes: int) -> str:
    """Return what one node's view lacks, or an empty string."""
    served = sum(member.slots for member in view.members)
    serving = sum(1 for member in view.members if member.slots)
    if view.state != "ok":
        return f"says cluster_state:{view.state or 'unknown'}"
    if len(view.members) != nodes or not all(member.well for member in view.members):
        return "does not see all the others"
    if served != SLOTS:
        return f"knows masters for {served} of {SLOTS} slots only"
    if serving != masters:
        return f"sees {serving} masters with slots instead of {masters}"
    if view.me.role == "replica" and not view.link_up:
        return "is a replica without a link to its master"
    if view.me.role == "master" and not view.me.slots:
        return "is a master without slots"
    return ""
