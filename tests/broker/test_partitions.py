"""A queue over several slots: looks like one, keeps what one keeps, and may grow and shrink with messages in it."""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from kombu import Consumer, Producer, Queue

from omx_tasks.broker import audit, queues
from omx_tasks.broker.partitions import MOST, partition_of, partitions
from omx_tasks.broker.queues import Held, Posting
from omx_tasks.errors import ConfigurationError
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.topology import SLOTS, slot_of

Connect = Callable[..., Any]
Until = Callable[..., None]
COUNT = 60


def _publish(connection: Any, queue: str, numbers: Sequence[int], **options: Any) -> None:
    producer = Producer(connection)
    for number in numbers:
        producer.publish(number, routing_key=queue, declare=[Queue(queue)], **options)


def _consume(connection: Any, queue: str, prefetch: int = 0) -> tuple[list[int], Any]:
    got: list[int] = []

    def take(body: int, message: Any) -> None:
        got.append(body)
        message.ack()

    consumer = Consumer(connection.channel(), [Queue(queue)], callbacks=[take])
    consumer.qos(prefetch_count=prefetch)
    consumer.consume()
    return got, consumer


def _drain(connection: Any, got: Sequence[int], count: int) -> None:
    while len(got) < count:
        connection.drain_events(timeout=10)


def _lengths(store: Store, queue: str, count: int) -> list[int]:
    """Return how many messages wait in each of so many partitions."""
    replies = store.run_many([queues.stats(name) for name in partitions(queue, count)])
    return [sum(queues.read_stats(reply).waiting) for reply in replies]


def _kill(store: Store, queue: str, until: Until) -> None:
    """Deliver what waits once too often."""
    names = partitions(queue, 3)

    def claim(most: int, lease: int) -> int:
        calls = [
            queues.claim(name, uuid.uuid4().hex, most=most, lease=lease, deliveries=1)
            for name in names
        ]
        return sum(len(queues.claimed(reply).deliveries) for reply in store.run_many(calls))

    waiting = sum(_lengths(store, queue, 3))
    assert claim(waiting, 1) == waiting
    until(lambda: not claim(0, 1) and audit.reports(store, [queue])[0].stats.dead == waiting)


# --- names and places -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["jobs", "omx.server:time", "other {queue}"])
def test_partitions_lie_evenly_over_the_slots_and_the_first_is_the_queue_itself(name: str) -> None:
    names = partitions(name, 9)
    assert names[0] == name
    assert partitions(name, 4) == names[:4]
    first = slot_of(keys.meta(name))
    thirds = [round((slot_of(keys.meta(n)) - first) % SLOTS / SLOTS * 3) % 3 for n in names[:3]]
    assert sorted(thirds) == [0, 1, 2]
    ninths = [round((slot_of(keys.meta(n)) - first) % SLOTS / SLOTS * 9) % 9 for n in names]
    assert sorted(ninths) == list(range(9))


def test_messages_are_spread_and_each_has_its_place() -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(3000)]
    places = Counter(partition_of("jobs", id_, 6) for id_ in ids)
    assert places.keys() == set(partitions("jobs", 6))
    assert min(places.values()) > 400
    assert partition_of("jobs", "a", 1) == "jobs"


@pytest.mark.parametrize("wrong", [0, MOST + 1, "3", True, {"jobs": 0}])
def test_what_is_no_number_of_partitions_is_refused(connect: Connect, wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="a queue has 1 to 64 partitions"):
        connect(partitions=wrong)


def test_a_name_that_a_partition_may_have_is_refused(connect: Connect) -> None:
    with pytest.raises(ConfigurationError, match="is a partition of another"):
        Queue("jobs%1.9", channel=connect()).declare()


# --- one queue ------------------------------------------------------------------------------------------


def test_a_queue_with_partitions_is_one_for_whoever_looks(
    connect: Connect, store: Store, queue: str
) -> None:
    connection = connect(partitions=3)
    _publish(connection, queue, range(COUNT))
    assert min(_lengths(store, queue, 3)) > 0

    channel = connect().default_channel
    assert channel._size(queue) == COUNT
    assert queue in audit.names(store)
    assert not set(partitions(queue, 3)[1:]) & set(audit.names(store))
    (report,) = audit.reports(store, [queue])
    assert sum(report.stats.waiting) == COUNT
    assert report.stats.counters == {"published": COUNT}
    assert (report.missing, len(report.spots)) == (0, 3)
    assert len({spot.node for spot in report.spots}) >= 2

    assert channel.queue_purge(queue) == COUNT
    assert _lengths(store, queue, 3) == [0, 0, 0]
    assert audit.reports(store, [queue])[0].missing == 0


