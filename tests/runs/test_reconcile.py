"""A message that was lost is published again; one that waits, is held or was done is not."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from driven import Drive, Driven, operation

from omx_tasks.broker import audit, queues
from omx_tasks.broker.partitions import partitions
from omx_tasks.broker.queues import Held
from omx_tasks.broker.routing import queue_of
from omx_tasks.graph.marker import task_id
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import compile_plan
from omx_tasks.results.joins import Following
from omx_tasks.runs.advance import advance, plans
from omx_tasks.runs.reconcile import Found, reconcile
from omx_tasks.runs.submit import submit
from omx_tasks.store import keys
from omx_tasks.store.client import Store

Look = Callable[..., Found]


@pytest.fixture
def look(store: Store) -> Iterator[Look]:
    """Have only this test's runs looked at, as overdue."""
    store.command(keys.open_runs(), "DEL", keys.open_runs())

    def look(*runs: Driven, age: float = 0.0) -> Found:
        for run in runs:
            store.command(keys.open_runs(), "ZADD", keys.open_runs(), 1, run.id)
        return reconcile(store, plans(store), age=age)

    yield look
    store.command(keys.open_runs(), "DEL", keys.open_runs())


@pytest.fixture
def run(drive: Drive) -> Driven:
    """A run of one operation, which has a queue of its own."""
    return drive(operation("a", requires=[f"test_{uuid.uuid4().hex}"]))


def _queue(run: Driven) -> str:
    return queue_of(run.plan.steps["a"].capabilities)


def _claim(run: Driven, lease: int = 60_000, deliveries: int = 0) -> list[Held]:
    token = uuid.uuid4().hex
    call = queues.claim(_queue(run), token, most=10, lease=lease, deliveries=deliveries)
    got = queues.claimed(run.store.run(call))
    return [Held(delivery.id, token) for delivery in got.deliveries]


def _publish(run: Driven) -> None:
    advance(run.store, run.id, plans(run.store)(run.id), ["a"])


def test_a_lost_message_is_published_again_once(look: Look, run: Driven) -> None:
    look(run)
    look(run)
    assert [held.id for held in _claim(run)] == [task_id(run.id, "a")]
    assert _claim(run) == []


def test_a_message_is_found_in_the_partition_where_its_run_put_it(
    look: Look, store: Store, until: Callable[..., None]
) -> None:
    """Whatever who looks takes for the number of partitions: the run knows it."""
    word = f"test_{uuid.uuid4().hex}"
    names = [f"o{number}" for number in range(12)]
    graph = Graph(name="g", operations=[operation(name, requires=[word]) for name in names])
    run = Driven(
        store, compile_plan(graph), id=submit(store, compile_plan(graph), {}, keep=60, partitions=3)
    )
    queue = queue_of(run.plan.steps["o0"].capabilities)
    assert len(audit.reports(store, [queue])[0].spots) == 3
    look(run)
    assert audit.reports(store, [queue])[0].stats.counters == {"published": 12}

    parts = partitions(queue, 3)
    lost = [queues.claim(p, uuid.uuid4().hex, most=12, lease=1, deliveries=1) for p in parts]
    assert sum(len(queues.claimed(answer).deliveries) for answer in store.run_many(lost)) == 12
    again = [queues.claim(p, uuid.uuid4().hex, most=0, lease=1, deliveries=1) for p in parts]
    until(lambda: store.run_many(again) and audit.reports(store, [queue])[0].stats.dead == 12)
    assert look(run).given_up == 12


def test_a_message_that_waits_is_not_doubled(look: Look, run: Driven) -> None:
    _publish(run)
    look(run)
    assert len(_claim(run)) == 1


def test_a_message_that_is_held_is_not_doubled(look: Look, run: Driven) -> None:
    _publish(run)
    held = _claim(run)
    run.start("a")
    look(run)
    assert _claim(run) == []
    assert run.store.run(queues.ack(_queue(run), held)) == [1, 0, 0]


