from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable
from typing import Any

from kombu import Consumer, Queue

from omx_tasks.broker import audit, queues
from omx_tasks.broker.queues import Held, Posting
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store

Until = Callable[..., None]


def _publish(store: Store, queue: str, *ids: str, **fields: int) -> None:
    store.run(queues.publish(queue, [Posting(id_, f"body of {id_}", **fields) for id_ in ids]))  # type: ignore[arg-type]


def _claim(store: Store, queue: str, **wishes: int) -> list[Held]:
    token = uuid.uuid4().hex
    call = queues.claim(queue, token, **{"most": 10, "lease": 60_000, **wishes})
    return [Held(d.id, token) for d in queues.claimed(store.run(call)).deliveries]


def _kill(store: Store, queue: str, *ids: str, until: Until) -> None:
    """Deliver messages once too often."""
    _publish(store, queue, *ids)
    _claim(store, queue, lease=1)
    until(
        lambda: (
            _claim(store, queue, most=0, deliveries=1) == []
            and audit.reports(store, [queue])[0].stats.dead == len(ids)
        )
    )


def test_every_message_is_accounted_for_wherever_it_stands(
    store: Store, queue: str, until: Until
) -> None:
    _kill(store, queue, "dead", until=until)
    _publish(store, queue, *"abcdef")
    _publish(store, queue, "later", delay=60_000)
    held = _claim(store, queue, most=3)
    store.run(queues.ack(queue, held[:1]))
    store.run(queues.ack(queue, held[1:2], outcome="failed"))
    (report,) = audit.reports(store, [queue])
    assert report.stats.waiting == (0, 0, 3, 0)
    assert (report.stats.leased, report.stats.delayed, report.stats.dead) == (1, 1, 1)
    assert report.stats.counters["published"] == 8
    assert report.missing == 0
    store.run(queues.purge(queue))
    audit.drop(store, queue, ["dead"])
    (report,) = audit.reports(store, [queue])
    assert (report.present, report.missing) == (1, 0)


def test_a_message_that_vanished_is_missed(store: Store, queue: str) -> None:
    _publish(store, queue, "a", "b")
    waiting = keys.waiting(queue, Priority.P2)
    store.command(waiting, "ZPOPMIN", waiting)
    assert audit.reports(store, [queue])[0].missing == 1


def test_it_adds_up_at_every_moment_while_others_publish_claim_and_ack(
    store: Store, queue: str
) -> None:
    stopping = threading.Event()

    def produce() -> None:
        while not stopping.is_set():
            _publish(store, queue, *(uuid.uuid4().hex for _ in range(5)))

    def consume() -> None:
        while not stopping.is_set():
            held = _claim(store, queue, most=7)
            store.run(queues.ack(queue, held[:5]))
            store.run(queues.release(queue, held[5:]))

    threads = [threading.Thread(target=work) for work in (produce, consume, consume)]
    for thread in threads:
        thread.start()
    missing = [audit.reports(store, [queue])[0].missing for _ in range(100)]
    stopping.set()
    for thread in threads:
        thread.join(10)
    assert set(missing) == {0}


def test_a_report_says_where_a_queue_is(store: Store, queue: str) -> None:
    _publish(store, queue, "a")
    (report,) = audit.reports(store, [queue])
    (spot,) = report.spots
    assert 0 <= spot.slot < 16384
    assert spot.node in store.topology.masters


def test_the_oldest_message_of_a_priority_is_found_whatever_its_rank(
    store: Store, queue: str, until: Until
) -> None:
    def oldest() -> tuple[float | None, ...]:
        return audit.reports(store, [queue])[0].stats.oldest

    assert oldest() == (None, None, None, None)
    _publish(store, queue, "old", rank=1)
    until(lambda: (oldest()[2] or 0) > 0.1)
    _publish(store, queue, "new", rank=5)
    _publish(store, queue, "newer", rank=0)
    age = oldest()[2]
    assert age is not None
    assert age > 0.1
    assert [held.id for held in _claim(store, queue, most=1)] == ["new"]
    assert (oldest()[2] or 0) >= age
    assert [held.id for held in _claim(store, queue, most=1)] == ["old"]
    assert (oldest()[2] or 0) < age


