"""Bring the nodes of a cluster back that died or hang. The cluster itself takes them in again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from omx_tasks.cluster.embedded import READY_SECONDS, EmbeddedCluster
from omx_tasks.cluster.lock import folder_lock
from omx_tasks.cluster.node import DYING_SECONDS, Node, closing_all
from omx_tasks.cluster.ports import HOST, check_free
from omx_tasks.cluster.readiness import wait_until_ready
from omx_tasks.cluster.record import Record, folder_error, read_record
from omx_tasks.cluster.startup import choose_server, nodes_of, start_nodes
from omx_tasks.errors import ClusterError

_HUNG_SECONDS = 3.0


def heal(directory: Path, timeout: float = READY_SECONDS) -> list[str]:
    """Restart the dead and the hung nodes of a cluster; return what was done, in words.

    Empty when nothing had to be done. A node that cannot come back is told of, and the others are
    left as they are; if all came back, the cluster is ready on return. Nodes started here outlive
    this process. ``timeout`` in seconds.

    Raises NotFoundError where there is no cluster, ClusterError where it is not ready in time.
    """
    cluster = EmbeddedCluster.existing(directory)
    deadline = time.monotonic() + timeout
    with folder_lock(cluster.directory, deadline):
        record = read_record(cluster.directory)
        if record is None or not record.formed:
            raise ClusterError(
                f"the cluster in {directory} was never complete: use `omx cluster up`"
            )
        try:
            done, whole = _restart(cluster.directory, record, deadline)
        except OSError as error:
            raise folder_error(cluster.directory, error) from error
    return done + (_roles(cluster) if done and whole else [])


def _restart(directory: Path, record: Record, deadline: float) -> tuple[list[str], bool]:
    """Return what was done, and whether every node runs now."""
    with closing_all(nodes_of(directory, record)) as nodes:
        done = _stop_hung(nodes)
        dead = [node for node in nodes if node.is_dead()]
        if dead:
            record = choose_server(directory, record, None)
        failures = [failure for node in dead if (failure := _start(node, record, deadline))]
        done += [
            f"started node {HOST}:{node.port} again (process {pid})"
            for node in dead
            if (pid := node.pid()) is not None
        ]
        if not failures:
            wait_until_ready(nodes, record.masters, deadline)
        return done + failures, not failures


def _stop_hung(nodes: Sequence[Node]) -> list[str]:
    """Stop the nodes whose process runs and does not answer."""
    done = []
    for node in nodes:
        pid = node.pid()
        try:
            if pid is not None:
                node.wait_until_it_answers(time.monotonic() + _HUNG_SECONDS)
        except ClusterError:
            node.stop(timeout=1.0)
            done.append(f"stopped node {HOST}:{node.port} (process {pid}), which did not answer")
    return done


def _start(node: Node, record: Record, deadline: float) -> str:
    """Start a node; return why it cannot come back, or an empty string."""
    try:
        check_free([node.port], patience=DYING_SECONDS)
        start_nodes([node], record, False, deadline)
    except ClusterError as error:
        node.stop()
        return f"cannot bring a node back: {error}"
    return ""


def _roles(cluster: EmbeddedCluster) -> list[str]:
    """Return who serves what now."""
    status = cluster.status()
    ports = {node.id: node.port for node in status.nodes}
    return [
        f"node {node.host}:{node.port} is a "
        + (f"replica of {node.host}:{ports.get(node.master)}" if node.master else "master")
        for node in status.nodes
    ]