def test_the_message_of_an_operation_that_was_begun_comes_back_when_it_is_lost(
    look: Look, run: Driven
) -> None:
    run.start("a")
    look(run)
    assert len(_claim(run)) == 1


@pytest.fixture
def following(drive: Drive) -> Driven:
    """A run whose second operation went on under the message of the first, which has a queue of its own."""
    word = f"test_{uuid.uuid4().hex}"
    run = drive(operation("a", requires=[word]), operation("b", ["a"]))
    run.start("a")
    run.finish("a", following=Following("b", "token", "a"))
    return run


def test_what_goes_on_without_a_message_is_left_alone_while_the_one_before_is_held(
    look: Look, run: Driven, following: Driven
) -> None:
    _publish(following)
    held = _claim(following)
    look(following)
    assert _claim(following) == []
    assert following.start("b").verdict == "early"
    assert run.store.run(queues.ack(_queue(following), held)) == [1, 0, 0]


def test_when_the_message_before_is_lost_that_is_published_again(
    look: Look, following: Driven
) -> None:
    look(following)
    assert [held.id for held in _claim(following)] == [task_id(following.id, "a")]
    assert following.start("a").carried == "b"
    assert look(following).published == 1, "b itself from now on"
    assert _claim(following) == []


def test_what_goes_on_fails_when_the_message_before_is_dead(
    look: Look, following: Driven, until: Callable[..., None]
) -> None:
    _publish(following)
    _claim(following, lease=1)
    until(lambda: _claim(following, lease=1, deliveries=1) == [] and _dead(following))
    assert look(following).given_up == 1
    assert following.states() == {"a": "succeeded", "b": "failed"}


def test_what_is_ready_for_a_short_time_only_is_left_alone(look: Look, run: Driven) -> None:
    assert look(run, age=60).published == 0
    assert _claim(run) == []


def test_what_was_looked_after_gets_its_time_anew(look: Look, run: Driven) -> None:
    look(run)
    assert look(run, age=60).published == 0


def test_an_operation_that_was_delivered_too_often_ends_as_failed(
    look: Look, run: Driven, until: Callable[..., None]
) -> None:
    _publish(run)
    _claim(run, lease=1)
    until(lambda: _claim(run, lease=1, deliveries=1) == [] and _dead(run))
    assert look(run).given_up == 1
    view = run.view()
    assert view.state == "failed"
    assert view.operations["a"].error["kind"] == "lost"
    assert look(run) == Found(1, 1, 0)


def _dead(run: Driven) -> int:
    return queues.read_stats(run.store.run(queues.stats(_queue(run)))).dead


def test_a_run_that_is_over_is_not_looked_at_any_more(look: Look, run: Driven) -> None:
    run.do("a")
    assert look(run) == Found(1, 1, 0)
    assert look() == Found(0, 0, 0)


def test_a_run_that_is_announced_and_not_stored_yet_is_not_forgotten(
    store: Store, look: Look, run: Driven
) -> None:
    seconds = store.command(keys.open_runs(), "TIME")[0].decode()
    store.command(keys.open_runs(), "ZADD", keys.open_runs(), seconds, "being-submitted")
    assert look() == Found(1, 0, 0)
    assert look() == Found(1, 0, 0)


def test_what_is_equally_urgent_is_queued_in_file_order(store: Store, drive: Drive) -> None:
    word = f"test_{uuid.uuid4().hex}"
    run = drive(*(operation(f"a{number}", requires=[word]) for number in range(12)))
    advance(store, run.id, plans(store)(run.id), run.submit())
    queue = queue_of(run.plan.steps["a0"].capabilities)
    got = queues.claimed(store.run(queues.claim(queue, uuid.uuid4().hex, most=12, lease=1000)))
    assert [delivery.id for delivery in got.deliveries] == [
        task_id(run.id, f"a{n}") for n in range(12)
    ]
