"""A mixed load and a random fault every so often: ``python tests/faults/endurance.py --minutes 30 --seed 7``.

Publishers (one by one, in batches, delayed, all priorities, results read back; one queue has partitions), graphs
(chains, joins, foreach), two agents, two workers and a coordinator go on while nodes and they themselves are struck.
Books are kept outside of the cluster. When all is over, everything that was acknowledged has to be done, no run may
hang, and keys, connections, descriptors and threads have to be back where they were after the first seconds of load.
The exit code is 1 when something was lost, hangs or leaks. Nodes are in network namespaces of their own where that is
possible (root), so that links can be cut as well; with ``--embedded`` shards join and leave instead.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parent
SERVER_PROGRAM = HERE.parent / "agents" / "servers" / "ledger.py"
sys.path[:0] = [str(HERE.parent / "ledger")]
PATH = [str(HERE.parents[1]), str(HERE.parent / "ledger"), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, PATH))

from blows import blows, drawn  # noqa: E402
from census import Census, take  # noqa: E402
from crew import Member  # noqa: E402
from faults import NotHereError  # noqa: E402
from ledger_app import CONFIGURATION, LATE, LEDGER  # noqa: E402
from ledger_file import Ledger  # noqa: E402
from ledger_workers import OPTIONS  # noqa: E402
from load import longest_gap  # noqa: E402
from mixture import SERVER, Mixture  # noqa: E402
from publisher import ACKED, ANSWERED, BOOK, READY, REFUSED, RESTS, THREADS, UNANSWERED  # noqa: E402
from shard import Cluster, wait_until  # noqa: E402
from spread import SpreadCluster, possible  # noqa: E402

from omx_tasks.broker import audit  # noqa: E402
from omx_tasks.cluster.embedded import EmbeddedCluster  # noqa: E402
from omx_tasks.store import keys  # noqa: E402
from omx_tasks.store.client import Store  # noqa: E402
from omx_tasks.store.topology import slot_of  # noqa: E402

#: Seconds: a lease, until an operation is looked after, a request, and for which runs and results are kept.
LEASE, OVERDUE, TIMEOUT, KEEP = 2.0, 4.0, 15.0, 45
#: Seconds of load before what there is counts as the start's level; without progress after which something hangs.
WARM, PATIENCE = 15.0, 60.0
PUBLISHERS = 2
#: Partitions of the first queue.
PARTITIONS = 4
#: Kinds of keys that lapse later than we wait: marks that a report of durations was counted.
KEPT_LONGER = {"durations_report"}
#: By how much connections, descriptors and threads may differ from the start's level, whatever their number.
SLACK, FEW = 1.15, 6
CELERY = (sys.executable, "-m", "celery", "-A")
PLAIN = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def main() -> None:
    """Load, strike, wait, compare, print."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended early"))  # nothing is left behind
    with TemporaryDirectory(prefix="omx-endurance-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        wrong = _endure(folder, options)
    print("\n" + ("\n".join(f"WRONG: {what}" for what in wrong) or "all is well"), flush=True)
    sys.exit(bool(wrong))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--every", type=float, default=20, help="seconds between two faults")
    parser.add_argument("--rate", type=float, default=240, help="messages a second")
    parser.add_argument("--graphs", type=float, default=2, help="graphs a second")
    parser.add_argument("--durability", default="replica")
    parser.add_argument("--server", help="the server program, as redis-server; default: Valkey")
    parser.add_argument("--embedded", action="store_true", help="no links cut, but shards added")
    parser.add_argument("--node-timeout", type=int, default=2000, help="milliseconds")
    parser.add_argument("--folder", type=Path, help="where to leave logs and books")
    return parser.parse_args()


@dataclass
class Struck:
    """A blow that was dealt; times are monotonic seconds."""

    name: str
    target: str
    since: float
    seconds: float


@dataclass
class Scene:
    """A cluster, those who work on it, and their books."""

    cluster: Cluster
    store: Store
    queues: list[str]
    crew: list[Member]
    books: list[Ledger]
    worked: Ledger
    graphs: Mixture
    struck: list[Struck] = field(default_factory=list)

    @property
    def publishers(self) -> list[Member]:
        return [member for member in self.crew if member.kind == "publisher"]

    def rest(self) -> None:
        """Let nothing more be published or submitted."""
        rested = [book.counts(RESTS)[0] for book in self.books]
        for publisher in self.publishers:
            publisher.send(signal.SIGUSR1)
        self.graphs.rest()
        for book, before in zip(self.books, rested, strict=True):
            wait_until(lambda b=book, n=before: b.counts(RESTS)[0] >= n + THREADS, 2 * PATIENCE)

    def go_on(self) -> None:
        for publisher in self.publishers:
            publisher.send(signal.SIGUSR2)
        self.graphs.go_on()

    def told(self) -> set[int]:
        """Return the messages that were acknowledged."""
        return {number for book in self.books for number in book.counts(ACKED)}

    def settle(self) -> None:
        """Wait until all is done; or until nothing was any more for a while."""
        told, seen, until = self.told(), None, time.monotonic() + PATIENCE
        while (now := self._left(told)) != (0, 0, 0) and time.monotonic() < until:
            if now != seen:
                seen, until = now, time.monotonic() + PATIENCE
            time.sleep(1.0)

    def _left(self, told: set[int]) -> tuple[int, int, int]:
        missing = len(told - self.worked.counts().keys())
        return missing, self.graphs.open, sum(report.present for report in self.reports())

    def reports(self) -> list[audit.QueueReport]:
        return [report for report in audit.reports(self.store) if not report.is_internal]

    def quiet(self, like: Census | None = None) -> Census:
        """Wait until what is kept for a while is gone; returns as soon as there is no more than in ``like``."""
        until = time.monotonic() + KEEP + (OVERDUE if like is None else PATIENCE)
        census = None
        while time.monotonic() < until and (like is None or census is None or _more(census, like)):
            time.sleep(2.0)
            census = take(self.cluster)
        return census or take(self.cluster)

    def measure(self) -> None:
        for member in self.crew:
            member.measure()


def _endure(folder: Path, options: argparse.Namespace) -> list[str]:
    with ExitStack() as stack:
        scene = _scene(folder, options, stack)
        time.sleep(WARM)
        scene.rest()
        scene.settle()
        before = scene.quiet()
        scene.measure()
        scene.go_on()
        print(
            f"began with {sum(before.keys.values())} keys, {sum(before.clients.values())} connections",
            flush=True,
        )
        _strike(scene, options)
        scene.rest()
        scene.settle()
        after = scene.quiet(before)
        scene.measure()
        return [*_books(scene), *_graphs(scene), *_levels(before, after), *_processes(scene)]


def _scene(folder: Path, options: argparse.Namespace, stack: ExitStack) -> Scene:
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


def _strike(scene: Scene, options: argparse.Namespace) -> None:
    """Deal blows until the time is over."""
    began = time.monotonic()
    end = began + options.minutes * 60
    half = began + options.minutes * 30
    order = drawn(blows(scene.cluster, scene.queues, scene.crew), options.seed)
    for due in itertools.count(began + options.every / 2, options.every):
        if due >= end:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        if due >= half > 0:
            scene.measure()
            half = 0.0
        blow, target = next(order)
        since = time.monotonic()
        print(f"{since - began:7.1f} s  {blow.name:<34} {target:<14}", end="", flush=True)
        try:
            blow.strike(target)
        except NotHereError as error:
            print(f" {error}", flush=True)
            continue
        one = Struck(blow.name, target, since, time.monotonic() - since)
        scene.struck.append(one)
        print(f" {one.seconds:5.1f} s", flush=True)
    time.sleep(max(0.0, end - time.monotonic()))


# --- what came of it --------------------------------------------------------------------------------


def _books(scene: Scene) -> Iterator[str]:
    told, worked = scene.told(), scene.worked.counts()
    acked = sorted(e.at for book in scene.books for e in book.entries() if e.event == ACKED)
    _service(scene.struck, acked, sorted(entry.at for entry in scene.worked.entries()))
    counts = {
        "acknowledged": len(told),
        "lost": len(told - worked.keys()),
        "worked on twice": sum(count - 1 for count in worked.values()),
        "refused": sum(sum(book.counts(REFUSED).values()) for book in scene.books),
        "refused, yet stored": len(
            worked.keys() & {n for b in scene.books for n in b.counts(REFUSED)}
        ),
        "results read": sum(sum(book.counts(ANSWERED).values()) for book in scene.books),
        "results missing": sum(sum(book.counts(UNANSWERED).values()) for book in scene.books),
    }
    reports = scene.reports()
    counts |= {
        "waiting": sum(sum(report.stats.waiting) for report in reports),
        "leased": sum(report.stats.leased for report in reports),
        "delayed": sum(report.stats.delayed for report in reports),
        "dead": sum(report.stats.dead for report in reports),
        "unaccounted for": sum(abs(report.missing) for report in reports),
    }
    _print("messages", counts)
    for word in (
        "lost",
        "results missing",
        "waiting",
        "leased",
        "delayed",
        "dead",
        "unaccounted for",
    ):
        if counts[word]:
            yield f"messages: {counts[word]} {word}"


def _service(struck: list[Struck], acked: list[float], worked: list[float]) -> None:
    """Print for each kind of blow how often it was dealt, and the longest times without service after it."""
    print(
        f"\n{'blow':<36}{'times':>6}{'outage':>10}{'gap':>10}   (longest: nothing acknowledged, nothing worked on)"
    )
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for one, following in itertools.zip_longest(struck, struck[1:]):
        end = following.since if following else one.since + 30
        spans = ([at for at in moments if one.since < at < end] for moments in (acked, worked))
        outage, gap = (longest_gap(one.since, span) for span in spans)
        found[one.name].append((outage, gap))
    for name, spans in sorted(found.items()):
        outage, gap = (max(span) for span in zip(*spans, strict=True))
        print(f"{name:<36}{len(spans):>6}{outage:>8.1f} s{gap:>8.1f} s")


def _graphs(scene: Scene) -> Iterator[str]:
    graphs, calls = scene.graphs, scene.graphs.calls()
    expected = {name for names in graphs.submitted.values() for name in names}
    counts = {
        "submitted": len(graphs.submitted),
        "succeeded": graphs.states["succeeded"],
        "ended otherwise": graphs.states.total() - graphs.states["succeeded"],
        "stuck": graphs.open,
        "refused": len(graphs.refused),
        "calls": len(expected),
        "calls never made": len(expected - calls.keys()),
        "calls made twice": sum(calls[name] - 1 for name in expected if calls[name]),
    }
    _print("graphs", counts)
    for reason in graphs.reasons[:10]:
        print(f"    {reason}")
    for word in ("ended otherwise", "stuck", "calls never made"):
        if counts[word]:
            yield f"graphs: {counts[word]} {word}"


def _levels(before: Census, after: Census) -> Iterator[str]:
    """Print keys and connections, and yield what did not come back."""
    print(f"\n{'keys':<36}{'start':>8}{'end':>8}{'entries':>10}{'at end':>8}")
    for kind in sorted({*before.keys, *after.keys}):
        numbers = (before.keys[kind], after.keys[kind], before.entries[kind], after.entries[kind])
        print(f"{kind:<36}{numbers[0]:>8}{numbers[1]:>8}{numbers[2]:>10}{numbers[3]:>8}")
    for title, first, last in (
        ("clients", before.clients, after.clients),
        ("nodes", before.nodes, after.nodes),
    ):
        print(f"\n{'connections of ' + title:<36}{'start':>8}{'end':>8}")
        for name in sorted({*first, *last}):
            print(f"{name:<36}{first[name]:>8}{last[name]:>8}")
    for kind, count in _more(after, before).items():
        yield f"keys: {count} more of {kind}"
    for name, count in after.clients.items():
        if not _like(count, before.clients[name]):
            yield f"connections of {name}: {count} instead of {before.clients[name]}"


def _processes(scene: Scene) -> Iterator[str]:
    """Print what processes hold at the start, in the middle (under load) and at the end; yield what grew."""
    print(f"\n{'process':<14}{'starts':>7}{'descriptors':>20}{'threads':>20}{'MiB':>20}")
    for member in scene.crew:
        columns = [
            " ".join(f"{value:.0f}" for value in values)
            for values in zip(*member.usages, strict=True)
        ]
        print(
            f"{member.name:<14}{member.starts:>7}" + "".join(f"{column:>20}" for column in columns)
        )
        first, last = member.usages[0], member.usages[-1]
        for what in ("descriptors", "threads"):
            if not _like(getattr(last, what), getattr(first, what)):
                yield f"{member.name}: {getattr(last, what)} {what} instead of {getattr(first, what)}"


def _more(census: Census, like: Census) -> Counter[str]:
    """Return the keys that there were not at another moment, but for those that are kept a little longer."""
    more = census.keys - like.keys
    for kind in KEPT_LONGER & more.keys():
        more[kind] -= census.lapsing[kind]
    return +more


def _like(count: int, level: int) -> bool:
    """Whether a number is back at its level."""
    return count <= max(level * SLACK, level + FEW)


def _print(title: str, counts: dict[str, int]) -> None:
    print(f"\n{title}")
    for word, count in counts.items():
        print(f"    {word:<32}{count:>10,}", flush=True)


if __name__ == "__main__":
    main()
