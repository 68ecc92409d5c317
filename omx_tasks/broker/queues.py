"""The life of a message in a queue, as calls to the stored scripts.

::

    publish ──► waiting ──claim──► leased ──ack──► done
       │           ▲                 │
       └► delayed ─┘◄── release ─────┤
              ▲    ◄── lease ended ──┤──► dead (delivered, or lost, too often)
              └────── park ──────────┘                           (wake: waiting, at its old place)

A lease that ended is a loss: the worker died, perhaps of what it held. A message that was lost twice is a suspect, and
a worker is given one suspect at a time, beside what nothing speaks against. So the one that ends its workers is found,
and takes none of the others along to the dead, however many were claimed with it at first.

A message has an id, given by its publisher: published twice, it is stored once. A claim has a token, given by
its claimer: asked for twice, it gives the same messages; only the holder of the token can ack, renew or release.
Times are the server's. Each function here makes one `Call`; who sends it, waiting or not, is the caller's matter.
All that is said here of a queue holds for each partition of one that has several (``partitions.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.scripts import Call, script


class Posting(NamedTuple):
    """A message to publish: ``rank`` is milliseconds of work that depends on it, ``delay`` milliseconds to wait."""

    id: str
    body: str | bytes
    priority: Priority = Priority.P2
    rank: int = 0
    delay: int = 0


class Delivery(NamedTuple):
    """A claimed message; ``count`` says how often it has been delivered, this time included."""

    id: str
    count: int  # type: ignore[assignment]
    body: bytes


class Claimed(NamedTuple):
    """The answer to a claim: what was got, how many of each priority still wait, ms until more may be (-1: unknown).

    The claim from a first partition also tells how many ``partitions`` there are; ``suspects`` says whether some are in
    line, ``suspect`` which of what was got is one.
    """

    deliveries: list[Delivery]
    waiting: tuple[int, ...]
    due: int
    partitions: int
    suspects: bool = False
    suspect: str = ""

    @property
    def left(self) -> int:
        """How many messages still wait."""
        return sum(self.waiting)


class Held(NamedTuple):
    """The right to one message: its id and the token of the claim that got it."""

    id: str
    token: str


def declare(queue: str, *, expires: int = 0, partitions: int = 1) -> Call:
    """Make a queue known; ``expires`` ms unused and it is deleted (0: never).

    As long as what is in its ``partitions`` must last, so long must be known how many there are.
    """
    arguments = (expires, partitions)
    return Call(script("declare_1"), keys.queue_keys(queue), arguments, durable=partitions > 1)


def publish(queue: str, postings: Iterable[Posting]) -> Call:
    """Store messages; answers ``[stored, known]``."""
    arguments: list[Any] = []
    for posting in postings:
        arguments += (posting.id, int(posting.priority), posting.rank, posting.delay, posting.body)
    return Call(script("publish_1"), keys.queue_keys(queue), arguments, durable=True)


def claim(
    queue: str,
    token: str,
    *,
    most: int,
    lease: int,
    deliveries: int = 0,
    aging: int = 0,
    least: int = Priority.P3,
    served: Iterable[int] = Priority,
    losses: int = 0,
    suspect: bool = False,
) -> Call:
    """Take up to ``most`` messages for ``lease`` ms; read the answer with `claimed`.

    One that was delivered ``deliveries`` times or lost ``losses`` times (0: no limit) is given to nobody more. One
    ``suspect`` is among them only where the claimer has none. While P3 has waited for more
    than ``aging`` ms (0: never mind) one message of eight is P3's, whatever else waits. Of what is less urgent than
    ``least`` no other is taken, and nothing of a priority that is not ``served``.
    """
    names = (*keys.queue_keys(queue), keys.receipt(queue, token))
    digits = "".join(str(int(priority)) for priority in served)
    limits = (token, most, lease, deliveries, aging, int(least), digits, losses, int(suspect))
    return Call(script("claim_1"), names, limits)


def claimed(answer: Sequence[Any]) -> Claimed:
    """Read the answer to a `claim`."""
    waiting, (due, partitions, suspects, suspect), rest = answer[:4], answer[4:8], answer[8:]
    triples = zip(rest[0::3], rest[1::3], rest[2::3], strict=True)
    deliveries = [Delivery(id_.decode(), int(count), body) for id_, count, body in triples]
    told = int(due), int(partitions), bool(suspects), suspect.decode()
    return Claimed(deliveries, tuple(waiting), *told)


def ack(queue: str, held: Iterable[Held], *, outcome: str = "acked") -> Call:
    """Say that messages are done with (``acked``, or ``failed`` when refused); answers [done, repeated, fenced]."""
    return Call(script("ack_1"), keys.queue_keys(queue), (outcome, *_flat(held)))


def renew(queue: str, held: Iterable[Held], *, lease: int) -> Call:
    """Extend leases to ``lease`` ms from now; answers the ids that are no longer held."""
    return Call(script("renew_1"), keys.queue_keys(queue), (lease, *_flat(held)))


def release(queue: str, held: Iterable[Held], *, delay: int = 0, unbegun: bool = False) -> Call:
    """Give messages back to their places, after ``delay`` ms; answers how many.

    The delivery of what nobody began (``unbegun``) does not count: it says nothing against the message.
    """
    arguments = (delay, int(unbegun), *_flat(held))
    return Call(script("release_1"), keys.queue_keys(queue), arguments)


def withdraw(queue: str, ids: Iterable[str]) -> Call:
    """Remove these messages where nobody holds them; answers how many."""
    return Call(script("withdraw_1"), keys.queue_keys(queue), list(ids))


def park(queue: str, held: Iterable[Held], *, delay: int) -> Call:
    """Set messages aside that cannot be done now, until they are woken or ``delay`` ms have passed; answers how many.

    One that was woken while it was held goes back to its place at once: no matter which of the two comes first.
    """
    return Call(script("park_1"), keys.queue_keys(queue), (delay, *_flat(held)))


def wake(queue: str, ids: Iterable[str]) -> Call:
    """Have parked messages claimed again; answers how many of them there are."""
    return Call(script("wake_1"), keys.queue_keys(queue), tuple(ids), durable=True)


def purge(queue: str) -> Call:
    """Remove what waits; answers how many."""
    return Call(script("purge_1"), keys.queue_keys(queue))


def delete(queue: str) -> Call:
    """Remove a queue and all in it."""
    return Call(script("delete_1"), keys.queue_keys(queue))


def sweep(queue: str, *, deliveries: int = 0, losses: int = 0) -> Call:
    """Bring a queue up to date that perhaps nobody claims from; answers [returned, dead, due] (`sweep_1.lua`)."""
    return Call(script("sweep_1"), keys.queue_keys(queue), (deliveries, losses))


def retire(queue: str, *, unused: int) -> Call:
    """Delete a queue if nothing is in it and nothing came for ``unused`` ms; answers 1 or 0."""
    return Call(script("retire_1"), keys.queue_keys(queue), (unused,))


def stats(queue: str) -> Call:
    """Read lengths and counters; read the answer with `read_stats`."""
    return Call(script("stats_1"), keys.queue_keys(queue))


class Stats(NamedTuple):
    """One queue at one moment: messages waiting per priority, leased, delayed, dead, and its counters.

    ``oldest`` is how many seconds the longest waiting message of each priority has been there, None where none
    waits; ``time`` is the server's, in Unix seconds. The ``suspects`` are among those that wait.
    """

    waiting: tuple[int, int, int, int]
    leased: int
    delayed: int
    dead: int
    counters: dict[str, int]
    oldest: tuple[float | None, ...]
    time: float
    partitions: int = 1
    suspects: int = 0

    @classmethod
    def sum(cls, parts: Sequence[Stats]) -> Stats:
        """Return the stats of a queue from those of its partitions, the first one first."""
        counters: Counter[str] = Counter()
        for part in parts:
            counters.update(part.counters)
        p0, p1, p2, p3 = (sum(counts) for counts in zip(*(p.waiting for p in parts), strict=True))
        ages = zip(*(part.oldest for part in parts), strict=True)
        return cls(
            (p0, p1, p2, p3),
            sum(part.leased for part in parts),
            sum(part.delayed for part in parts),
            sum(part.dead for part in parts),
            dict(counters),
            tuple(max((a for a in of_one if a is not None), default=None) for of_one in ages),
            parts[0].time,
            parts[0].partitions,
            sum(part.suspects for part in parts),
        )


def read_stats(answer: Sequence[Any]) -> Stats:
    """Read the answer to `stats`."""
    time, *rest = answer
    ages, (p0, p1, p2, p3) = rest[:4], rest[4:8]
    leased, delayed, dead, partitions, suspects = rest[8:13]
    names, values = rest[13::2], rest[14::2]
    counters = {name.decode(): int(value) for name, value in zip(names, values, strict=True)}
    oldest = tuple(age / 1000 if age >= 0 else None for age in ages)
    waiting = (p0, p1, p2, p3)
    counted = (leased, delayed, dead, counters, oldest, time / 1000, partitions, suspects)
    return Stats(waiting, *counted)


def _flat(held: Iterable[Held]) -> list[str]:
    return [word for pair in held for word in pair]
