"""Sets the scene of an endurance: the cluster, agents, a coordinator, workers, publishers, graphs."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from crew import Member
from ledger_app import CONFIGURATION, LATE, LEDGER
from ledger_file import Ledger
from ledger_workers import OPTIONS
from mixture import SERVER, Mixture
from publisher import BOOK, READY
from scene import KEEP, Scene
from spread import SpreadCluster, possible

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.topology import slot_of

HERE = Path(__file__).parent
SERVER_PROGRAM = HERE.parent / "agents" / "servers" / "ledger.py"
#: Seconds: a lease, until an operation is looked after, a request.
LEASE, OVERDUE, TIMEOUT = 2.0, 4.0, 15.0
PUBLISHERS = 2
#: Partitions of the first queue.
PARTITIONS = 4
CELERY = (sys.executable, "-m", "celery", "-A")
PLAIN = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def staged(folder: Path, options: argparse.Namespace, stack: ExitStack) -> Scene:
    """Start everything; what is started ends with the stack."""
    place = (folder / "cluster",)
    timeout, server = options.node_timeout, options.server
    kind: Any = EmbeddedCluster if options.embedded or not possible() else SpreadCluster
    cluster = kind(*place, node_timeout_ms=timeout, server=server)
    stack.callback(cluster.down, delete=True, timeout=2)
    cluster.up(bound=True)
    store = Store(cluster.url(), timeout=TIMEOUT)
    stack.callback(store.close)
    logging.disable(logging.WARNING)  # of this process's own store
    store.ping(5.0)
    graphs = Mixture(store, folder / "calls", rate=options.graphs, keep=KEEP, seed=options.seed)
    queues = _queues(store)
    books = [Ledger(folder / f"book-{number}") for number in range(PUBLISHERS)]
    worked = Ledger(folder / "worked")
    crew = list(_crew(folder, cluster.url(), queues, books, worked, options))
    for member in crew:
        stack.callback(member.stop)
        member.start()
    stack.callback(graphs.stop)
    graphs.start()
    return Scene(cluster, store, queues, crew, books, worked, graphs)


def _queues(store: Store) -> list[str]:
    """Return the name of a queue for each shard."""
    names = [f"endurance-{number}" for number in range(64)]
    owners = {store.topology.owner(slot_of(keys.meta(name))): name for name in names}
    return list(owners.values())


def _crew(
    folder: Path,
    url: str,
    queues: list[str],
    books: list[Ledger],
    worked: Ledger,
    options: argparse.Namespace,
) -> Iterator[Member]:
    config = folder / "mcp.json"
    server = {"command": sys.executable, "args": [str(SERVER_PROGRAM), str(folder / "calls")]}
    config.write_text(json.dumps({"mcpServers": {SERVER: server}}))
    environ = {
        "OMX_BROKER_URL": url,
        "OMX_MCP_CONFIG": str(config),
        "OMX_SLOTS": "16",
        "OMX_LEASE": str(LEASE),
        "OMX_OVERDUE": str(OVERDUE),
        "OMX_REQUEST_TIMEOUT": str(TIMEOUT),
        "OMX_DURABILITY": options.durability,
    }
    for number in range(2):
        name = f"agent{number}"
        command = (*CELERY, "omx_tasks", "worker", "-n", f"{name}@endurance", *PLAIN, "-l", "INFO")
        yield _member(folder, "agent", name, command, environ, b"ready.")
    coordinator = (sys.executable, "-m", "workers.coordinator")
    yield _member(folder, "coordinator", "coordinator", coordinator, environ, b"looking after")
    settings = {
        "broker_url": url,
        "result_backend": url,
        "result_expires": KEEP,
        "broker_transport_options": {
            "lease": round(LEASE * 1000),
            "timeout": TIMEOUT,
            "durability": options.durability,
            "most_deliveries": 0,
            "most_losses": 0,
            "partitions": {queues[0]: PARTITIONS},
        },
        "result_backend_transport_options": {"timeout": TIMEOUT, "durability": options.durability},
        **LATE,
    }
    environ = {CONFIGURATION: json.dumps(settings), LEDGER: str(worked.path)}
    for name in ("threads", "prefork"):
        command = (*CELERY, "ledger_app", "worker", "-n", f"{name}@endurance", *PLAIN)
        command = (*command, *OPTIONS[name], "-l", "WARNING", "-Q", ",".join(queues))
        yield _member(folder, "worker", name, command, environ, b"worker is ready.")
    for number, book in enumerate(books):
        yield Member(
            "publisher",
            f"publisher{number}",
            _publishes(number, options, queues),
            {**environ, BOOK: str(book.path)},
            folder / f"publisher{number}.log",
            READY,
        )


def _member(
    folder: Path,
    kind: str,
    name: str,
    command: tuple[str, ...],
    environ: dict[str, str],
    ready: bytes,
) -> Member:
    return Member(kind, name, lambda: command, environ, folder / f"{name}.log", ready)


def _publishes(number: int, options: argparse.Namespace, queues: list[str]) -> Any:
    """Return what makes the command of a publisher: each time with numbers of its own."""
    starts = itertools.count(1)

    def command() -> tuple[str, ...]:
        start = next(starts)
        first = (number * 1000 + start) * 10_000_000
        rate, seed = options.rate / PUBLISHERS, options.seed * 100 + number + start * 10
        return (sys.executable, str(HERE / "publisher.py"), *map(str, (first, rate, seed)), *queues)

    return command
