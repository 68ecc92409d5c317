"""The transport as kombu's users see it: exchanges, consuming, acks, many queues on few connections."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.pools import producers

from omx_tasks.broker import queues
from omx_tasks.broker.channel import posting
from omx_tasks.broker.poller import SLOW_POLL
from omx_tasks.broker.queues import Posting
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store

Connect = Callable[..., Any]
Until = Callable[..., None]


def _collect(connection: Any, count: int, seconds: float = 5.0) -> None:
    """Drain until ``count`` deliveries came."""
    deadline = time.monotonic() + seconds
    for _ in range(count):
        connection.drain_events(timeout=max(0.01, deadline - time.monotonic()))


def _consume(connection: Any, queue: Any, **options: Any) -> tuple[list[Any], Any]:
    got: list[Any] = []
    consumer = Consumer(
        connection.channel(), [queue], callbacks=[lambda _body, message: got.append(message)],
        **options,
    )  # fmt: skip
    consumer.consume()
    return got, consumer


def _direct(queue: str) -> Queue:
    return Queue(queue, Exchange(f"ex-{queue}", type="direct"), routing_key=queue)


def _stats(store: Store, queue: str) -> queues.Stats:
    return queues.read_stats(store.run(queues.stats(queue)))


def test_a_message_goes_through_a_direct_exchange_and_its_ack_removes_it(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    connection = connect()
    got, _ = _consume(connection, _direct(queue))
    Producer(connection).publish({"a": 1}, exchange=f"ex-{queue}", routing_key=queue)
    _collect(connection, 1)
    assert got[0].payload == {"a": 1}
    assert _stats(store, queue).leased == 1
    got[0].ack()
    until(lambda: _stats(store, queue).counters.get("acked") == 1)


def test_a_publisher_finds_queues_that_other_processes_bound(connect: Connect, queue: str) -> None:
    consuming, publishing = connect(), connect()
    got, _ = _consume(consuming, _direct(queue))
    exchange = Exchange(f"ex-{queue}", type="direct")
    Producer(publishing, exchange).publish("x", routing_key=queue)
    _collect(consuming, 1)
    assert len(got) == 1


@pytest.mark.parametrize(
    ("key", "reached"), [("a.b", {"star", "hash"}), ("a.b.c", {"hash"}), ("b", set())]
)
def test_a_topic_exchange_reaches_the_queues_whose_pattern_matches(
    connect: Connect, queue: str, key: str, reached: set[str]
) -> None:
    connection = connect()
    exchange = Exchange(f"topic-{queue}", type="topic")
    for name, pattern in (("star", "a.*"), ("hash", "a.#")):
        Queue(f"{queue}-{name}", exchange, routing_key=pattern, channel=connection).declare()
    Producer(connection, exchange).publish("x", routing_key=key)
    channel = connection.default_channel
    assert {n for n in ("star", "hash") if channel.basic_get(f"{queue}-{n}")} == reached


def test_a_fanout_reaches_every_connection_and_keeps_nothing(connect: Connect, queue: str) -> None:
    exchange = Exchange(f"fan-{queue}", type="fanout")
    listening = [connect(), connect()]
    heard = [
        _consume(connection, Queue(f"{queue}-{number}", exchange))[0]
        for number, connection in enumerate(listening)
    ]
    publisher = Producer(connect(), exchange)
    for connection, got in zip(listening, heard, strict=True):
        _until_subscribed(connection)
        assert got == []
    publisher.publish("hear, hear")
    for connection, got in zip(listening, heard, strict=True):
        _collect(connection, 1)
        assert [message.payload for message in got] == ["hear, hear"]


def test_a_broadcast_that_is_sent_as_soon_as_a_consumer_consumes_is_heard(
    connect: Connect, queue: str
) -> None:
    exchange = Exchange(f"fan-{queue}", type="fanout")
    publisher = Producer(connect(), exchange)
    publisher.publish("nobody is there")
    connection = connect()
    got, _ = _consume(connection, Queue(f"{queue}-box", exchange))
    publisher.publish("hear, hear")
    _collect(connection, 1)
    assert [message.payload for message in got] == ["hear, hear"]


def test_a_broadcast_whose_confirmation_was_lost_is_sent_again_and_heard_once(
    connect: Connect, queue: str
) -> None:
    exchange = Exchange(f"fan-{queue}", type="fanout")
    connection, channel = connect(), connect().default_channel
    got, _ = _consume(connection, Queue(f"{queue}-box", exchange))
    put = channel._put_fanout
    channel._put_fanout = lambda *what, **how: [put(*what, **how) for _ in range(2)]
    for number in (1, 2):
        Producer(channel, exchange).publish(number)
    while len(got) < 2:
        connection.drain_events(timeout=60)
    assert [message.payload for message in got] == [1, 2]


def _until_subscribed(connection: Any) -> None:
    """Drive the poller until every subscription is confirmed."""
    links = connection.transport.poller._links
    deadline = time.monotonic() + 5
    while not links._subscribed or any(link.waiting for link in links._links.values()):
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.01)
        assert time.monotonic() < deadline


def test_a_fanout_queue_declared_again_on_another_channel_still_hears(
    connect: Connect, queue: str
) -> None:
    """Celery's remote control does so after an error in a handler."""
    connection = connect()
    fan = Queue(f"{queue}-box", Exchange(f"fan-{queue}", type="fanout"))
    _, first = _consume(connection, fan)
    first.channel.close()
    got, _ = _consume(connection, fan)
    _until_subscribed(connection)
    Producer(connect(), fan.exchange).publish("again")
    _collect(connection, 1)
    assert len(got) == 1


