"""Which node serves which slot: learned from ``CLUSTER SLOTS``, corrected by each MOVED.

The cluster announces addresses; what is kept here are the ones that reach them (`Address.reachable`). The seeds are
never given up: when no node of the last table answers, they are what leads to the cluster's new ones. Only one node of
the table is asked before them, so a seed that stands for a proxy is found soon though all addresses have changed.

The table is kept as ranges of slots: a cluster has few, and an agent has several tables. With an entry for each slot
they were 1.6 MiB of every agent.

Whether a silent node is slow or gone is for the others to say: they have elected another master by then, or wait for
it as well (`Topology.serves`). So a node that hangs is left when its slots are elsewhere, and a busy one never is.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping

from redis.crc import key_slot

from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.store import access
from omx_tasks.store.address import Address, Node
from omx_tasks.store.link import Link, LinkError, ReplyError

SLOTS = 16384
#: Nodes that must refuse us before no other is asked: one alone may be in the middle of a change.
_BELIEVED = 2


def slot_of(key: str) -> int:
    """Return the hash slot (0 to 16383) of a key."""
    return int(key_slot(key.encode()))


class _Ranges:
    """Who serves which slots: ``owners[i]`` from ``starts[i]`` on, up to the next start. Never changed once made."""

    def __init__(self, owners: Mapping[int, Node | None]) -> None:
        self.starts = sorted(owners)
        self.owners = [owners[start] for start in self.starts]

    def owner(self, slot: int) -> Node | None:
        return self.owners[bisect_right(self.starts, slot) - 1]

    def with_slot(self, slot: int, owner: Node | None) -> _Ranges:
        """Return these, but for one slot."""
        others = dict(zip(self.starts, self.owners, strict=True))
        return _Ranges({**others, slot: owner, slot + 1: self.owner(slot + 1)})


_NOBODY = _Ranges({0: None})


class Topology:
    """The slot table of one cluster. Thread-safe; knows nothing until the first `refresh`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._ranges = _NOBODY
        self._known: tuple[Node, ...] = address.seeds
        self._turn = 0
        self._lock = threading.Lock()
        self.version = 0

    @property
    def masters(self) -> list[Node]:
        """The nodes that serve at least one slot, in slot order."""
        return list(dict.fromkeys(node for node in self._ranges.owners if node))

    def owner(self, slot: int) -> Node | None:
        """Return the master of ``slot``, or None where it is not known (yet)."""
        return self._ranges.owner(slot)

    def reachable(self, announced: Node) -> Node:
        """Return where an announced node is reached."""
        return self._address.reachable(announced)

    def moved(self, slot: int, announced: Node) -> None:
        """Note what a MOVED answer said; one without a host says only that the table is wrong."""
        node = self.reachable(announced) if announced.host else None
        if self._ranges.owner(slot) != node:
            self._ranges = self._ranges.with_slot(slot, node)
            self.version += 1

    def after_fork(self) -> None:
        """The lock may have been held by a thread that this process does not have."""
        self._lock = threading.Lock()

    def refresh(self, timeout: float) -> None:
        """Ask any node for the slot table, each for at most ``timeout`` seconds.

        Raises, when none answers, `UnavailableError` with the reasons, each kind once, or `ConfigurationError`
        where one is there and refuses us.
        """
        with self._lock:
            reasons: dict[Node, str] = {}
            refusals: list[ConfigurationError] = []
            for node in dict.fromkeys((*self._known[:1], *self._address.seeds, *self._known)):
                try:
                    self._adopt(self._ask(node, timeout), node)
                except ConfigurationError as error:
                    refusals.append(error)
                    if len(refusals) == _BELIEVED:
                        break
                except (LinkError, ReplyError) as error:
                    reasons[node] = str(error)
                else:
                    return
        if refusals:
            raise refusals[0]
        raise UnavailableError(
            f"no node of {self._address} answers ({_told(reasons)}). Is the cluster up? "
            "`omx up` starts one here, `omx cluster heal` what died of it; OMX_BROKER_URL names another."
        )

    def serves(self, node: Node, timeout: float) -> bool:
        """Ask one of the other nodes, each in its turn, whether this one has slots; without an answer it has."""
        others = [other for other in self._known if other != node]
        if others:
            self._turn += 1
            asked = others[self._turn % len(others)]
            try:
                self._adopt(self._ask(asked, timeout), asked)
            except (LinkError, ReplyError, ConfigurationError):
                return True
        return node in self.masters

    def _ask(self, node: Node, timeout: float) -> list[list[object]]:
        link = Link(node, self._address).connect(timeout)
        try:
            (table,) = link.ask([("CLUSTER", "SLOTS")], time.monotonic() + timeout)
        finally:
            link.close()
        if isinstance(table, ReplyError):
            if table.code == "NOPERM":
                raise ConfigurationError(f"{node}: {access.missing_right('use CLUSTER SLOTS')}.")
            raise LinkError(f"{node}: {table} (is it a Redis Cluster?)")
        if not table:
            raise LinkError(f"{node}: serves no slots (is the cluster formed?)")
        return list(table)

    def _adopt(self, table: list[list[object]], asked: Node) -> None:
        owners: dict[int, Node | None] = {0: None}
        known: list[Node] = []
        for start, end, *servers in table:
            nodes = [self.reachable(_node(server, asked)) for server in servers]
            known += nodes
            owners[int(str(start))] = nodes[0]
            owners.setdefault(int(str(end)) + 1, None)
        self._ranges = _Ranges(owners)
        self._known = tuple(_unique(known))
        self.version += 1


def _node(server: object, asked: Node) -> Node:
    """Return the node of a CLUSTER SLOTS entry; a server that does not know its host is the one asked."""
    host, port = server[0], server[1]  # type: ignore[index]
    name = host.decode() if isinstance(host, bytes) else ""
    return Node(name if name not in ("", "?") else asked.host, int(port))


def _unique(nodes: Iterable[Node]) -> list[Node]:
    return list(dict.fromkeys(nodes))


def _told(reasons: Mapping[Node, str]) -> str:
    """Return why nodes do not answer; of reasons that differ in the node alone, the first, and how many there are."""
    alike: dict[str, list[str]] = defaultdict(list)
    for node, reason in reasons.items():
        alike[reason.replace(str(node), "")].append(reason)
    return "; ".join(
        f"{first}, {len(others)} more likewise" if others else first
        for first, *others in alike.values()
    )
