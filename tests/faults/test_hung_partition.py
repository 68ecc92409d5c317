"""A shard that hangs keeps its own partition of a queue to itself, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection, Consumer, Producer, Queue
from shard import Shard, kill, stalled

from omx_tasks.broker import queues
from omx_tasks.broker.partitions import partitions
from omx_tasks.broker.transport import register
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.priorities import Priority
from omx_tasks.store.client import Store

QUEUE, COUNT = "hung", 60


@pytest.fixture
def connection(slow_cluster: EmbeddedCluster) -> Iterator[Any]:
    register()
    with Connection(slow_cluster.url(), transport_options={"partitions": 3}) as connection:
        yield connection


def test_partitions_go_on_while_the_one_with_the_most_urgent_messages_hangs(
    slow_cluster: EmbeddedCluster, connection: Any
) -> None:
    store, producer = Store(slow_cluster.url()), Producer(connection)
    for priority in (Priority.P0, Priority.P3):
        for _ in range(COUNT):
            producer.publish("x", routing_key=QUEUE, priority=priority, declare=[Queue(QUEUE)])
    name = partitions(QUEUE, 3)[1]
    p0, _, _, p3 = queues.read_stats(store.run(queues.stats(name))).waiting
    shard = Shard(slow_cluster, name)
    store.close()

    got: list[Any] = []
    consumer = Consumer(connection.channel(), [Queue(QUEUE)], callbacks=[lambda *m: got.append(m)])
    with stalled(shard.master):
        consumer.consume()
        while len(got) < 2 * COUNT - p0 - p3:
            connection.drain_events(timeout=60)
    assert p0 > 0
    while len(got) < 2 * COUNT:
        connection.drain_events(timeout=60)


def test_partitions_go_on_while_one_is_down_that_was_known_to_have_something_more_urgent(
    slow_cluster: EmbeddedCluster, connection: Any
) -> None:
    """With one slot most partitions are not being asked when the shard goes: it is known of them what they have."""
    producer = Producer(connection)
    for priority in (Priority.P0, Priority.P3):
        for _ in range(COUNT):
            producer.publish("x", routing_key=QUEUE, priority=priority, declare=[Queue(QUEUE)])
    got: list[Any] = []

    def take(_body: object, message: Any) -> None:
        got.append(message)
        message.ack()

    channel = connection.channel()
    channel.basic_qos(0, 1, False)
    Consumer(channel, [Queue(QUEUE)], callbacks=[take]).consume()
    while len(got) < COUNT // 4:
        connection.drain_events(timeout=60)
    store = Store(slow_cluster.url())
    name = partitions(QUEUE, 3)[1]
    left = queues.read_stats(store.run(queues.stats(name)))
    kill(Shard(slow_cluster, name).master)
    store.close()
    assert left.waiting[0] > 1
    while len(got) < 2 * COUNT - sum(left.waiting) - left.leased:
        connection.drain_events(timeout=60)
