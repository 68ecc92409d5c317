"""A task that is revoked ends its operation, says what is known of its call, and leaves no other one behind."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
from celery import Celery
from fleet import Agent, Fleet, one, states

from omx_tasks.broker.transport import register
from omx_tasks.graph.marker import task_id

Until = Callable[..., None]
Revoke = Callable[..., None]


@pytest.fixture
def revoke(cluster_url: str, until: Until) -> Iterator[Revoke]:
    """Have one agent revoke an operation's task."""
    register()
    with Celery("outside", broker=cluster_url, set_as_current=False) as app:

        def revoke(run_id: str, operation: str, agent: Agent, **how: bool) -> None:
            names = [agent.name]
            until(lambda: app.control.ping(destination=names, timeout=1))
            name = task_id(run_id, operation)
            assert app.control.revoke(name, destination=names, reply=True, timeout=60, **how)

        yield revoke


def test_a_write_whose_process_is_ended_is_unknown(
    fleet: Fleet, revoke: Revoke, until: Until
) -> None:
    agent = fleet.start(options=["-P", "prefork", "-c", "1", "--without-mingle"])
    run = fleet.submit(
        fleet.call("w", "write", arguments={"seconds": 60}), fleet.call("after", needs=["w"])
    )
    until(lambda: fleet.executions()["write w"] == 1)
    revoke(run.id, "w", agent, terminate=True)
    view = run.wait(60)
    assert states(view) == {"w": "unknown", "after": "skipped"}
    assert one(view, "w").attempts == 1
    assert "may have been done" in (one(view, "w").error or {})["message"]


def test_a_read_whose_process_is_ended_is_cancelled(
    fleet: Fleet, revoke: Revoke, until: Until
) -> None:
    agent = fleet.start(options=["-P", "prefork", "-c", "1", "--without-mingle"])
    run = fleet.submit(fleet.call("r", arguments={"seconds": 60}))
    until(lambda: fleet.executions()["read r"] == 1)
    revoke(run.id, "r", agent, terminate=True)
    assert states(run.wait(60)) == {"r": "cancelled"}


def test_a_write_that_a_dead_agent_made_is_unknown_where_it_was_revoked(
    fleet: Fleet, revoke: Revoke, until: Until
) -> None:
    first = fleet.start(4, lease=1.5)
    run = fleet.submit(fleet.call("w", "write", arguments={"seconds": 60}))
    until(lambda: fleet.executions()["write w"] == 1)
    revoke(run.id, "w", fleet.start(4, lease=1.5))
    first.signal(signal.SIGKILL)
    view = run.wait(60)
    assert states(view) == {"w": "unknown"}
    assert (one(view, "w").agent, one(view, "w").attempts) == (first.name, 1)


def test_what_went_on_under_a_message_is_done_though_that_was_revoked(
    fleet: Fleet, revoke: Revoke, until: Until
) -> None:
    first = fleet.start(4, lease=1.5)
    run = fleet.submit(fleet.call("a"), fleet.call("b", needs=["a"], arguments={"once": True}))
    until(lambda: fleet.executions()["read b"] == 1)
    revoke(run.id, "a", fleet.start(4, lease=1.5))
    first.signal(signal.SIGKILL)
    view = run.wait(60)
    assert states(view) == {"a": "succeeded", "b": "succeeded"}
    assert one(view, "b").attempts == 2
