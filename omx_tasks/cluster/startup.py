"""Start the nodes of a cluster, for the first time or again. The caller holds the folder's lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from omx_tasks.cluster.binary import find_server, server_version
from omx_tasks.cluster.formation import form_cluster, set_node_timeout, wait_until_durable
from omx_tasks.cluster.node import DYING_SECONDS, Node, closing_all, stop_all
from omx_tasks.cluster.ports import check_free
from omx_tasks.cluster.readiness import wait_until_ready
from omx_tasks.cluster.record import NODES_NAME, Record, write_record


def nodes_of(directory: Path, record: Record) -> list[Node]:
    """Return the nodes of a cluster, those that were made masters first."""
    return [Node(directory / NODES_NAME / str(port), port) for port in record.ports]


def create(directory: Path, record: Record, bound: bool, deadline: float) -> None:
    """Start empty nodes, form the cluster and wait until it is ready.

    Raises ClusterError or OSError, after stopping what it started.
    """
    check_free(record.ports)
    write_record(directory, record)
    with closing_all(nodes_of(directory, record)) as nodes, _stopping_on_failure(nodes):
        start_nodes(nodes, record, bound, deadline)
        form_cluster(nodes, record.masters, deadline)
        wait_until_ready(nodes, record.masters, deadline)
        wait_until_durable(nodes, deadline)
        set_node_timeout(nodes, record.node_timeout_ms)
        write_record(directory, replace(record, formed=True))


def resume(
    directory: Path, record: Record, server: str | None, bound: bool, deadline: float
) -> None:
    """Start the nodes that do not run, and wait until the cluster is ready.

    Raises ClusterError or OSError, after stopping what it started.
    """
    with closing_all(nodes_of(directory, record)) as nodes:
        dead = [node for node in nodes if node.is_dead()]
        if dead:
            check_free((node.port for node in dead), patience=DYING_SECONDS)
            record = choose_server(directory, record, server)
        with _stopping_on_failure(dead):
            start_nodes(dead, record, bound, deadline)
            wait_until_ready(nodes, record.masters, deadline)


def choose_server(directory: Path, record: Record, server: str | None) -> Record:
    """Return the record with the program to start nodes with now, and write it down.

    That is ``server`` where it is named, else the program that the cluster had before.
    """
    kept = record.server if Path(record.server).exists() else None
    program = find_server(server or kept)
    record = replace(record, server=str(program), version=server_version(program))
    write_record(directory, record)
    return record


def start_nodes(nodes: Sequence[Node], record: Record, bound: bool, deadline: float) -> None:
    """Start the processes of nodes, and wait until each answers."""
    for node in nodes:
        node.prepare(record.node_timeout_ms)
        node.start(Path(record.server), bound=bound)
    for node in nodes:
        node.wait_until_it_answers(deadline)


@contextmanager
def _stopping_on_failure(nodes: Sequence[Node]) -> Iterator[None]:
    """Stop the nodes when what is done with them does not succeed."""
    try:
        yield
    except BaseException:
        stop_all(nodes)
        raise
