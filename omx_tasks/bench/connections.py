"""A worker's connections to the servers: their addresses, and on how many of them it waits."""

from __future__ import annotations

import contextlib
import time

import psutil

from omx_tasks.bench.sides import Side
from omx_tasks.bench.worker import Worker

DEADLINE = 5.0


def waiting_connections(side: Side, worker: Worker) -> int:
    """Return how many of a worker's connections are blocked in a command or subscribed to a channel."""
    own = addresses_of(worker)
    return sum(client["addr"] in own and _waits(client) for client in _clients(side))


def addresses_of(worker: Worker) -> set[str]:
    """Return the local ends of all connections of a worker's processes."""
    found: set[str] = set()
    for process in worker.family():
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {"{}:{}".format(*c.laddr) for c in process.net_connections("tcp") if c.raddr}
    return found


def _clients(side: Side) -> list[dict[str, str]]:
    clients: list[dict[str, str]] = []
    with side.links() as links:
        for link in links:
            (text,) = link.ask([("CLIENT", "LIST")], time.monotonic() + DEADLINE)
            clients += [_fields(line) for line in bytes(text).decode().splitlines()]
    return clients


def _fields(line: str) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in line.split())}


def _waits(client: dict[str, str]) -> bool:
    blocked = "b" in client["flags"]
    return blocked or any(int(client.get(kind, 0)) for kind in ("sub", "psub", "ssub"))
