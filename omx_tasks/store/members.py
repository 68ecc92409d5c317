"""The nodes of the cluster as most of its masters see them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from omx_tasks.errors import UnavailableError
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store
from omx_tasks.store.link import LinkError, ReplyError


class Member(NamedTuple):
    """One node. ``master`` is the id of the one that it follows; ``failed``: most masters say so."""

    id: str
    node: str
    master: str | None
    slots: int
    failed: bool


def members(store: Store) -> list[Member]:
    """Return all nodes that the cluster knows; raises `UnavailableError` where no master says."""
    store.ping(store.attempt)
    deadline, reason = time.monotonic() + store.attempt, "it has no masters"
    for node in store.topology.masters:
        try:
            return list(_read(store, node, deadline))
        except LinkError as error:
            reason = str(error)
    raise UnavailableError(f"no master says how the cluster is: {reason}")


def _read(store: Store, node: Node, deadline: float) -> Iterator[Member]:
    link = store.take(node, deadline)
    (answer,) = link.ask([("CLUSTER", "NODES")], deadline)
    store.give(link)
    if isinstance(answer, ReplyError):
        raise LinkError(f"{node}: {answer}")
    for line in str(answer, "utf-8").splitlines():
        words = line.split()
        if len(words) >= 8 and not {"handshake", "noaddr"} & {*words[2].split(",")}:
            yield _member(words, node)


def _member(words: list[str], asked: Node) -> Member:
    """Read a line of CLUSTER NODES: id, address, flags, master, three numbers, link, slots."""
    host, _, port = words[1].partition(",")[0].partition("@")[0].rpartition(":")
    ranges = [word for word in words[8:] if not word.startswith("[")]
    return Member(
        words[0],
        str(Node(host or asked.host, int(port))),
        None if words[3] == "-" else words[3],
        sum(int(word.split("-")[-1]) - int(word.split("-")[0]) + 1 for word in ranges),
        "fail" in words[2].split(","),
    )
