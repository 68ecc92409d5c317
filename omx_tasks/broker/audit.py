"""What is in the queues, whether it adds up, and what became of messages that nobody could finish.

Every message that was published is in exactly one place: acknowledged, failed (refused for good), waiting, leased,
delayed, dead, or removed by a purge or a drop. One script reads all of a queue at one moment, so the sum is exact
while producers and workers go on. A queue that lapsed or was deleted takes its counters along.

Each worker that consumes a queue subscribes to its doorbell: counting the subscribers counts the workers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Stats
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store
from omx_tasks.store.link import ReplyError
from omx_tasks.store.scripts import Call, script
from omx_tasks.store.topology import slot_of

#: Ways for a message to leave its queue, as counted.
GONE = ("acked", "failed", "purged", "dropped")
#: What only says how often: a message that came back, was put back from the dead ones, or was acked too late.
TIMES = ("returned", "replayed", "fenced")
_PAGE = 100


class Rates(NamedTuple):
    """Messages a second, between two moments."""

    published: float
    acked: float


class QueueReport(NamedTuple):
    """One queue at one moment, where it is, and how many workers consume it; ``rates`` only where measured."""

    name: str
    stats: Stats
    slot: int
    node: Node | None
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


class DeadMessage(NamedTuple):
    """A message that was delivered too often; ``died`` is in Unix seconds."""

    queue: str
    id: str
    died: float
    priority: Priority
    deliveries: int
    body: bytes


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
    replies = store.run_many([queues.stats(name) for name in wanted])
    return [
        _report(store, name, queues.read_stats(reply), int(consumers))
        for name, reply, (_, consumers) in zip(wanted, replies, counted, strict=True)
        if not isinstance(reply, ReplyError)
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
    slot = slot_of(keys.meta(name))
    return QueueReport(name, stats, slot, store.topology.owner(slot), consumers)


def dead(store: Store, queue: str) -> Iterator[DeadMessage]:
    """Yield a queue's dead messages, the longest dead first."""
    position = 0
    while page := store.run(Call(script("dead_1"), keys.queue_keys(queue), (position, _PAGE))):
        for first in range(0, len(page), 5):
            id_, died, priority, deliveries, body = page[first : first + 5]
            yield DeadMessage(
                queue,
                id_.decode(),
                int(died) / 1000,
                Priority(int(priority)),
                int(deliveries),
                body,
            )
        position += _PAGE


def replay(store: Store, queue: str, ids: Iterable[str]) -> int:
    """Put dead messages back to their places, their deliveries counted anew; return how many."""
    return int(store.run(Call(script("replay_1"), keys.queue_keys(queue), list(ids))))


def drop(store: Store, queue: str, ids: Iterable[str]) -> int:
    """Remove dead messages for good; return how many."""
    return int(store.run(Call(script("drop_1"), keys.queue_keys(queue), list(ids))))
