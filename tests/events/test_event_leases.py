"""A consumer that has lost a partition handles nothing of what it has in hand: another one may have done so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from omx_tasks.events.bus import Bus
from omx_tasks.events.consumer import Consumer
from omx_tasks.events.handlers import handler_of, on
from omx_tasks.events.lanes import lanes_of
from omx_tasks.events.types import Event
from omx_tasks.priorities import Priority
from omx_tasks.store.client import Store

Until = Callable[..., None]
LEASE = 1.0


@dataclass
class Desk:
    """A consumer of a handler that nobody renews, and the numbers of the events that it was called with."""

    store: Store
    word: str
    name: str
    called: list[int] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)

    def open(self) -> Consumer:
        @on(f"{self.word}.*", name=self.word, priority=Priority.P2, begins="oldest")
        def note(event: Event) -> None:
            self.called.append(event.data["n"])
            self.free.wait(20)

        handler = handler_of(note)
        assert handler is not None
        (lane,) = lanes_of(handler)
        serving = Consumer(self.store, handler, lane, 6, name=self.name, lease=LEASE)
        serving.start()
        return serving


@pytest.fixture
def bus(cluster_url: str) -> Iterator[Bus]:
    bus = Bus(lambda: Store(cluster_url))
    yield bus
    bus.close()


def publish(bus: Bus, word: str, *numbers: int) -> None:
    bus.publish_many((f"{word}.x", {"n": number}, Priority.P2, "key") for number in numbers)
    assert bus.flush(10)


def test_what_another_one_has_handled_meanwhile_is_not_handled_again(
    bus: Bus, store: Store, word: str, until: Until
) -> None:
    publish(bus, word, *range(10))
    late, other = Desk(store, word, "late"), Desk(store, word, "other")
    first = late.open()
    until(lambda: late.called)
    other.free.set()
    second = other.open()
    until(lambda: other.called == list(range(10)))
    assert second.stop(10)
    publish(bus, word, 10)
    late.free.set()
    until(lambda: 10 in late.called)
    assert late.called == [0, 10]
    assert first.stop(10)
