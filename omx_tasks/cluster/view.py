"""What one node says about itself and about the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

_UNWELL = frozenset({"fail", "fail?", "handshake", "noaddr"})


@dataclass(frozen=True)
class Member:
    """One node as a node of the cluster sees it: a line of ``CLUSTER NODES``.

    ``master`` is the id of the master that a replica follows. ``ranges`` are the slots it serves,
    both ends included. ``well`` is false while it is suspected, failed or not yet introduced;
    ``met`` is false in the last case, in which its id is not its own yet.
    """

    id: str
    port: int
    role: str
    master: str | None
    ranges: tuple[tuple[int, int], ...]
    well: bool
    met: bool
    myself: bool

    @property
    def slots(self) -> int:
        """The number of slots that it serves."""
        return sum(last - first + 1 for first, last in self.ranges)


@dataclass(frozen=True)
class View:
    """The answers of one node at one moment.

    ``link_up`` is a replica's link to its master, None for a master. ``offset`` is how far the
    node is in the stream of writes, in bytes; ``memory`` is in bytes. ``rewriting``: the node makes
    its append-only file anew; if it is the first one, a crash now would lose what it holds.
    """

    members: tuple[Member, ...]
    state: str
    link_up: bool | None
    offset: int
    memory: int
    keys: int
    rewriting: bool

    @property
    def me(self) -> Member:
        """The node's line about itself."""
        return next(member for member in self.members if member.myself)

    def member(self, node_id: str) -> Member | None:
        """Return what this node knows of another, None where it does not know it."""
        return next((member for member in self.members if member.id == node_id), None)

    def table(self) -> frozenset[tuple[object, ...]]:
        """Return the part of the view that all nodes of a settled cluster have in common."""
        return frozenset((m.id, m.port, m.role, m.master, m.ranges) for m in self.members)


def look(client: redis.Redis) -> View:
    """Ask a node for its view. Raises redis.RedisError: the caller knows what that means to it."""
    info: Mapping[str, Any] = client.info("replication", "persistence", "memory", "keyspace")
    cluster_info: str = ask(client, "CLUSTER", "INFO")
    nodes: str = ask(client, "CLUSTER", "NODES")
    replica = info["role"] == "slave"
    return View(
        members=parse_members(nodes),
        state=_field(cluster_info, "cluster_state"),
        link_up=info["master_link_status"] == "up" if replica else None,
        offset=int(info["slave_repl_offset"] if replica else info["master_repl_offset"]),
        memory=int(info["used_memory"]),
        keys=int(info["db0"]["keys"]) if "db0" in info else 0,
        rewriting=_rewriting(info),
    )


def ask(client: redis.Redis, *words: str | int) -> Any:
    """Send one command and return its answer as it comes. Raises redis.RedisError."""
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


def _rewriting(info: Mapping[str, Any]) -> bool:
    busy = info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]
    return bool(busy or not info["aof_enabled"])


def parse_members(text: str) -> tuple[Member, ...]:
    """Return the members that the answer to ``CLUSTER NODES`` lists."""
    return tuple(_parse_member(line.split()) for line in text.splitlines() if line.strip())


def _parse_member(words: list[str]) -> Member:
    node_id, address, flag_text, master = words[:4]
    flags = flag_text.split(",")
    return Member(
        id=node_id,
        port=int(address.split("@")[0].rpartition(":")[2]),
        role="replica" if "slave" in flags else "master",
        master=None if master == "-" else master,
        ranges=tuple(_parse_range(word) for word in words[8:] if not word.startswith("[")),
        well=not _UNWELL.intersection(flags),
        met="handshake" not in flags,
        myself="myself" in flags,
    )


def _parse_range(word: str) -> tuple[int, int]:
    first, _, last = word.partition("-")
    return int(first), int(last or first)


def _field(text: str, name: str) -> str:
    """Return one value of an answer made of ``name:value`` lines."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""
