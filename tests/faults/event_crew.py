"""Those who publish and handle events: started as processes, and started again by a supervisor when they die."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import event_books
import event_publisher
from crew import Member
from event_books import Name, Verdict
from shard import Cluster, wait_until

from omx_tasks.coordination.registry import CoordinatorRecord, coordinators
from omx_tasks.events import dead
from omx_tasks.settings import Away
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.topology import slot_of

HERE = Path(__file__).parent
OMX = str(Path(sys.executable).with_name("omx"))
#: Seconds without anything new after which nothing more is waited for; between two looks.
PATIENCE, LOOK = 60.0, 0.25
#: Keys of all publishers together.
KEYS = 64
PARTITIONS = 6
HANDLERS = "event_handlers"


@dataclass
class Crew:
    """The processes on a cluster, the store to ask about them, and the folder of their books."""

    cluster: Cluster
    store: Store
    books: Path
    members: list[Member]

    def of(self, kind: str) -> list[Member]:
        return [member for member in self.members if member.kind == kind]

    def leader(self, *, after: int = 0) -> CoordinatorRecord:
        """Wait until one leads whose token is later than this one."""
        found: list[CoordinatorRecord] = []

        def leads() -> bool:
            found[:] = [one for one in coordinators(self.store) if (one.token or 0) > after]
            return bool(found)

        wait_until(leads)
        return found[0]

    def beside(self, partition: int) -> str:
        """Return a queue's name that is in the shard of a partition of the events."""
        place = self._owner(keys.event_log_keys(partition)[0])
        names = (f"beside-{number}" for number in itertools.count())
        return next(name for name in names if self._owner(keys.meta(name)) == place)

    def _owner(self, key: str) -> object:
        return self.store.topology.owner(slot_of(key))

    def published(self, kind: str = event_books.ALL) -> event_books.Published:
        return event_books.published(self.books, kind)

    def end_publishers(self) -> None:
        """Let all publishers end in order."""
        for publisher in self.of("publisher"):
            publisher.restarts = False
            wait_until(lambda one=publisher: one.alive, PATIENCE)
            publisher.send(signal.SIGTERM)
        for publisher in self.of("publisher"):
            wait_until(lambda one=publisher: not one.alive, 2 * PATIENCE)

    def settle(self, kind: str = event_books.ALL) -> Verdict:
        """Wait until all that was accepted is handled or parked, or nothing more happens; compare the books."""
        seen, until = -1, time.monotonic() + PATIENCE
        while True:
            verdict = self.verdict(kind)
            now = verdict.handled + verdict.dead
            if not verdict.wrong or time.monotonic() > until:
                return verdict
            if now != seen:
                seen, until = now, time.monotonic() + PATIENCE
            time.sleep(8 * LOOK)

    def verdict(self, kind: str = event_books.ALL) -> Verdict:
        """Compare the books of these publishers as they are now."""
        told = self.published(kind)
        own = told.keys()
        done = [one for one in event_books.handled(self.books) if one.name.key in own]
        return event_books.compare(told, done, [name for name in self._dead() if name.key in own])

    def _dead(self) -> Iterator[Name]:
        for one in dead.dead(self.store, PARTITIONS):
            event = one.event
            yield Name(event["key"], event["priority"], event["data"]["n"])


@contextmanager
def supervised(members: list[Member]) -> Iterator[None]:
    """Start again whoever dies, each by itself, until it is over; then end all, publishers first."""
    over = threading.Event()

    def keep(member: Member) -> None:
        while not over.is_set():
            if member.alive or not member.restarts:
                over.wait(LOOK)
                continue
            # One that is told to die may be so before its log says that it is up.
            with contextlib.suppress(AssertionError):
                member.start()

    threads = [threading.Thread(target=keep, args=(member,), daemon=True) for member in members]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(member.starts and member.alive for member in members), PATIENCE)
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)


def make_crew(
    cluster: Cluster,
    folder: Path,
    stack: ExitStack,
    *,
    kinds: Sequence[Away],
    each: int = 2,
    rate: float,
    seed: int,
    environ: Mapping[str, str],
) -> Crew:
    """Return coordinators, which handle events, ``each`` as many other handlers, and publishers; none is started.

    ``kinds``: what each publisher does while the cluster is away; all together publish ``rate`` events a second.
    """
    books = folder / "books"
    books.mkdir(parents=True)
    environ = {
        "OMX_BROKER_URL": cluster.url(),
        "OMX_HANDLERS": HANDLERS,
        event_books.BOOKS: str(books),
        **environ,
    }
    coordinator = (sys.executable, "-m", "workers.coordinator")
    members = [
        member(folder, "coordinator", number, lambda: coordinator, environ, b"looking after")
        for number in range(each)
    ]
    members += [
        member(folder, "handler", number, lambda: (OMX, "handle"), environ, b"serving")
        for number in range(each)
    ]
    share = KEYS // len(kinds)
    for number, kind in enumerate(kinds):
        own = [f"key-{key}" for key in range(number * share, (number + 1) * share)]
        command = publishes(kind, number, rate / len(kinds), seed, own)
        own_ways = {
            **environ,
            "OMX_EVENTS_AWAY": kind,
            "OMX_EVENTS_SPILL": str(folder / f"spill{number}"),
        }
        members.append(
            member(folder, "publisher", number, command, own_ways, event_publisher.READY)
        )
    store = Store(cluster.url(), timeout=30.0)
    stack.callback(store.close)
    store.ping(5.0)
    for one in members:
        stack.callback(one.stop)
    return Crew(cluster, store, books, members)


def member(
    folder: Path,
    kind: str,
    number: int,
    command: Callable[[], tuple[str, ...]],
    environ: dict[str, str],
    ready: bytes,
) -> Member:
    name = f"{kind}{number}"
    return Member(kind, name, command, environ, folder / f"{name}.log", ready)


def publishes(
    kind: Away, number: int, rate: float, seed: int, own: list[str]
) -> Callable[[], tuple[str, ...]]:
    """Return what makes the command of a publisher: each time with higher numbers."""
    starts = itertools.count(1)

    def command() -> tuple[str, ...]:
        start = next(starts)
        words = (f"published-{kind}", start * 10_000_000, rate, seed * 1000 + number * 100 + start)
        program = str(HERE / "event_publisher.py")
        return (sys.executable, program, *map(str, words), *own)

    return command