def test_a_deleted_queue_leaves_nothing(connect: Connect, store: Store, queue: str) -> None:
    _publish(connect(partitions=3), queue, range(COUNT))
    connect().default_channel.queue_delete(queue)
    names = [key for partition in partitions(queue, 3) for key in keys.queue_keys(partition)]
    assert not any(store.commands([(key, ("EXISTS", key)) for key in names]))


def test_single_messages_are_got_from_all_partitions_the_urgent_first(
    connect: Connect, queue: str
) -> None:
    connection = connect(partitions=3)
    priorities = [random.Random(3).randrange(4) for _ in range(COUNT)]
    for number, priority in enumerate(priorities):
        _publish(connection, queue, [number], priority=priority)
    channel = connect().default_channel
    got = [channel.basic_get(queue, no_ack=True).payload for _ in range(COUNT)]
    assert [priorities[number] for number in got] == sorted(priorities)
    assert channel.basic_get(queue) is None


def test_only_the_queues_that_are_named_have_partitions(
    connect: Connect, store: Store, queue: str
) -> None:
    connection = connect(partitions={queue: 3})
    _publish(connection, queue, range(COUNT))
    _publish(connection, f"{queue}-other", range(COUNT))
    assert len(audit.reports(store, [queue])[0].spots) == 3
    assert len(audit.reports(store, [f"{queue}-other"])[0].spots) == 1


