"""Handlers at work: batches, priorities, failures, several processes, and the end."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from omx_tasks.events import consumer, log
from omx_tasks.events.bus import Bus
from omx_tasks.events.consumer import Consumer
from omx_tasks.events.handlers import Handler, handler_of, on, once
from omx_tasks.events.log import Group
from omx_tasks.events.processor import Processor
from omx_tasks.events.types import Event
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store

Until = Callable[..., None]
Serve = Callable[..., Processor]


@pytest.fixture
def bus(cluster_url: str) -> Iterator[Bus]:
    bus = Bus(lambda: Store(cluster_url))
    yield bus
    bus.close()


@pytest.fixture
def serve(cluster_url: str) -> Iterator[Serve]:
    """Serve functions that `on` was put on; all is stopped in the end."""
    processors: list[Processor] = []
    store = Store(cluster_url, timeout=10.0)

    def start(*functions: Callable[..., Any], lease: float = 10.0) -> Processor:
        handlers = [handler for one in functions if (handler := handler_of(one))]
        processors.append(Processor(store, handlers, lease=lease).start())
        return processors[-1]

    yield start
    for processor in processors:
        assert processor.stop()
    store.close()


def dead(store: Store, handler: Handler) -> list[tuple[Event, str]]:
    found = []
    for partition in range(6):
        key = keys.event_dead(partition, handler.name)
        for _, fields in store.command(key, "XRANGE", key, "-", "+"):
            found.append((Event.read(fields[1]), fields[3].decode()))
    return found


def shares(processor: Processor) -> list[int]:
    """Return how many partitions each lane has."""
    return [sum(part.ours for part in one._parts) for one in processor.consumers]


def test_a_handler_gets_each_event_once_and_those_of_a_key_in_order(
    bus: Bus, serve: Serve, word: str, until: Until
) -> None:
    got: list[Event] = []
    serve(on(f"{word}.*", begins="oldest", name=word)(lambda event: got.append(event)))
    ids = [bus.publish(f"{word}.done", {"n": n}, key=f"k{n % 10}") for n in range(1000)]
    until(lambda: len(got) >= 1000, 60)
    assert sorted(event.id for event in got) == sorted(ids)
    for key in {event.key for event in got}:
        numbers = [event.data["n"] for event in got if event.key == key]
        assert numbers == sorted(numbers)
        places = [event.place for event in got if event.key == key and event.place]
        assert len(places) == len(numbers)
        assert places == sorted(set(places))


def test_a_handler_of_batches_gets_lists(bus: Bus, serve: Serve, word: str, until: Until) -> None:
    sizes: list[int] = []

    @on(f"{word}.*", batch=200, begins="oldest", name=word)
    def handle(events: list[Event]) -> None:
        sizes.append(len(events))

    bus.publish_many([(f"{word}.done", {}, 3)] * 5000)
    assert bus.flush(60)
    serve(handle)
    until(lambda: sum(sizes) >= 5000, 60)
    assert sum(sizes) == 5000
    assert max(sizes) <= 200
    assert len(sizes) < 100


def test_a_handler_gets_what_it_asked_for_and_nothing_else(
    bus: Bus, serve: Serve, word: str, until: Until
) -> None:
    urgent: list[str] = []
    exact: list[str] = []
    serve(
        on(f"{word}.*", priority=Priority.P0, begins="oldest", name=f"{word}-urgent")(
            lambda event: urgent.append(event.type)
        ),
        on(f"{word}.b", begins="oldest", name=f"{word}-exact")(
            lambda event: exact.append(event.type)
        ),
    )
    for name in "abc":
        bus.publish(f"{word}.{name}", priority=Priority.P0 if name == "a" else None)
    until(lambda: urgent and exact)
    assert (urgent, exact) == ([f"{word}.a"], [f"{word}.b"])


def test_the_urgent_overtakes_what_is_in_hand(
    bus: Bus, serve: Serve, word: str, until: Until
) -> None:
    got: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    @on(f"{word}.*", begins="oldest", name=word)
    def handle(event: Event) -> None:
        got.append(event.type)
        begun.set()
        assert go_on.wait(60)

    bus.publish_many([(f"{word}.slow", {}, 3, "k")] * 50)
    assert bus.flush(60)
    processor = serve(handle)
    assert begun.wait(60)
    bus.publish(f"{word}.now", priority=Priority.P0)
    assert bus.flush(60)
    (urgent,) = (one for one in processor.consumers if one.lane.urgent)
    until(lambda: urgent.lane.turn._urgent)
    assert len(got) == 1  # one call at a time
    go_on.set()
    until(lambda: len(got) == 51, 60)
    assert got[1] == f"{word}.now"


def test_what_failed_is_tried_again_when_it_is_due_and_not_at_the_next_slow_look(
    bus: Bus, serve: Serve, word: str, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "SLOW_LOOK", 60.0)
    got: list[int] = []

    @on(f"{word}.*", begins="oldest", name=word, backoff=0.05)
    def handle(event: Event) -> None:
        got.append(event.deliveries)
        if event.type.endswith("failed") and event.deliveries < 3:
            raise ConnectionError("not now")

    processor = serve(handle, lease=120.0)
    until(lambda: len(processor._bells._links._confirmed) == 6)
    bus.publish(
        f"{word}.done", key="k"
    )  # its partition is not looked at any more, when it is handled
    until(lambda: got == [1], 60)
    bus.publish(f"{word}.failed", key="k")
    until(lambda: got == [1, 1, 2, 3], 60)


def test_a_slow_or_failing_handler_holds_up_no_other(
    bus: Bus, serve: Serve, word: str, until: Until
) -> None:
    got: list[Event] = []
    release = threading.Event()

    @on(f"{word}.*", begins="oldest", name=f"{word}-slow")
    def slow(event: Event) -> None:
        assert release.wait(60)

    @on(f"{word}.*", begins="oldest", name=f"{word}-broken", backoff=60)
    def broken(event: Event) -> None:
        raise ValueError("never")

    serve(
        slow,
        broken,
        on(f"{word}.*", begins="oldest", name=f"{word}-good")(lambda event: got.append(event)),
    )
    bus.publish_many([(f"{word}.done", {}, None, "k")] * 200)
    until(lambda: len(got) == 200, 60)
    release.set()


def test_what_failed_is_tried_again_in_order_and_counted(
    bus: Bus, serve: Serve, word: str, until: Until
) -> None:
    got: list[tuple[str, int]] = []

    @on(f"{word}.*", begins="oldest", name=word, backoff=0.05)
    def handle(event: Event) -> None:
        if event.data["n"] == 3 and event.deliveries < 3:
            raise ConnectionError("not now")
        got.append((event.key, event.data["n"]))

    processor = serve(handle)
    for n in range(10):
        for key in ("a", "b"):
            bus.publish(f"{word}.done", {"n": n}, key=key)
    until(lambda: len(got) == 20, 60)
    for key in ("a", "b"):
        assert [n for one, n in got if one == key] == list(range(10))
    assert sum(one.failed for one in processor.consumers) == 4


def test_poison_is_parked_with_its_error_and_its_key_goes_on(
    bus: Bus, serve: Serve, word: str, until: Until, store: Store
) -> None:
    got: list[int] = []

    @on(f"{word}.*", batch=10, begins="oldest", name=word, backoff=0.02, deliveries=3)
    def handle(events: list[Event]) -> None:
        if any(event.data["n"] == 4 for event in events):
            raise ValueError("four")
        got.extend(event.data["n"] for event in events)

    bus.publish_many([(f"{word}.done", {"n": n}, None, "k") for n in range(10)])
    assert bus.flush(60)
    serve(handle)
    until(lambda: len(got) == 9, 60)
    assert got == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    declared = handler_of(handle)
    assert declared is not None
    ((event, error),) = dead(store, declared)
    assert (event.data, error) == ({"n": 4}, "ValueError: four")


def test_a_batch_may_return_those_that_it_failed_on(
    bus: Bus, serve: Serve, word: str, until: Until
) -> None:
    got: list[int] = []

    @on(f"{word}.*", batch=10, begins="oldest", name=word, backoff=0.02)
    def handle(events: list[Event]) -> list[Event]:
        bad = [event for event in events if event.data["n"] == 4 and event.deliveries == 1]
        got.extend(event.data["n"] for event in events if event not in bad)
        return bad

    bus.publish_many([(f"{word}.done", {"n": n}) for n in range(10)])
    assert bus.flush(60)
    serve(handle)
    until(lambda: len(got) == 10, 60)
    assert sorted(got) == list(range(10))


def test_two_processes_share_the_partitions_and_one_takes_over_when_the_other_ends(
    bus: Bus, serve: Serve, word: str, until: Until
) -> None:
    got: list[int] = []

    @on(f"{word}.*", begins="oldest", name=word)
    def handle(event: Event) -> None:
        got.append(event.data["n"])

    one = serve(handle)
    until(lambda: shares(one) == [6, 6])
    other = serve(handle)
    until(lambda: shares(one) == shares(other) == [3, 3])
    bus.publish_many([(f"{word}.done", {"n": n}, None, str(n)) for n in range(300)])
    until(lambda: len(got) == 300, 60)
    one.stop()
    until(lambda: shares(other) == [6, 6])
    bus.publish_many([(f"{word}.done", {"n": n}, None, str(n)) for n in range(300, 600)])
    until(lambda: len(got) == 600, 60)
    assert sorted(got) == list(range(600))


def test_partitions_of_a_dead_consumer_are_taken_although_others_come_first_and_are_served(
    serve: Serve, word: str, until: Until, store: Store
) -> None:
    handle = on(f"{word}.*", priority=Priority.P1, begins="oldest", name=word)(lambda _: None)
    group = Group(word, (f"{word}.*",), (Priority.P1,), begins="oldest")

    def claim(consumer: str, numbers: range, lease: int, *, wants: bool) -> None:
        mine = dataclasses.replace(group, lease=lease)
        options: dict[str, Any] = {"wants": wants, "most": 0, "new": (), "again": False}
        calls = [log.claim(n, mine, consumer, durable=False, **options) for n in numbers]
        for answer in store.run_many(calls):
            log.claimed(answer)

    claim("dead", range(3, 6), 1, wants=True)
    claim("alive", range(3), 60_000, wants=True)
    processor = serve(handle, lease=1.0)

    def taken() -> bool:
        claim("alive", range(6), 60_000, wants=False)
        return [part.ours for part in processor.consumers[0]._parts] == [False] * 3 + [True] * 3

    until(taken, 60)


def test_what_is_in_hand_at_the_end_is_told_or_given_back(
    bus: Bus, serve: Serve, word: str, until: Until
) -> None:
    got: list[int] = []
    serving: list[Consumer] = []

    @on(f"{word}.*", begins="oldest", name=word)
    def handle(event: Event) -> None:
        got.append(event.data["n"])
        if len(got) == 30:
            until(lambda: any(one._stopping for one in serving if not one.lane.urgent))

    bus.publish_many([(f"{word}.done", {"n": n}, None, "k") for n in range(5000)])
    assert bus.flush(60)
    first = serve(handle)
    serving += first.consumers
    until(lambda: len(got) == 30)
    assert first.stop()
    assert len(got) == 30
    serve(handle)
    until(lambda: len(got) >= 5000, 60)
    assert got == list(range(5000))


def test_a_long_call_keeps_its_partition(
    bus: Bus, serve: Serve, word: str, until: Until, store: Store
) -> None:
    calls: list[int] = []
    release = threading.Event()

    @on(f"{word}.*", begins="oldest", name=word)
    def handle(event: Event) -> None:
        calls.append(1)
        assert release.wait(60)

    bus.publish(f"{word}.done")
    assert bus.flush(60)
    for _ in range(2):
        serve(handle, lease=2.0)
    until(lambda: calls)
    key = keys.event_layout()  # the server's time goes on, whatever this machine does
    seconds = store.command(key, "TIME")[0]
    until(lambda: int(store.command(key, "TIME")[0]) > int(seconds) + 2)
    assert calls == [1]
    release.set()


def test_a_call_that_takes_long_is_complained_of(
    bus: Bus,
    serve: Serve,
    word: str,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(consumer, "LONG_CALL", 0.05)
    release = threading.Event()

    @on(f"{word}.*", begins="oldest", name=word)
    def hang(event: Event) -> None:
        assert release.wait(60)

    serve(hang, lease=0.5)
    event_id = bus.publish(f"{word}.done")
    says = f"handler {word} has been in one call for"
    until(lambda: any(says in text and event_id in text for text in caplog.messages))
    release.set()


def test_once_remembers_only_what_succeeded(store: Store, word: str) -> None:
    event = Event(word, "a.b", Priority.P2, "", 0.0, {})
    with pytest.raises(ValueError, match="no"), once(event, "me", store=store) as first:
        assert first
        raise ValueError("no")
    for expected in (True, False):
        with once(event, "me", store=store) as first:
            assert first is expected
    with once(event, "somebody else", store=store) as first:
        assert first
