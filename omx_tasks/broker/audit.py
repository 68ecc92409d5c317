"""What is in the queues, whether it adds up, and what became of messages that nobody could finish.

Every message that was published is in exactly one place: acknowledged, failed (refused for good), waiting, leased,
delayed, dead, or removed by a purge, a drop, or the cancellation of its run. One script reads all of a queue at one
moment, so the sum is exact while producers and workers go on. A queue that lapsed or was deleted takes its counters
along.

Each worker that consumes a queue subscribes to its doorbell: counting the subscribers counts the workers.

A queue with partitions is one here: each partition at one moment of its own, and the sum of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from omx_tasks.broker import partitions
from omx_tasks.broker.partitions import on_all
from omx_tasks.broker.queues import Stats
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store
from omx_tasks.store.link import ReplyError
from omx_tasks.store.scripts import Call, script
from omx_tasks.store.topology import slot_of

#: Ways for a message to leave its queue, as counted.
GONE = ("acked", "failed", "purged", "dropped", "withdrawn")
#: What only says how often: a message that came back, was put back from the dead ones, or was acked too late.
TIMES = ("returned", "replayed", "fenced")
_PAGE = 100


class Rates(NamedTuple):
    """Messages a second, between two moments."""

    published: float
    acked: float


class Spot(NamedTuple):
    """Where a partition is."""

    slot: int
    node: Node | None


class QueueReport(NamedTuple):
    """One queue at one moment, where its partitions are, and how many workers consume it.

    ``rates`` only where they were measured.
    """

    name: str
    stats: Stats
    spots: tuple[Spot, ...]
    consumers: int
    rates: Rates | None = None

    @property
    def is_internal(self) -> bool:
        """Whether it is one of Celery's own for remote control and events: broadcasts, which nothing keeps."""
        return self.name.endswith(".pidbox") or self.name.startswith("celeryev.")

    @property
    def present(self) -> int:
        """How many messages are in the queue, wherever they stand."""
        return sum(self.stats.waiting) + self.stats.leased + self.stats.delayed + self.stats.dead

    @property
    def oldest(self) -> float | None:
        """How many seconds the longest waiting message has been in the queue."""
        return max((age for age in self.stats.oldest if age is not None), default=None)

    @property
    def missing(self) -> int:
        """Messages published that are neither here nor gone for a known reason: 0, or something is wrong."""
        counters = self.stats.counters
        gone = sum(counters.get(name, 0) for name in GONE)
        return counters.get("published", 0) - gone - self.present


class Death(NamedTuple):
    """After what a message died: how often it was delivered, and how often its worker ended while it had it."""

    deliveries: int
    losses: int

    def __str__(self) -> str:
        delivered = f"{self.deliveries} {'delivery' if self.deliveries == 1 else 'deliveries'}"
        if not self.losses:
            return delivered
        all_of_them = self.losses == self.deliveries
        return f"{delivered}, {'all' if all_of_them else self.losses} to agents that ended with it in hand"


class DeadMessage(NamedTuple):
    """A message that was delivered too often, or lost too often with its worker; ``died`` is in Unix seconds."""

    queue: str
    id: str
    died: float
    priority: Priority
    deliveries: int
    losses: int
    body: bytes

    @property
    def reason(self) -> str:
        """Why it was given up."""
        return str(Death(self.deliveries, self.losses))


def names(store: Store) -> list[str]:
    """Return the names of the queues that there are; those of lapsed ones are forgotten."""
    known = keys.queue_names()
    listed = sorted(name.decode() for name in store.command(known, "SMEMBERS", known))
    there = store.commands([(keys.meta(n), ("EXISTS", keys.meta(n))) for n in listed])
    if lapsed := [name for name, exists in zip(listed, there, strict=True) if not exists]:
        store.command(known, "SREM", known, *lapsed)
    return [name for name, exists in zip(listed, there, strict=True) if exists]


def reports(store: Store, queue_names: Iterable[str] | None = None) -> list[QueueReport]:
    """Report on these queues (default: all that were declared), each at one moment of its own."""
    wanted = names(store) if queue_names is None else list(queue_names)
    bells = [keys.bell(name) for name in wanted]
    counted = store.commands([(bell, ("PUBSUB", "SHARDNUMSUB", bell)) for bell in bells])
    consumers = {name: int(count) for name, (_, count) in zip(wanted, counted, strict=True)}
    return [
        _report(store, name, Stats.sum(parts), consumers[name])
        for name, parts in partitions.read_all(store, wanted).items()
    ]


def measured(store: Store, seconds: float) -> list[QueueReport]:
    """Report on all queues with their rates, by the servers' clocks: it takes so many seconds."""
    before = {report.name: report.stats for report in reports(store)}
    time.sleep(seconds)
    return [
        report._replace(rates=rates(before[report.name], report.stats))
        if report.name in before
        else report
        for report in reports(store)
    ]


def rates(before: Stats, after: Stats) -> Rates:
    """Return the rates between two moments of one queue."""
    seconds = max(after.time - before.time, 0.001)

    def rate(counter: str) -> float:
        more = after.counters.get(counter, 0) - before.counters.get(counter, 0)
        return max(0.0, more / seconds)  # a queue that was deleted counts anew

    return Rates(rate("published"), rate("acked"))


def _report(store: Store, name: str, stats: Stats, consumers: int) -> QueueReport:
    slots = [slot_of(keys.meta(p)) for p in partitions.partitions(name, stats.partitions)]
    spots = tuple(Spot(slot, store.topology.owner(slot)) for slot in slots)
    return QueueReport(name, stats, spots, consumers)


def dead(store: Store, queue: str) -> Iterator[DeadMessage]:
    """Yield a queue's dead messages, those of each partition the longest dead first."""
    for partition in partitions.all_of(store, queue):
        yield from _dead(store, queue, partition)


def _dead(store: Store, queue: str, partition: str) -> Iterator[DeadMessage]:
    position = 0
    while page := store.run(Call(script("dead_1"), keys.queue_keys(partition), (position, _PAGE))):
        for first in range(0, len(page), 6):
            id_, died, priority, deliveries, losses, body = page[first : first + 6]
            yield DeadMessage(
                queue,
                id_.decode(),
                int(died) / 1000,
                Priority(int(priority)),
                int(deliveries),
                int(losses),
                body,
            )
        position += _PAGE


def deaths(store: Store, places: Sequence[tuple[str, str]]) -> dict[str, Death]:
    """Return which messages are dead of those named, each by its partition and its id, and after what."""
    calls = [Call(script("died_1"), keys.queue_keys(place), (id_,)) for place, id_ in places]
    found = [answer for answer in store.run_many(calls) if not isinstance(answer, ReplyError)]
    return {
        id_.decode(): Death(deliveries, losses) for id_, deliveries, losses in filter(None, found)
    }


def replay(store: Store, queue: str, ids: Iterable[str]) -> int:
    """Put dead messages back to their places, their deliveries counted anew; return how many."""
    return _on_dead(store, "replay_1", queue, ids)


def drop(store: Store, queue: str, ids: Iterable[str]) -> int:
    """Remove dead messages for good; return how many."""
    return _on_dead(store, "drop_1", queue, ids)


def _on_dead(store: Store, name: str, queue: str, ids: Iterable[str]) -> int:
    """Have every partition look for these ids: how many there were when one was published is not known."""
    wanted = list(ids)
    names = partitions.all_of(store, queue)
    calls = [Call(script(name), keys.queue_keys(partition), wanted) for partition in names]
    return on_all(store.run_many(calls))
