"""The log of events in the store, and the calls to its scripts.

::

    publish ──► log of (partition, priority) ──claim──► in a consumer's hand ──ack──► behind the group's cursor
                  │  entries 1, 2, 3 …                     │
                  │                                        └──failed──► the group's retry line ──► again, or dead
                  └──► watchers read it, too: a log keeps its history

A partition is a slot of its own, chosen by an event's key; a log of it is a stream with dense numbers, so where a
group stands is one number, and what is left for it a subtraction. Every group of handlers has a cursor in each log:
a slow or failing one holds up nobody but itself. Order is kept among events of one key and one priority.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, script

#: Milliseconds for which a producer's last batch is remembered in each partition.
REMEMBERED = 86_400_000


@dataclass(frozen=True)
class Keeping:
    """How much a log keeps: its last ``history`` events, and up to ``limit`` that some group has not handled.

    A group that has not claimed for ``patience`` seconds does not count where there would be more.
    """

    history: int = 10_000
    limit: int = 1_000_000
    patience: float = 3600.0


class Entry(NamedTuple):
    """An event on its way into a log."""

    priority: int
    type: str
    key: str
    text: str


class Given(NamedTuple):
    """An event in a consumer's hand. ``place`` is its number, or its member of the retry line."""

    kind: str
    priority: Priority
    place: str
    tried: int
    text: bytes


class Claim(NamedTuple):
    """The answer to a claim: whether the partition is ours, and what of it is in hand now.

    ``due``: ms until something is to be tried again (-1: nothing), or until the other consumer's lease ends.
    """

    ours: bool
    due: int
    consumers: int
    more: frozenset[Priority] = frozenset()
    looked_to: tuple[int, int, int, int] = (-1, -1, -1, -1)
    given: Sequence[Given] = ()


@dataclass(frozen=True)
class Group:
    """A group of handlers: its name, what it wants, and how it is served. ``lease`` is milliseconds."""

    name: str
    patterns: tuple[str, ...]
    priorities: tuple[Priority, ...] = tuple(Priority)
    deliveries: int = 5
    lease: int = 10_000
    begins: str = "new"


def open_log(store: Store, partitions: int, *, timeout: float | None = None) -> int:
    """Return how many partitions the log has; ``partitions`` when nobody has said so before."""
    call = Call(script("event_open_1"), (keys.event_layout(),), (partitions,), durable=True)
    return int(store.run(call, timeout=timeout))


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key."""
    return binascii.crc32(key.encode()) % partitions


def publish(
    partition: int,
    producer: str,
    number: int,
    entries: Iterable[Entry],
    *,
    keeping: Keeping,
    unknown: int = 0,
) -> Call:
    """Store a producer's batch of this number; answers ``stored``, ``known`` or ``full``."""
    names = (*keys.event_log_keys(partition), keys.event_producer(partition, producer))
    patience = round(keeping.patience * 1000)
    arguments: list[Any] = [number, keeping.history, keeping.limit, patience, REMEMBERED, unknown]
    for entry in entries:
        arguments += entry
    return Call(script("event_publish_1"), names, arguments, durable=True)


def claim(
    partition: int,
    group: Group,
    consumer: str,
    *,
    wants: bool,
    most: int,
    new: Iterable[Priority],
    again: bool,
    durable: bool,
) -> Call:
    """Take, or keep, a partition and its next events; read the answer with `claimed`.

    ``durable``: who has it must outlive its master, as when it changes hands.
    """
    arguments = (
        group.name,
        consumer,
        int(wants),
        group.lease,
        most,
        group.deliveries,
        group.begins,
        "".join(str(int(priority)) for priority in sorted(new)),
        int(again),
        "".join(str(int(priority)) for priority in group.priorities),
        *group.patterns,
    )
    names = keys.event_group_keys(partition, group.name)
    return Call(script("event_claim_1"), names, arguments, durable)


def claimed(answer: Sequence[Any]) -> Claim:
    """Read the answer to a `claim`."""
    if answer[0] == b"busy":
        return Claim(ours=False, due=int(answer[1]), consumers=int(answer[2]))
    _, due, consumers, more, looked_to, flat = answer
    given = [
        Given(kind.decode(), Priority(int(priority)), place.decode(), int(tried), text)
        for kind, priority, place, tried, text in zip(
            *(flat[start::5] for start in range(5)), strict=True
        )
    ]
    first, second, third, fourth = (int(number) for number in looked_to)
    return Claim(
        True,
        int(due),
        int(consumers),
        frozenset(Priority(int(digit)) for digit in more.decode()),
        (first, second, third, fourth),
        given,
    )


def ack(
    partition: int, group: Group, consumer: str, words: Iterable[Any], *, gives_back: bool = False
) -> Call:
    """Say what became of events, in the words of the script; answers ``done`` or ``fenced``."""
    names = keys.event_group_keys(partition, group.name)
    arguments = (group.name, consumer, int(gives_back), *words)
    return Call(script("event_ack_1"), names, arguments, durable=True)
