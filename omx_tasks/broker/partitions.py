"""One queue over several slots: which queues it is made of, and in which of them a message goes.

::

    jobs, 1 partition       jobs
    jobs, 3 partitions      jobs, jobs%1.9, jobs%2.40      a message's is found by a hash of its id

A partition is a queue like any other: scripts, leases and acks know nothing of the whole. The first one has the name of
the whole, so that a queue can be partitioned while messages wait in it. The others have names whose slots lie evenly
between, however many there are.

How many there are is the publisher's choice. What is published twice must find its first copy, so the number with which
a message is published never changes: a connection has one for all its life, and a run keeps the one with which it was
submitted. Before that it is written down with the first partition, where the largest number that ever was stays:
each claim from there tells it, so consumers find partitions of which they did not know, and those to which nobody
publishes any more.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from zlib import crc32

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Stats
from omx_tasks.errors import ConfigurationError
from omx_tasks.store import keys
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.link import ReplyError
from omx_tasks.store.topology import SLOTS, slot_of

#: Partitions that one queue may have.
MOST = 64
#: Seconds after which a publisher writes its number down again: somebody may have deleted the queue.
AGAIN = 60.0
#: How far a partition's slot may be from the place that is meant for it.
_NEAR = SLOTS // 256

_MADE_HERE = re.compile(r"%\d+\.\d+$")


def partitions(queue: str, count: int) -> tuple[str, ...]:
    """Return the queues of which a queue of so many partitions is made."""
    return tuple(_partition(queue, number) for number in range(count))


def partition_of(queue: str, message_id: str, count: int) -> str:
    """Return the partition that a message belongs to."""
    return queue if count == 1 else _partition(queue, crc32(message_id.encode()) % count)


@lru_cache(keys.KEPT)
def _partition(queue: str, number: int) -> str:
    """Return the name of a partition whose slot is where it is to be: thirds first, then ninths between them."""
    if number == 0:
        return queue
    wanted = slot_of(keys.meta(queue)) + round(_between(number) * SLOTS)
    names = (f"{queue}%{number}.{attempt}" for attempt in itertools.count())
    return next(n for n in names if (slot_of(keys.meta(n)) - wanted + _NEAR) % SLOTS <= 2 * _NEAR)


def _between(number: int) -> float:
    """Return the digits of a number to the base of three, backwards, as a fraction: 1/3, 2/3, 1/9, 4/9, 7/9, 2/9, …"""
    fraction, part = 0.0, 1 / 3
    while number:
        number, digit = divmod(number, 3)
        fraction += digit * part
        part /= 3
    return fraction


def check_name(queue: str) -> None:
    """Raise `ConfigurationError` for a name that a partition of another queue may have."""
    if _MADE_HERE.search(queue):
        raise ConfigurationError(
            f"a queue cannot be named {queue!r}: what ends in %NUMBER.NUMBER is a partition of another"
        )


class Partitions:
    """How many partitions the queues have that one connection publishes to, as the option ``partitions`` says.

    That is a number for all queues, or one for each that is named: ``{"jobs": 6}``.
    """

    def __init__(self, store: Store, option: int | Mapping[str, int] = 1) -> None:
        self._store = store
        self._named = dict(option) if isinstance(option, Mapping) else {}
        self._usual = 1 if isinstance(option, Mapping) else option
        self._announced: dict[str, float] = {}
        for count in (self._usual, *self._named.values()):
            check_count(count)

    def __repr__(self) -> str:
        return f"<Partitions {self._named or self._usual}>"

    def count(self, queue: str) -> int:
        """Return how many a queue has, as far as this connection publishes to it."""
        return self._named.get(queue, self._usual)

    def announced(self, queue: str, message_id: str) -> str:
        """Return the partition for a message, once it is written down how many there are."""
        count = self.count(queue)
        if count > 1 and time.monotonic() > self._announced.get(queue, 0.0):
            self.declare(queue)
        return partition_of(queue, message_id, count)

    def declare(self, queue: str) -> None:
        """Make a queue known with its partitions."""
        self._store.run(queues.declare(queue, partitions=self.count(queue)))
        self._announced[queue] = time.monotonic() + AGAIN


def check_count(count: Any) -> None:
    """Raise `ConfigurationError` for what is no number of partitions."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST:
        raise ConfigurationError(f"partitions={count!r}: a queue has 1 to {MOST} partitions")


def read(store: Store, queue: str) -> list[Stats]:
    """Read the stats of all partitions that a queue ever had, the first one first."""
    (found,) = read_all(store, [queue]).values()
    return found


def read_all(store: Store, names: Iterable[str]) -> dict[str, list[Stats]]:
    """Read the stats of the partitions of many queues; one that cannot be read is not in the answer."""
    firsts = _stats(store, list(names))
    others = {
        queue: partitions(queue, first.partitions)[1:]
        for queue, first in firsts.items()
        if first.partitions > 1
    }
    more = _stats(store, [name for group in others.values() for name in group])
    return {
        queue: [first, *(more[name] for name in others.get(queue, ()) if name in more)]
        for queue, first in firsts.items()
    }


def _stats(store: Store, names: Sequence[str]) -> dict[str, Stats]:
    replies = store.run_many([queues.stats(name) for name in names])
    return {
        name: queues.read_stats(reply)
        for name, reply in zip(names, replies, strict=True)
        if not isinstance(reply, ReplyError)
    }


def all_of(store: Store, queue: str) -> tuple[str, ...]:
    """Return the partitions that a queue ever had."""
    first = queues.read_stats(store.run(queues.stats(queue)))
    return partitions(queue, first.partitions)


def on_all(replies: Iterable[Any]) -> int:
    """Add up what the partitions of a queue answered; raises `StoreError` where one refused."""
    total = 0
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise StoreError(f"the cluster refused a request: {reply}") from reply
        total += int(reply)
    return total
