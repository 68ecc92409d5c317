"""Partitions that change hands: what was in them, and those that nobody has any more."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from omx_tasks.events import consumer, log
from omx_tasks.events.bus import Bus
from omx_tasks.events.consumer import Consumer
from omx_tasks.events.handlers import handler_of, on
from omx_tasks.events.lanes import lanes_of
from omx_tasks.events.log import Group
from omx_tasks.events.types import Event
from omx_tasks.priorities import Priority
from omx_tasks.store.client import Store

Until = Callable[..., None]
LEASE = 1.0
LONG, SHORT = 60_000, 600


@dataclass
class Desk:
    """A consumer of a handler that nobody renews, and the numbers of the events that it was called with."""

    store: Store
    word: str
    name: str
    called: list[int] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)
    lease: float = LEASE

    def open(self) -> Consumer:
        @on(f"{self.word}.*", name=self.word, priority=Priority.P2, begins="oldest")
        def note(event: Event) -> None:
            self.called.append(event.data["n"])
            self.free.wait(60)

        handler = handler_of(note)
        assert handler is not None
        (lane,) = lanes_of(handler)
        serving = Consumer(self.store, handler, lane, 6, name=self.name, lease=self.lease)
        serving.start()
        return serving


@pytest.fixture
def bus(cluster_url: str) -> Iterator[Bus]:
    bus = Bus(lambda: Store(cluster_url))
    yield bus
    bus.close()


def publish(bus: Bus, word: str, *numbers: int, key: str = "key") -> None:
    bus.publish_many((f"{word}.x", {"n": number}, Priority.P2, key) for number in numbers)
    assert bus.flush(60)


def test_what_another_one_has_handled_meanwhile_is_not_handled_again(
    bus: Bus, store: Store, word: str, until: Until
) -> None:
    publish(bus, word, *range(10))
    late, other = Desk(store, word, "late"), Desk(store, word, "other")
    first = late.open()
    until(lambda: late.called)
    other.free.set()
    second = other.open()
    until(lambda: set(other.called) == set(range(10)))
    assert second.stop(10)
    publish(bus, word, 10)
    late.free.set()
    until(lambda: 10 in late.called)
    assert late.called == [0, 10]
    assert first.stop(10)


def test_what_a_dead_one_had_is_taken_also_beside_what_a_living_one_has(
    bus: Bus, store: Store, word: str, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it is looked at in one round, since the cluster was away: what others have must not use up the share."""
    monkeypatch.setattr(consumer, "SLOW_LOOK", 0.3)
    monkeypatch.setattr(consumer, "TIMEOUT", 0.2)
    key = next(str(n) for n in itertools.count() if log.partition_of(str(n), 6) == 3)
    publish(bus, word, 0, key=key)
    living, dying = (
        Group(word, (f"{word}.*",), lease=lease, begins="oldest") for lease in (LONG, SHORT)
    )
    options = {"most": 0, "new": (), "again": False, "durable": True}
    for number in range(6):
        store.run(log.claim(number, living, "living", wants=number < 3, **options))
    store.run(log.claim(3, dying, "dying", wants=True, **options))
    desk = Desk(store, word, "heir", lease=10.0)
    desk.free.set()
    heir = desk.open()
    until(lambda: [part.number for part in heir._parts if part.ours] == [4, 5])
    heir._store = Store("rediscluster://127.0.0.1:1", attempt=0.1)
    until(lambda: sum(part.look_at <= time.monotonic() for part in heir._parts) == 6)
    heir._store = store
    until(lambda: desk.called == [0])
    assert heir.stop(10)
