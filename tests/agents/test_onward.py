"""A successor that goes on where it became ready has a message of its own, and is done once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from fleet import Fleet, one

from omx_tasks.broker import audit, queues
from omx_tasks.broker.queues import Held, Posting
from omx_tasks.broker.routing import queue_of
from omx_tasks.store.client import Store

Until = Callable[..., None]
LEASE = 60_000


def test_a_chain_stays_on_the_agent_and_each_link_is_published_and_acknowledged(
    fleet: Fleet, store: Store, until: Until
) -> None:
    fleet.start(4)
    fleet.start(4)
    before = _counters(store, fleet)
    names = [f"c{number}" for number in range(30)]
    chain = [
        fleet.call(name, needs=[before_it] if before_it else [])
        for before_it, name in zip(["", *names], names, strict=False)
    ]
    view = fleet.run(*chain)
    assert view.state == "succeeded"
    assert len({one(view, name).agent for name in names}) == 1
    assert all(fleet.executions()[f"read {name}"] == 1 for name in names)

    def acked() -> bool:
        counters = _counters(store, fleet)
        return all(counters.get(c, 0) - before.get(c, 0) == 30 for c in ("published", "acked"))

    until(acked)


def test_what_goes_on_here_comes_back_when_the_agent_dies(
    fleet: Fleet, store: Store, until: Until
) -> None:
    first = fleet.start(4, lease=1.5)
    run = fleet.submit(
        fleet.call("a"),
        fleet.call("b", needs=["a"], arguments={"once": True}),
        fleet.call("c", needs=["b"]),
    )
    until(lambda: fleet.executions()["read b"] == 1)
    fleet.start(4, lease=1.5)
    first.signal(signal.SIGKILL)
    view = run.wait(timeout=30)
    assert view.state == "succeeded"
    assert one(view, "b").attempts == 2


@pytest.fixture
def posting() -> Posting:
    return Posting("a", "body of a")


def test_a_kept_message_is_the_publishers_until_its_lease_ends(
    store: Store, queue: str, posting: Posting, until: Until
) -> None:
    keep = queues.keep(queue, posting, "mine", lease=LEASE)
    assert [store.run(keep), store.run(keep)] == [1, 1]
    assert store.run(queues.publish(queue, [posting])) == [0, 1]
    assert store.run(queues.keep(queue, posting, "another's", lease=LEASE)) == 0
    assert _claim(store, queue) == []
    assert store.run(queues.ack(queue, [Held("a", "mine")])) == [1, 0, 0]
    assert store.run(keep) == 0, "it was done"
    assert audit.reports(store, [queue])[0].missing == 0


def test_a_kept_message_comes_back_when_its_publisher_is_not_heard_of(
    store: Store, queue: str, posting: Posting, until: Until
) -> None:
    store.run(queues.keep(queue, posting, "mine", lease=20))
    got: list[Any] = []
    until(lambda: got.extend(_claim(store, queue)) or got)
    assert [(delivery.id, delivery.count) for delivery in got] == [("a", 2)]
    assert store.run(queues.ack(queue, [Held("a", "mine")])) == [0, 0, 1]


def _claim(store: Store, queue: str) -> list[queues.Delivery]:
    token = os.urandom(8).hex()
    return queues.claimed(store.run(queues.claim(queue, token, most=5, lease=LEASE))).deliveries


def _counters(store: Store, fleet: Fleet) -> dict[str, int]:
    step = fleet.call("x")
    name = queue_of([f"server:{step.server}"])
    return dict(audit.reports(store, [name])[0].stats.counters)