def test_dead_messages_of_all_partitions_are_listed_put_back_and_dropped(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    _publish(connect(partitions=3), queue, range(COUNT))
    _kill(store, queue, until)
    dead = list(audit.dead(store, queue))
    assert len(dead) == COUNT
    assert {message.queue for message in dead} == {queue}
    ids = [message.id for message in dead]
    assert audit.replay(store, queue, ids[:20]) == 20
    assert audit.drop(store, queue, ids) == COUNT - 20
    (report,) = audit.reports(store, [queue])
    assert (sum(report.stats.waiting), report.missing) == (20, 0)


# --- order ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [1, 4, 50])
def test_what_is_more_urgent_goes_first_whatever_partition_it_is_in(
    connect: Connect, queue: str, prefetch: int
) -> None:
    count = 300
    priorities = [random.Random(prefetch).randrange(4) for _ in range(count)]
    publishing, consuming = connect(partitions=6), connect(partitions=6)
    for number, priority in enumerate(priorities):
        _publish(publishing, queue, [number], priority=priority)
    got, _ = _consume(consuming, queue, prefetch)
    _drain(consuming, got, count)
    assert [priorities[number] for number in got] == sorted(priorities)


def test_what_comes_into_another_partition_is_heard_of_while_there_is_a_backlog(
    connect: Connect, store: Store, queue: str
) -> None:
    """With one slot, only one partition is asked at a time: the others must say that they have something urgent."""
    publishing, consuming = connect(partitions=3), connect(partitions=3)
    _publish(publishing, queue, range(COUNT), priority=Priority.P3)
    got, _ = _consume(consuming, queue, prefetch=1)
    _drain(consuming, got, 10)
    for number in range(COUNT, COUNT + 9):
        _publish(publishing, queue, [number], priority=Priority.P0)
        before = len(got)
        while number not in got:
            consuming.drain_events(timeout=10)
        assert len(got) - before <= 3, "what was claimed already, and no more"
    _drain(consuming, got, COUNT + 9)


def test_of_what_is_less_urgent_than_asked_for_only_the_share_of_age_is_given(
    store: Store, queue: str, until: Until
) -> None:
    postings = [
        Posting(f"{priority}-{n}", "x", Priority(priority))
        for priority in range(4)
        for n in range(9)
    ]

    def claim(least: int, aging: int = 0) -> list[str]:
        call = queues.claim(
            queue, uuid.uuid4().hex, most=32, lease=60_000, least=least, aging=aging
        )
        return [delivery.id[0] for delivery in queues.claimed(store.run(call)).deliveries]

    store.run(queues.publish(queue, postings))
    assert claim(0) == ["0"] * 9
    assert claim(0) == []
    assert claim(1) == ["1"] * 9
    until(lambda: audit.reports(store, [queue])[0].stats.oldest[3] > 0.01)
    assert claim(1, aging=1) == ["3"] * 4
    assert claim(3) == ["2"] * 9 + ["3"] * 5


# --- nothing twice, nothing lost ------------------------------------------------------------------------


def test_a_message_published_again_is_known_in_its_partition(
    connect: Connect, store: Store, queue: str
) -> None:
    channel = connect(partitions=6).default_channel
    message = channel.prepare_message("1", properties={"delivery_mode": 2})
    for _ in range(3):
        channel.basic_publish(message, exchange="", routing_key=queue)
    assert channel._size(queue) == 1


def test_a_consumer_finds_partitions_of_which_it_did_not_know(connect: Connect, queue: str) -> None:
    """Those that came before it, with other settings, and those that come while it consumes."""
    _publish(connect(partitions=3), queue, range(COUNT))
    consuming = connect()
    got, _ = _consume(consuming, queue)
    _drain(consuming, got, COUNT)
    _publish(connect(partitions=7), queue, range(COUNT, 2 * COUNT))
    _drain(consuming, got, 2 * COUNT)
    assert sorted(got) == list(range(2 * COUNT))


@pytest.mark.parametrize("counts", [(1, 6), (6, 1), (2, 5, 3)])
def test_messages_that_wait_while_the_number_changes_are_delivered_once(
    connect: Connect, store: Store, queue: str, counts: tuple[int, ...]
) -> None:
    for position, count in enumerate(counts):
        numbers = range(position * COUNT, (position + 1) * COUNT)
        _publish(connect(partitions=count), queue, numbers)
    assert len(audit.reports(store, [queue])[0].spots) == max(counts)
    consuming = connect(partitions=counts[-1])
    got, consumer = _consume(consuming, queue)
    _drain(consuming, got, COUNT * len(counts))
    assert sorted(got) == list(range(COUNT * len(counts)))
    consumer.cancel()


def test_what_a_consumer_held_that_went_away_comes_back_to_its_partitions(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    _publish(connect(partitions=3), queue, range(COUNT))
    lost = [
        queues.claim(name, uuid.uuid4().hex, most=5, lease=300) for name in partitions(queue, 3)
    ]
    store.run_many(lost)
    assert audit.reports(store, [queue])[0].stats.leased == 15
    consuming = connect(partitions=3)
    got, _ = _consume(consuming, queue)
    _drain(consuming, got, COUNT)
    until(lambda: audit.reports(store, [queue])[0].stats.counters.get("acked") == COUNT)
    assert audit.reports(store, [queue])[0].missing == 0


def test_a_cancelled_consumer_gives_back_what_it_gets_from_any_partition(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    connection = connect(partitions=3)
    got, consumer = _consume(connection, queue)
    _publish(connect(partitions=3), queue, [0])
    _drain(connection, got, 1)
    consumer.cancel()
    _publish(connect(partitions=3), queue, range(1, COUNT))
    connection.release()
    until(lambda: audit.reports(store, [queue])[0].consumers == 0)
    until(lambda: sum(_lengths(store, queue, 3)) == COUNT - len(got))


def test_a_message_with_a_delay_comes_from_its_partition_when_it_is_due(
    connect: Connect, store: Store, queue: str
) -> None:
    names = partitions(queue, 3)
    connection = connect(partitions=3)
    message = connection.default_channel.prepare_message("1", content_type="application/json")
    for name in names:
        posting = Posting(f"in {name}", json.dumps(message), delay=200)
        store.run(queues.publish(name, [posting]))
    store.run(queues.declare(queue, partitions=3))
    connection = connect()
    got, _ = _consume(connection, queue)
    _drain(connection, got, 3)


def test_an_ack_reaches_the_partition_that_gave_the_message(store: Store, queue: str) -> None:
    name = partitions(queue, 3)[2]
    store.run(queues.publish(name, [Posting("a", "x")]))
    (got,) = queues.claimed(store.run(queues.claim(name, "mine", most=1, lease=60_000))).deliveries
    assert store.run(queues.ack(name, [Held(got.id, "mine")])) == [1, 0, 0]
