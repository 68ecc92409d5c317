"""Turns that nobody would pass on, and places that nobody needs: found and freed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from driven import Drive, Driven, operation

from omx_tasks.broker import queues, turns
from omx_tasks.broker.queues import Held, Posting
from omx_tasks.broker.turns import Asking
from omx_tasks.graph.marker import task_id
from omx_tasks.runs.turns import free, leave
from omx_tasks.store import keys
from omx_tasks.store.client import Store


@pytest.fixture
def server(store: Store) -> Iterator[str]:
    """A server that an agent offered."""
    name = f"server-{uuid.uuid4().hex[:8]}"
    store.command(keys.catalogue(), "HSET", keys.catalogue(), name, "{}")
    yield name
    store.command(keys.catalogue(), "HDEL", keys.catalogue(), name)


def ask(run: Driven, server: str, name: str, queue: str) -> int:
    """Ask for an operation's turn, whose message is parked when it has to wait."""
    id_ = task_id(run.id, name)
    run.store.run(queues.publish(queue, [Posting(id_, "body")]))
    run.store.run(queues.claim(queue, name, most=1, lease=60_000))
    (answer,) = run.store.run(turns.ask(server, [Asking("", id_, 0, queue)]))
    before, _ = turns.asked(answer)
    if before:
        run.store.run(queues.park(queue, [Held(id_, name)], delay=60_000))
    return before


def holder(store: Store, server: str) -> str | None:
    found = turns.read_turns(server, store.run(turns.read(server))).turns
    return found[0].id if found else None


def claimed(store: Store, queue: str) -> list[str]:
    call = queues.claim(queue, "later", most=10, lease=60_000)
    return [delivery.id for delivery in queues.claimed(store.run(call)).deliveries]


def test_a_turn_of_an_operation_that_is_over_is_passed_on(
    drive: Drive, store: Store, server: str, queue: str
) -> None:
    run = drive(operation("a"), operation("b"))
    assert [ask(run, server, name, queue) for name in "ab"] == [0, 1]
    run.start("a")
    assert free(store) == 0
    run.finish("a")
    assert free(store) == 1
    assert holder(store, server) == task_id(run.id, "b")
    assert claimed(store, queue) == [task_id(run.id, "b")]


def test_a_turn_that_was_not_used_when_its_run_ended_is_passed_on(
    drive: Drive, store: Store, server: str, queue: str
) -> None:
    gone, run = drive(operation("a"), operation("b")), drive(operation("c"))
    assert [ask(gone, server, name, queue) for name in "ab"] == [0, 1]
    assert ask(run, server, "c", queue) == 2
    gone.cancel()
    assert free(store) == 1
    assert holder(store, server) == task_id(run.id, "c")
    assert claimed(store, queue) == [task_id(run.id, "c")]
    counters = queues.read_stats(store.run(queues.stats(queue))).counters
    assert counters["withdrawn"] == 1, "the message of the one that waited"


def test_who_is_called_keeps_the_turn_when_its_run_is_cancelled(
    drive: Drive, store: Store, server: str, queue: str
) -> None:
    run = drive(operation("a"), operation("b"))
    assert [ask(run, server, name, queue) for name in "ab"] == [0, 1]
    run.start("a")
    run.cancel()
    assert free(store) == 0
    assert holder(store, server) == task_id(run.id, "a")
    run.finish("a")
    assert free(store) == 1
    assert holder(store, server) is None


def test_a_run_that_is_gone_has_no_turns(
    drive: Drive, store: Store, server: str, queue: str
) -> None:
    run = drive(operation("a"), operation("b"))
    assert [ask(run, server, name, queue) for name in "ab"] == [0, 1]
    for key in keys.run_keys(run.id):
        store.command(key, "DEL", key)
    assert free(store) == 1
    assert holder(store, server) is None


def test_what_a_resumed_run_asked_for_stays_when_its_end_is_only_now_seen_to(
    drive: Drive, store: Store, server: str, queue: str
) -> None:
    """As when somebody resumes a run while its cancellation still tidies up."""
    other, run = drive(operation("x")), drive(operation("a"), operation("b"))
    assert ask(other, server, "x", queue) == 0
    assert [ask(run, server, name, queue) for name in "ab"] == [1, 2]
    assert run.cancel() == "cancelled"
    run.resume()
    assert ask(run, server, "a:1", queue) == 3
    leave(store, server, run.id, 0)
    (turn,) = turns.read_turns(server, store.run(turns.read(server))).turns
    assert turn.waiting == 1
    assert ask(run, server, "a:1", queue) == 1
    leave(store, server, run.id, 1)
    (turn,) = turns.read_turns(server, store.run(turns.read(server))).turns
    assert turn.waiting == 0
