"""Celery's own words to an agent: ordinary tasks, inspect, revoke."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from celery import Celery
from fleet import Fleet, one, states

from omx_tasks.broker.transport import register
from omx_tasks.graph.marker import task_id


@pytest.fixture
def app(shared: Fleet) -> Iterator[Celery]:
    register()
    app = Celery("outside", broker=shared.url, backend=shared.url, set_as_current=False)
    yield app
    app.backend.result_consumer.stop()
    app.backend.store.close()
    app.close()


@pytest.fixture
def node(shared: Fleet, app: Celery, until: Callable[..., None]) -> str:
    """The agent's name, once it hears orders: its first heartbeat comes a little before that."""
    name = shared.agents[0].name
    until(lambda: app.control.ping([name], timeout=0.3))
    return name


def test_an_agent_answers_ping_and_stats(app: Celery, node: str) -> None:
    inspect = app.control.inspect(destination=[node], timeout=60)
    assert inspect.ping() == {node: {"ok": "pong"}}
    stats = inspect.stats()[node]
    assert stats["pool"]["implementation"] == "omx_tasks.agents.pool:TaskPool"
    assert stats["pool"]["max-concurrency"] == 32


def test_operations_under_way_are_shown_as_active_and_can_be_asked_for(
    app: Celery, node: str, shared: Fleet, until: Callable[..., None]
) -> None:
    gate = shared.gate()
    run = shared.submit(shared.call("a", arguments={"gate": str(gate)}))
    name = task_id(run.id, "a")
    inspect = app.control.inspect(destination=[node], timeout=60)
    until(lambda: name in [task["id"] for task in inspect.active()[node]])
    assert inspect.query_task(name)[node][name][0] == "active"
    gate.touch()
    assert run.wait(60).state == "succeeded"
    until(lambda: inspect.active()[node] == [])


def test_an_agent_tells_its_tasks_its_queues_and_what_it_was_told_to_forget(
    app: Celery, node: str, shared: Fleet, until: Callable[..., None]
) -> None:
    inspect = app.control.inspect(destination=[node], timeout=60)
    assert "omx.operation" in inspect.registered()[node]
    assert f"omx.server:{shared.ledger}" in [q["name"] for q in inspect.active_queues()[node]]
    assert inspect.scheduled()[node] == []
    forgotten = uuid.uuid4().hex
    app.control.revoke(forgotten, destination=[node], reply=True, timeout=60)
    assert forgotten in inspect.revoked()[node]
    before = inspect.stats()[node]["total"].get("omx.operation", 0)
    assert shared.run(shared.call("a")).state == "succeeded"
    assert inspect.stats()[node]["total"]["omx.operation"] == before + 1
    until(lambda: inspect.reserved()[node] == [])


def test_a_revoked_operation_that_runs_is_cancelled_at_once(
    app: Celery, node: str, shared: Fleet, until: Callable[..., None]
) -> None:
    key = uuid.uuid4().hex
    run = shared.submit(
        shared.call("a", arguments={"key": key, "seconds": 60}),
        shared.call("b", needs=["a"]),
    )
    until(lambda: shared.executions()[f"read {key}"])
    app.control.revoke(task_id(run.id, "a"), terminate=True, destination=[node])
    view = run.wait(60)
    assert states(view) == {"a": "cancelled", "b": "skipped"}
    assert one(view, "a").error["kind"] == "lost"
    assert view.state == "failed"


def test_a_revoked_write_that_runs_may_have_been_done(
    app: Celery, node: str, shared: Fleet, until: Callable[..., None]
) -> None:
    key = uuid.uuid4().hex
    run = shared.submit(shared.call("a", "write", arguments={"key": key, "seconds": 60}))
    until(lambda: shared.executions()[f"write {key}"])
    app.control.revoke(task_id(run.id, "a"), terminate=True, destination=[node])
    view = run.wait(60)
    assert states(view) == {"a": "unknown"}
    assert "may have been done" in one(view, "a").error["message"]
    assert view.state == "failed"


def test_an_operation_that_was_revoked_before_it_came_is_not_begun(
    app: Celery, node: str, shared: Fleet
) -> None:
    gate, key = shared.gate(), uuid.uuid4().hex
    run = shared.submit(
        shared.call("a", arguments={"gate": str(gate)}),
        shared.call("b", arguments={"key": key}, needs=["a"]),
    )
    assert app.control.revoke(task_id(run.id, "b"), destination=[node], reply=True, timeout=60)
    gate.touch()
    assert states(run.wait(60)) == {"a": "succeeded", "b": "cancelled"}
    assert shared.executions()[f"read {key}"] == 0


def test_ordinary_celery_tasks_run_in_the_agents_pool(app: Celery, node: str) -> None:
    queue = f"ordinary-{uuid.uuid4().hex[:8]}"
    app.control.add_consumer(queue, destination=[node], reply=True, timeout=60)
    results = [app.send_task("celery.accumulate", (n,), queue=queue) for n in range(20)]
    assert [result.get(timeout=60) for result in results] == [[n] for n in range(20)]


def test_a_message_that_names_no_operation_fails_alone(
    app: Celery, node: str, shared: Fleet
) -> None:
    queue = f"broken-{uuid.uuid4().hex[:8]}"
    app.control.add_consumer(queue, destination=[node], reply=True, timeout=60)
    for arguments in ((), (1, 2), ("no-such-run", "a")):
        app.send_task("omx.operation", arguments, queue=queue)
    app.send_task("omx.operation", kwargs={"run_id": "x", "operation_id": "y"}, queue=queue)
    result = app.send_task("celery.accumulate", ("last",), queue=queue)
    assert result.get(timeout=60) == ["last"]
    assert shared.run(shared.call("a")).state == "succeeded"


def test_operations_keep_to_a_rate_limit_beside_and_after_each_other(
    app: Celery, node: str, shared: Fleet
) -> None:
    def limit(rate: str) -> None:
        app.control.rate_limit("omx.operation", rate, destination=[node], reply=True, timeout=60)

    limit("3/s")
    try:
        began = time.monotonic()
        aside, first = shared.call("aside"), shared.call("first")
        view = shared.run(aside, first, shared.call("next", needs=["first"]))
        assert view.state == "succeeded"
        assert time.monotonic() - began > 0.6
    finally:
        limit("0")