def test_messages_keep_their_order_while_the_servers_clock_stands_behind_their_numbers(
    store: Store, queue: str
) -> None:
    _publish(store, queue, "a")
    meta = keys.meta(queue)
    ahead = int(store.command(meta, "HGET", meta, "seq")) + 10**12
    store.command(meta, "HSET", meta, "seq", ahead)
    _publish(store, queue, "b", "c")
    assert int(store.command(meta, "HGET", meta, "seq")) == ahead + 2
    assert [held.id for held in _claim(store, queue)] == ["a", "b", "c"]


def test_rates_are_what_happened_between_two_moments(store: Store, queue: str) -> None:
    _publish(store, queue, "a")
    before = audit.reports(store, [queue])[0].stats
    _publish(store, queue, *(f"m{i}" for i in range(20)))
    store.run(queues.ack(queue, _claim(store, queue, most=10)))
    after = audit.reports(store, [queue])[0].stats
    rates = audit.rates(before, after)
    seconds = after.time - before.time
    assert round(rates.published * seconds) == 20
    assert round(rates.acked * seconds) == 10
    assert audit.rates(after, before) == (0, 0)


def test_each_connection_that_consumes_a_queue_is_counted(
    connect: Callable[..., Any], store: Store, queue: str, until: Until
) -> None:
    def consumers() -> int:
        return audit.reports(store, [queue])[0].consumers

    store.run(queues.declare(queue))
    assert consumers() == 0
    taking = [Consumer(connect(), [Queue(queue)]) for _ in range(2)]

    def counted() -> int:
        for consumer in taking:
            with contextlib.suppress(TimeoutError):
                consumer.connection.drain_events(timeout=0.01)
        return consumers()

    for consumer in taking:
        consumer.consume()
    until(lambda: counted() == 2)
    taking[0].cancel()
    until(lambda: counted() == 1)


def test_declared_queues_are_listed_and_lapsed_ones_are_not(
    store: Store, queue: str, until: Until
) -> None:
    for name, expires in ((queue, 0), (f"{queue}-lapsing", 20)):
        store.run(queues.declare(name, expires=expires))
        store.command(keys.queue_names(), "SADD", keys.queue_names(), name)
    until(lambda: f"{queue}-lapsing" not in audit.names(store))
    assert queue in audit.names(store)
    assert queue in [report.name for report in audit.reports(store)]


def test_dead_messages_are_listed_with_what_is_known_of_them(
    store: Store, queue: str, until: Until
) -> None:
    ids = [f"m{i:03}" for i in range(10)]
    _kill(store, queue, *ids, until=until)
    listed = list(audit.dead(store, queue))
    assert sorted(message.id for message in listed) == ids
    assert {message.deliveries for message in listed} == {1}
    assert listed[0].body == f"body of {listed[0].id}".encode()
    assert listed[0].died > 1_600_000_000


def test_a_replayed_message_is_delivered_as_if_for_the_first_time(
    store: Store, queue: str, until: Until
) -> None:
    _kill(store, queue, "a", "b", until=until)
    assert audit.replay(store, queue, ["a", "unknown"]) == 1
    assert audit.replay(store, queue, ["a"]) == 0
    assert [held.id for held in _claim(store, queue, deliveries=1)] == ["a"]
    assert [message.id for message in audit.dead(store, queue)] == ["b"]
    assert audit.reports(store, [queue])[0].missing == 0


def test_a_dropped_message_is_gone_and_known(store: Store, queue: str, until: Until) -> None:
    _kill(store, queue, "a", until=until)
    assert audit.drop(store, queue, ["a"]) == 1
    assert audit.drop(store, queue, ["a"]) == 0
    assert list(audit.dead(store, queue)) == []
    assert store.run(queues.publish(queue, [Posting("a", "x")])) == [0, 1]
