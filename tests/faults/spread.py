"""A cluster whose nodes are in network namespaces of their own, so that the link between them can be cut.

::

    nodes and client ── main        island ── whoever is cut off

Each node has an address of its own, and a cable to one of two bridges that have nothing to do with each other: a node
is cut off, with the client or without, when its cable is put into the other one. Whoever makes the cluster is the
client: the thread that does and all that it starts are in the client's namespace until `down`. Needs root and
``ip netns`` (Linux).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from shard import ask, tell, wait_until

from omx_tasks.cluster.binary import find_server
from omx_tasks.cluster.launch import Launched, launch
from omx_tasks.cluster.node_config import node_config
from omx_tasks.cluster.ports import HOST
from omx_tasks.cluster.status import ClusterStatus, NodeStatus
from omx_tasks.cluster.view import parse_members
from omx_tasks.store.topology import SLOTS

MASTERS, NODES, FIRST_PORT = 3, 6, 7001
MAIN, ISLAND = "main", "island"
IP = shutil.which("ip") or ""
_NEW_NETWORK = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def possible() -> bool:
    """Whether this machine lets us make namespaces."""
    return os.geteuid() == 0 and bool(IP) and _try("netns", "list")


@dataclass(frozen=True)
class _Place:
    """A node's namespace, address and folder."""

    number: int
    name: str
    host: str
    folder: Path

    @property
    def port(self) -> int:
        return FIRST_PORT + self.number - 1

    @property
    def cable(self) -> str:
        return f"port{self.number}"