def test_getting_one_message_at_once(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    channel = connect().default_channel
    simple = Queue(queue, channel=channel)
    simple.declare()
    assert simple.get() is None
    Producer(channel).publish("x", routing_key=queue)
    message = simple.get()
    message.reject()
    until(lambda: _stats(store, queue).counters.get("failed") == 1)
    Producer(channel).publish("y", routing_key=queue)
    assert simple.get(no_ack=True).payload == "y"
    until(lambda: _stats(store, queue).counters.get("acked") == 1)


def test_no_more_messages_come_than_the_prefetch_allows(
    connect: Connect, store: Store, queue: str
) -> None:
    connection = connect()
    producer = Producer(connection)
    for number in range(5):
        producer.publish(number, routing_key=queue)
    got, _ = _consume(connection, Queue(queue), prefetch_count=2)
    _collect(connection, 1)
    assert [message.payload for message in got] == [0, 1]
    assert _stats(store, queue).leased == 2
    got[0].ack()
    _collect(connection, 1)
    assert [message.payload for message in got] == [0, 1, 2]


def test_a_consumer_without_acks_takes_messages_for_good(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    connection = connect()
    got, _ = _consume(connection, Queue(queue), no_ack=True)
    Producer(connection).publish("x", routing_key=queue)
    _collect(connection, 1)
    assert len(got) == 1
    until(lambda: _stats(store, queue).counters.get("acked") == 1)


def test_a_message_given_back_is_marked_when_it_comes_again(connect: Connect, queue: str) -> None:
    connection = connect()
    got, _ = _consume(connection, Queue(queue))
    Producer(connection).publish("x", routing_key=queue)
    _collect(connection, 1)
    assert got[0].delivery_info["redelivered"] is False
    got[0].requeue()
    _collect(connection, 1)
    assert got[1].delivery_info["redelivered"] is True
    assert got[1].headers["redelivered"] is True


def test_closing_a_connection_gives_back_what_it_holds_at_once(
    connect: Connect, store: Store, queue: str
) -> None:
    connection = connect(lease=60_000)
    producer = Producer(connect())
    for number in range(3):
        producer.publish(number, routing_key=queue)
    _consume(connection, Queue(queue))
    _collect(connection, 1)
    assert _stats(store, queue).leased == 3
    connection.release()
    assert _stats(store, queue).leased == 0
    assert sum(_stats(store, queue).waiting) == 3


def test_a_closed_connection_ends_with_the_last_message_that_somebody_worked_on(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    connection = connect(lease=300)
    Producer(connect()).publish("x", routing_key=queue)
    got, _ = _consume(connection, Queue(queue))
    _collect(connection, 1)
    transport = connection.transport
    connection.release()
    assert transport.courier.running
    got[0].ack()
    until(lambda: not transport.courier.running)
    until(lambda: _stats(store, queue).counters.get("acked") == 1)


def test_a_connection_forgets_its_closed_channels(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    connection = connect(lease=300)
    Producer(connect()).publish("x", routing_key=queue)
    channel = connection.channel()
    Queue(queue)(channel).declare()
    message = channel.basic_get(queue)
    channel.close()
    assert connection.transport._kept
    message.ack()
    until(lambda: not connection.transport._kept)
    until(lambda: _stats(store, queue).counters.get("acked") == 1)


def test_a_message_of_a_closed_channel_may_be_forgotten_at_any_moment(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    """The interpreter's cleaner comes unasked, also to a thread that is busy with the channel's leases."""
    Producer(connect()).publish("x", routing_key=queue)
    channel = connect(lease=60_000).channel()
    Queue(queue)(channel).declare()
    messages = [channel.basic_get(queue)]
    leases = channel.qos
    channel.close()

    def forget() -> None:
        with leases._lock:
            messages.clear()

    forgetful = threading.Thread(target=forget, daemon=True)
    forgetful.start()
    forgetful.join(5)
    assert not forgetful.is_alive()
    until(lambda: sum(_stats(store, queue).waiting) == 1)


def test_what_a_cancelled_claim_gets_is_given_back_when_the_connection_closes(
    connect: Connect, store: Store, queue: str
) -> None:
    """The claim was sent, its answer not read, when the consumer is cancelled."""
    connection = connect(lease=60_000)
    _, consumer = _consume(connection, Queue(queue))
    poller = connection.transport.poller
    _until_subscribed(connection)
    Producer(connect()).publish("x", routing_key=queue)
    poller._rang(keys.bell(queue), b"2")
    poller.tick()
    assert poller._consumptions[keys.bell(queue)].link is not None
    consumer.cancel()
    connection.release()
    assert _stats(store, queue).leased == 0
    assert sum(_stats(store, queue).waiting) == 1


def test_a_callback_that_fails_does_not_lose_what_came_with_its_message(
    connect: Connect, queue: str
) -> None:
    connection = connect()
    producer = Producer(connection)
    for number in range(3):
        producer.publish(number, routing_key=queue)
    got: list[Any] = []

    def fail_once(_body: Any, message: Any) -> None:
        got.append(message)
        if len(got) == 1:
            raise RuntimeError("a faulty callback")

    consumer = Consumer(connection.channel(), [Queue(queue)], callbacks=[fail_once])
    consumer.consume()
    with pytest.raises(RuntimeError, match="a faulty callback"):
        _collect(connection, 1)
    while len(got) < 3:
        _collect(connection, 1)
    assert [message.payload for message in got] == [0, 1, 2]


def test_queues_with_a_backlog_take_turns(connect: Connect, queue: str) -> None:
    connection = connect()
    producer = Producer(connection)
    names = [f"{queue}-{letter}" for letter in "abcdef"]
    for name in names:
        for _ in range(10):
            producer.publish(name, routing_key=name)
    got: list[Any] = []

    def take(body: Any, message: Any) -> None:
        got.append(body)
        message.ack()

    consumer = Consumer(
        connection.channel(), [Queue(n) for n in names], callbacks=[take], prefetch_count=2
    )
    consumer.consume()
    while len(got) < 24:
        _collect(connection, 1)
    assert set(got) == set(names)


def test_an_idle_consumer_is_rung_and_does_not_poll(
    connect: Connect, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next slow poll is an hour away, so a message that comes at all came with a ring."""
    monkeypatch.setattr("omx_tasks.broker.poller.SLOW_POLL", 3600.0)
    connection = connect(lease=3_600_000)
    got, _ = _consume(connection, Queue(queue))
    _until_subscribed(connection)
    producer = Producer(connect())
    for number in range(20):
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0)
        assert not connection.transport.poller._consumptions[keys.bell(queue)].hungry
        producer.publish(number, routing_key=queue)
        _collect(connection, 1)
    assert [message.payload for message in got] == list(range(20))


def test_thirty_queues_take_one_connection_per_master(connect: Connect, queue: str) -> None:
    connection = connect()
    names = [f"{queue}-{number}" for number in range(30)]
    got: list[Any] = []

    def take(body: Any, message: Any) -> None:
        got.append(body)
        message.ack()

    queues_ = [Queue(name) for name in names]
    Consumer(connection.channel(), queues_, callbacks=[take]).consume()
    producer = Producer(connect())
    for name in names:
        producer.publish(name, routing_key=name)
    while len(got) < 30:
        _collect(connection, 1)
    assert sorted(got) == sorted(names)
    assert connection.transport.poller.connections == 3


def test_a_delayed_message_comes_when_it_is_due_and_does_not_wait_for_a_poll(
    connect: Connect, store: Store, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next poll and the next look at the clock are an hour away: it comes because its time was noted."""
    for name in ("SLOW_POLL", "TICK"):
        monkeypatch.setattr(f"omx_tasks.broker.poller.{name}", 3600.0)
    connection = connect()
    store.run(queues.publish(queue, [posting_of("later", delay=120)]))
    due = _first_score(store, keys.delayed(queue))
    got, _ = _consume(connection, Queue(queue))
    _collect(connection, 1)
    assert _server_ms(store, queue) >= due
    assert len(got) == 1


def test_places_that_get_free_one_by_one_are_filled_by_one_claim(
    connect: Connect, store: Store, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omx_tasks.broker.poller.GATHERING", 3600.0)
    connection = connect()
    producer = Producer(connection)
    for number in range(20):
        producer.publish(number, routing_key=queue)
    got, _ = _consume(connection, Queue(queue), prefetch_count=8)
    _collect(connection, 1)
    assert len(got) == 8
    for number in range(3):
        got[number].ack()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0)
        assert connection.transport.poller._consumptions[keys.bell(queue)].link is None
    got[3].ack()
    _collect(connection, 1)
    assert len(got) == 12


def test_a_place_that_stays_the_only_free_one_is_filled_a_moment_later(
    connect: Connect, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look at the clock is an hour away."""
    for name in ("SLOW_POLL", "TICK"):
        monkeypatch.setattr(f"omx_tasks.broker.poller.{name}", 3600.0)
    monkeypatch.setattr("omx_tasks.broker.poller.GATHERING", 0.05)
    connection = connect()
    producer = Producer(connection)
    for number in range(9):
        producer.publish(number, routing_key=queue)
    got, _ = _consume(connection, Queue(queue), prefetch_count=8)
    _collect(connection, 1)
    got[0].ack()
    _collect(connection, 1)
    assert len(got) == 9


def test_a_place_that_gets_free_in_another_thread_wakes_who_waits_for_messages(
    connect: Connect, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLOW_POLL", "TICK"):
        monkeypatch.setattr(f"omx_tasks.broker.poller.{name}", 3600.0)
    connection = connect()
    producer = Producer(connection)
    for number in range(3):
        producer.publish(number, routing_key=queue)
    got, _ = _consume(connection, Queue(queue), prefetch_count=2)
    _collect(connection, 1)
    waits, wait = threading.Event(), connection.transport.poller._links.wait

    def announce(seconds: float) -> None:
        waits.set()
        wait(seconds)

    monkeypatch.setattr(connection.transport.poller._links, "wait", announce)
    acking = threading.Thread(target=lambda: waits.wait(60) and got[0].ack())
    acking.start()
    _collect(connection, 1)
    acking.join()
    assert len(got) == 3


def _server_ms(store: Store, queue: str) -> int:
    seconds, micros = store.command(keys.meta(queue), "TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def _first_score(store: Store, key: str) -> float:
    return float(store.command(key, "ZRANGE", key, 0, 0, "WITHSCORES")[0][1])


def posting_of(name: str, **fields: Any) -> queues.Posting:
    message = {
        "body": '"x"',
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {"delivery_tag": name, "delivery_info": {}, "body_encoding": None},
    }
    return posting(message)._replace(**fields)


@pytest.mark.parametrize(
    ("given", "stored"), [(0, Priority.P0), (None, Priority.P2), (1, Priority.P1), (9, Priority.P3)]
)
def test_priority_nought_is_p0_and_none_is_p2(
    connect: Connect, given: int | None, stored: Priority
) -> None:
    channel = connect().default_channel
    message = channel.prepare_message("x", priority=given)
    message["properties"]["delivery_tag"] = "tag"
    assert posting(message).priority is stored


def test_a_publish_that_is_tried_again_is_stored_once(
    connect: Connect, store: Store, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try stores the message, and its answer is lost."""
    connection = connect()
    transport = connection.transport
    run, tries = transport.store.run, []

    def lose_first_answer(call: Any, **kwargs: Any) -> Any:
        answer = run(call, **kwargs)
        tries.append(answer)
        if len(tries) == 1:
            raise ConnectionError("the answer was lost")
        return answer

    monkeypatch.setattr(transport.store, "run", lose_first_answer)
    policy = {"max_retries": 3, "interval_start": 0}
    with producers[connection].acquire() as producer:
        monkeypatch.setattr(producer.channel.store, "run", lose_first_answer)
        producer.publish("x", routing_key=queue, retry=True, retry_policy=policy)
    assert tries[0] == [1, 0]
    assert sum(_stats(store, queue).waiting) == 1


def test_a_forwarded_message_is_a_new_message(connect: Connect, store: Store, queue: str) -> None:
    connection = connect()
    channel = connection.default_channel
    producer = Producer(channel)
    producer.publish("x", routing_key=queue)
    message = channel.basic_get(queue)
    properties = {k: v for k, v in message.properties.items() if k != "delivery_info"}
    for _ in range(2):
        producer.publish(
            message.body, routing_key=f"{queue}-2", headers=message.headers, **properties
        )
    assert sum(_stats(store, f"{queue}-2").waiting) == 2


def test_a_connection_shows_all_its_seeds_and_no_password() -> None:
    url = "rediscluster://ann:s%40fe@one:7000,two:7001,three:7002"
    connection = Connection(url)
    assert connection.as_uri() == "rediscluster://ann:**@one:7000,two:7001,three:7002"
    assert connection.as_uri(include_password=True) == url


def test_deleting_a_queue_that_another_process_declared_removes_it(
    connect: Connect, store: Store, queue: str
) -> None:
    _direct(queue)(connect()).declare()
    Producer(connect()).publish("x", routing_key=queue)
    connect().default_channel.queue_delete(queue)
    assert _stats(store, queue)[:5] == ((0, 0, 0, 0), 0, 0, 0, {})
    assert queue.encode() not in store.command(keys.queue_names(), "SMEMBERS", keys.queue_names())


def test_a_queue_that_is_unbound_gets_nothing_more(
    connect: Connect, store: Store, queue: str
) -> None:
    channel = connect().default_channel
    bound = _direct(queue)(channel)
    bound.declare()
    bound.unbind_from(bound.exchange, queue)
    Producer(channel).publish("x", exchange=bound.exchange, routing_key=queue)
    assert sum(_stats(store, queue).waiting) == 0


def test_deleting_an_exchange_leaves_its_queues(connect: Connect, store: Store, queue: str) -> None:
    channel = connect().default_channel
    bound = _direct(queue)(channel)
    bound.declare()
    bound.exchange(channel).delete()
    assert channel._has_queue(queue)
    key = keys.bindings(bound.exchange.name)
    assert store.command(key, "EXISTS", key) == 0


def test_a_reply_to_a_queue_that_lapsed_makes_no_queue_that_nobody_reads(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    lapsing = Queue(queue, Exchange(f"ex-{queue}", type="direct"), routing_key=queue, expires=0.05)
    lapsing(connect()).declare()
    publisher = Producer(connect(), Exchange(f"ex-{queue}", type="direct"))
    until(lambda: store.command(keys.meta(queue), "EXISTS", keys.meta(queue)) == 0)
    publisher.publish("too late", routing_key=queue)
    assert store.command(keys.meta(queue), "EXISTS", keys.meta(queue)) == 0
    bindings = keys.bindings(f"ex-{queue}")
    assert store.command(bindings, "EXISTS", bindings) == 0


def test_bindings_that_got_lost_are_stored_again_by_who_made_them(
    connect: Connect, store: Store, queue: str
) -> None:
    channel = connect().default_channel
    bound = _direct(queue)(channel)
    bound.declare()
    store.command(keys.bindings(f"ex-{queue}"), "DEL", keys.bindings(f"ex-{queue}"))
    Producer(channel).publish("x", exchange=bound.exchange, routing_key=queue)
    assert sum(_stats(store, queue).waiting) == 1


def test_a_batch_is_stored_when_it_is_full_and_at_its_end(
    connect: Connect, store: Store, queue: str
) -> None:
    producer = Producer(connect())
    assert producer.supports_batch_publish
    with producer.batch(max_size=3):
        for number in range(4):
            producer.publish(number, routing_key=queue)
        assert sum(_stats(store, queue).waiting) == 3
    assert sum(_stats(store, queue).waiting) == 4


def test_a_batch_that_ends_in_an_error_is_given_up(
    connect: Connect, store: Store, queue: str
) -> None:
    producer = Producer(connect())
    with pytest.raises(RuntimeError), producer.batch():
        producer.publish("x", routing_key=queue)
        raise RuntimeError
    assert sum(_stats(store, queue).waiting) == 0


def test_leases_are_renewed_while_a_message_is_held(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    connection = connect(lease=150)
    got, _ = _consume(connection, Queue(queue))
    Producer(connection).publish("x", routing_key=queue)
    _collect(connection, 1)
    first = _first_score(store, keys.leases(queue))
    until(lambda: _first_score(store, keys.leases(queue)) > first + 200)
    assert len(got) == 1
    got[0].ack()


def test_a_consumer_goes_on_after_its_connections_are_killed(
    connect: Connect, store: Store, queue: str
) -> None:
    connection = connect()
    got, _ = _consume(connection, Queue(queue))
    _until_subscribed(connection)
    for link in connection.transport.poller._links._links.values():
        link._socket.shutdown(2)
    Producer(connect()).publish("x", routing_key=queue)
    _collect(connection, 1)
    assert len(got) == 1


def test_a_node_that_stays_silent_is_given_up(
    connect: Connect, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omx_tasks.store.links.SILENCE", 0.2)
    monkeypatch.setattr("omx_tasks.store.links.ROUND", 0.05)
    connection = connect()
    got, _ = _consume(connection, Queue(queue))
    _until_subscribed(connection)
    poller = connection.transport.poller
    link = poller._links.of(poller._consumptions[keys.bell(queue)].slot)
    link._read_chunk = lambda: b""  # the node does not say anything any more
    Producer(connect()).publish("x", routing_key=queue)
    _collect(connection, 1)
    assert len(got) == 1
    assert link._socket is None


def test_a_queue_that_does_not_answer_is_attended_to_anew_whatever_the_reason(
    connect: Connect, queue: str, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """Here a claim is taken for one that is under way, and its answer never comes."""
    monkeypatch.setattr("omx_tasks.broker.poller.SLOW_POLL", 0.5)
    monkeypatch.setattr("omx_tasks.broker.poller.DEAF", 1.0)
    connection = connect()
    got, _ = _consume(connection, Queue(queue))
    _until_subscribed(connection)
    poller = connection.transport.poller
    consumption = poller._consumptions[keys.bell(queue)]
    assert consumption.link is None
    consumption.link = former = poller._links.of(consumption.slot)
    Producer(connect()).publish("x", routing_key=queue)
    _collect(connection, 1)
    assert len(got) == 1
    assert former._socket is None
    assert poller.silence < 1.0
    assert poller.repaired == 1


def test_a_message_that_cannot_be_read_ends_among_the_dead_and_stops_nobody(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    store.run(queues.declare(queue))
    store.run(queues.publish(queue, [Posting("no-json", "this is no JSON"), Posting("list", "[]")]))
    connection = connect(most_deliveries=3)
    got, _ = _consume(connection, Queue(queue))
    Producer(connect()).publish("readable", routing_key=queue)

    def all_settled() -> bool:
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=0.05)
        return bool(got) and queues.read_stats(store.run(queues.stats(queue))).dead == 2

    until(all_settled)
    assert [message.payload for message in got] == ["readable"]


def test_a_process_has_one_suspect_at_a_time_whatever_queues_they_come_from(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    names = [f"{queue}-{word}" for word in "ab"]
    producer = Producer(connect())
    for name in names:
        _lose_twice(store, name, producer, until)
        producer.publish("fresh", routing_key=name)
    connection = connect()
    got, consumer = _consume(connection, Queue(names[0]))
    consumer.add_queue(Queue(names[1]))
    consumer.consume()
    for taken in range(1, 5):
        while len(got) < 2 + taken:
            connection.drain_events(timeout=60)
        assert sum(_stats(store, name).suspects for name in names) == 4 - taken
        (held,) = [m for m in got if m.payload == "suspect" and not m.acknowledged]
        held.ack()
    assert [message.payload for message in got].count("fresh") == 2


def _lose_twice(store: Store, queue: str, producer: Producer, until: Until) -> None:
    """Have two workers end, one after the other, with two messages of a queue in hand."""
    store.run(queues.declare(queue))
    for _ in range(2):
        producer.publish("suspect", routing_key=queue)
    for _ in range(2):
        until(
            lambda: (
                queues.claimed(
                    store.run(queues.claim(queue, uuid.uuid4().hex, most=2, lease=1))
                ).deliveries
            )
        )
    until(lambda: store.run(queues.sweep(queue)) and _stats(store, queue).suspects == 2)


def test_a_claim_takes_no_more_than_a_batch_and_the_next_one_follows_at_once(
    connect: Connect, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for a whole batch is worth a claim, however much room there is beside it."""
    monkeypatch.setattr("omx_tasks.broker.poller.GATHERING", 3600.0)
    asked = list[int]()
    claim = queues.claim

    def noting(queue: str, token: str, *, most: int, **others: Any) -> Any:
        asked.append(most)
        return claim(queue, token, most=most, **others)

    monkeypatch.setattr("omx_tasks.broker.poller.queues.claim", noting)
    connection = connect(batch=3)
    producer = Producer(connection)
    for number in range(9):
        producer.publish(number, routing_key=queue)
    got, _ = _consume(connection, Queue(queue), prefetch_count=9)
    _collect(connection, 3)
    assert [message.payload for message in got] == list(range(9))
    assert asked == [3, 3, 3]


def test_operations_of_priorities_that_are_not_served_are_left_and_hold_up_no_others(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    """What is left neither keeps a consumer busy nor hides the bell of what is for it."""
    name = f"omx.{queue}"
    connection, publishing = connect(priorities=[2, 3]), Producer(connect())
    got, _ = _consume(connection, Queue(name))
    _until_subscribed(connection)
    publishing.publish("now", routing_key=name, priority=0)
    (consumption,) = connection.transport.poller._consumptions.values()

    def at_rest() -> bool:
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.3)
        return not consumption.hungry and consumption.link is None

    until(at_rest)
    for number in range(3):
        publishing.publish(f"later{number}", routing_key=name, priority=2)
        _collect(connection, 1, seconds=SLOW_POLL / 2)
        got[-1].ack()
    assert [message.payload for message in got] == ["later0", "later1", "later2"]
    assert _stats(store, name).waiting == (1, 0, 0, 0)


def test_what_a_claim_brings_back_and_does_not_serve_is_heard_of_by_others(
    connect: Connect, store: Store, queue: str, until: Until
) -> None:
    name = f"omx.{queue}"
    connection = connect()
    got, _ = _consume(connection, Queue(name))
    _until_subscribed(connection)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.2)  # it is at rest, and knows of nothing to come
    channel = connect().default_channel
    message = channel.prepare_message("late", 0, properties={"delivery_mode": 2})
    channel._inplace_augment_message(message, "", name)
    store.run(queues.publish(name, [posting(message)._replace(delay=1)]))

    def seen_waiting() -> bool:
        call = queues.claim(name, uuid.uuid4().hex, most=1, lease=60_000, served=[2])
        return queues.claimed(store.run(call)).waiting[Priority.P0] == 1

    until(seen_waiting)
    _collect(connection, 1, seconds=SLOW_POLL / 2)
    assert got[0].payload == "late"


def test_tasks_that_are_no_operations_are_taken_at_every_priority(
    connect: Connect, queue: str
) -> None:
    connection = connect(priorities=[2])
    got, _ = _consume(connection, Queue(queue))
    Producer(connect()).publish("now", routing_key=queue, priority=0)
    _collect(connection, 1)
    assert got[0].payload == "now"