class SpreadCluster:
    """Three masters and a replica each; it has what a fault and a load ask of an `EmbeddedCluster`."""

    def __init__(self, directory: Path, *, node_timeout_ms: int, server: str | None) -> None:
        self.directory = directory
        self._node_timeout_ms = node_timeout_ms
        self._server = find_server(server)
        self._tag = f"omx{os.getpid() % 100_000}"
        self._switch = f"{self._tag}s"
        net = os.getpid() % 250
        self._places = [
            _Place(n, f"{self._tag}n{n}", f"10.77.{net}.{n}", directory / str(n))
            for n in range(1, NODES + 1)
        ]
        self._client = _Place(9, f"{self._tag}c", f"10.77.{net}.9", directory / "client")
        self._processes: dict[int, Launched] = {}
        self._home: int | None = None

    def url(self) -> str:
        return "rediscluster://" + ",".join(f"{p.host}:{p.port}" for p in self._places)

    # --- the network --------------------------------------------------------------------------------

    def _lay(self) -> None:
        for name in (self._switch, self._client.name, *(place.name for place in self._places)):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        for bridge in (MAIN, ISLAND):
            _ip("-n", self._switch, "link", "add", bridge, "type", "bridge")
            _ip("-n", self._switch, "link", "set", bridge, "up")
        for place in (*self._places, self._client):
            self._plug(place)

    def _plug(self, place: _Place) -> None:
        peer = ("peer", "name", "eth0", "netns", place.name)
        _ip("-n", self._switch, "link", "add", place.cable, "type", "veth", *peer)
        _ip("-n", self._switch, "link", "set", place.cable, "master", MAIN, "up")
        _ip("-n", place.name, "addr", "add", f"{place.host}/24", "dev", "eth0")
        _ip("-n", place.name, "link", "set", "eth0", "up")

    def cut(self, port: int, *, with_client: bool) -> None:
        """Part the node of this port from the others."""
        parted = [place for place in self._places if place.port == port]
        for place in (*parted, *([self._client] if with_client else ())):
            _ip("-n", self._switch, "link", "set", place.cable, "master", ISLAND)

    def join(self) -> None:
        """Undo `cut`."""
        for place in (*self._places, self._client):
            _ip("-n", self._switch, "link", "set", place.cable, "master", MAIN)

    def _enter(self, path: str | Path) -> None:
        """Go into a namespace with this thread and all that it starts from now on."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self._set(descriptor)
        finally:
            os.close(descriptor)

    def _set(self, descriptor: int) -> None:
        if _LIBC.setns(descriptor, _NEW_NETWORK) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    # --- the cluster --------------------------------------------------------------------------------

    def up(self, bound: bool = True, timeout: float = 30.0) -> None:
        """Make the cluster the first time; later, start what is dead; return when all is well."""
        first = self._home is None
        if first:
            self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            self._lay()
            self._enter(f"/run/netns/{self._client.name}")
        self._start_dead()
        if first:
            self._form()
        wait_until(lambda: self.is_ready() or self._start_dead(), timeout)

    def _start_dead(self) -> None:
        """Start what does not run; one that was killed just now is not over yet."""
        for place in self._places:
            if place.port not in self._processes or self._processes[place.port].ended.is_set():
                self._start(place)

    def _start(self, place: _Place) -> None:
        place.folder.mkdir(parents=True, exist_ok=True)
        log = place.folder / "log"
        text = node_config(
            place.folder, place.folder / "pid", log, place.port, self._node_timeout_ms
        )
        config = place.folder / "conf"
        text = text.replace(HOST, place.host).replace("protected-mode yes", "protected-mode no")
        config.write_text(text)
        command = [IP, "netns", "exec", place.name, str(self._server), str(config)]
        self._processes[place.port] = launch(command, log, bound=True)

    def _form(self) -> None:
        nodes = [self._node(place) for place in self._places]
        for node in nodes:
            wait_until(lambda node=node: ask(node, "PING") == b"PONG")
        for epoch, node in enumerate(nodes, 1):
            tell(node, "CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for node in nodes[1:]:
            tell(nodes[0], "CLUSTER", "MEET", node.host, node.port)
        ends = [SLOTS * number // MASTERS for number in range(MASTERS + 1)]
        for node, first, end in zip(nodes[:MASTERS], ends[:-1], ends[1:], strict=True):
            tell(node, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for node in nodes:
            wait_until(lambda node=node: len(tell(node, "CLUSTER", "NODES").splitlines()) == NODES)
        for master, replica in zip(nodes[:MASTERS], nodes[MASTERS:], strict=True):
            name = tell(master, "CLUSTER", "MYID")
            wait_until(
                lambda name=name, node=replica: ask(node, "CLUSTER", "REPLICATE", name) == b"OK"
            )

    def _node(self, place: _Place) -> NodeStatus:
        launched = self._processes.get(place.port)
        pid = launched.pid if launched and not launched.ended.is_set() else None
        empty = (None, None, 0, ())
        return NodeStatus(place.host, place.port, "", *empty, pid, pid is not None, *(None,) * 4)

    def is_ready(self) -> bool:
        return all(self._is_well(self._node(place)) for place in self._places)

    def _is_well(self, node: NodeStatus) -> bool:
        info, nodes = ask(node, "CLUSTER", "INFO"), ask(node, "CLUSTER", "NODES")
        if not (isinstance(info, bytes) and isinstance(nodes, bytes)):
            return False
        role, *rest = ask(node, "ROLE")
        settled = rest[2] == b"connected" if role == b"slave" else bool(rest[1])
        return settled and b"cluster_state:ok" in info and b"fail" not in nodes

    def status(self) -> ClusterStatus:
        """Return the nodes as the first that answers sees them."""
        answers = (ask(self._node(p), "CLUSTER", "NODES", timeout=1.0) for p in self._places)
        text = next(answer for answer in answers if isinstance(answer, bytes)).decode()
        members = {member.port: member for member in parse_members(text)}
        nodes = []
        for place in self._places:
            node, member = self._node(place), members[place.port]
            nodes.append(
                NodeStatus(
                    node.host, node.port, member.role, member.id, member.master, member.slots,
                    member.ranges, node.pid, node.alive, None, None, None, None,
                )
            )  # fmt: skip
        return ClusterStatus("", self.url(), "", "", MASTERS, 1, SLOTS, (), tuple(nodes))

    def down(self, delete: bool = True, timeout: float = 2.0) -> None:
        """End the processes, leave the client's namespace and remove all of them."""
        for process in self._processes.values():
            if not process.ended.is_set():
                os.kill(process.pid, signal.SIGKILL)
                process.ended.wait(timeout)
        if self._home is not None:
            self._set(self._home)
            os.close(self._home)
            self._home = None
        for name in (self._client.name, self._switch, *(place.name for place in self._places)):
            _try("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run([IP, *words], check=True, capture_output=True)


def _try(*words: str) -> bool:
    return subprocess.run([IP, *words], check=False, capture_output=True).returncode == 0
