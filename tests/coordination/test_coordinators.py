"""Coordinators as processes: one is killed, one is stopped and wakes up, one ends in order; runs are repaired after."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from driven import Driven, operation
from fleet import Fleet
from standbys import Standbys

from omx_tasks.broker import audit
from omx_tasks.broker.routing import queue_of
from omx_tasks.coordination.registry import CoordinatorRecord
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import compile_plan
from omx_tasks.results import joins
from omx_tasks.store.client import Store

Until = Callable[..., None]


def lost_message(store: Store) -> str:
    """Begin a run whose first message was never published; return its queue."""
    one = operation("a", requires=[f"test_{uuid.uuid4().hex}"])
    run = Driven(store, compile_plan(Graph(name="lost", operations=[one])))
    store.run(joins.announce(run.id, 1.0))
    run.submit()
    return queue_of(run.plan.steps["a"].capabilities)


def repaired(store: Store, queue: str) -> bool:
    return sum(audit.reports(store, [queue])[0].stats.waiting) == 1


def two(standbys: Standbys) -> CoordinatorRecord:
    for _ in range(2):
        standbys.start(OMX_OVERDUE="0.1")
    return standbys.leader()


def test_when_the_leader_is_killed_the_other_one_repairs(
    standbys: Standbys, store: Store, until: Until
) -> None:
    first = two(standbys)
    os.kill(first.pid, signal.SIGKILL)
    queue = lost_message(store)
    second = standbys.leader(but=first.pid)
    assert (second.token or 0) > (first.token or 0)
    until(lambda: repaired(store, queue), 60)


def test_a_leader_that_was_stopped_and_wakes_up_does_nothing_more(
    standbys: Standbys, store: Store, until: Until
) -> None:
    first = two(standbys)
    os.kill(first.pid, signal.SIGSTOP)
    second = standbys.leader(but=first.pid)
    queue = lost_message(store)
    until(lambda: repaired(store, queue), 60)
    runs = {name: one["runs"] for name, one in first.duties.items()}
    os.kill(first.pid, signal.SIGCONT)
    until(lambda: "stands by" in standbys.log(first.pid))
    woken: list[CoordinatorRecord] = []

    def is_at_rest() -> bool:
        """What it had begun when it was stopped has ended, and is shown."""
        woken[:] = [one for one in standbys.up() if one.pid == first.pid and one.token is None]
        return any(not any(duty["running"] for duty in one.duties.values()) for one in woken)

    until(is_at_rest)
    done = {name: one["runs"] for name, one in woken[0].duties.items()}
    leader = standbys.leader()
    assert (leader.pid, leader.token) == (second.pid, second.token)
    until(
        lambda: any(one["runs"] > runs[name] + 2 for name, one in standbys.leader().duties.items())
    )
    (after,) = [one for one in standbys.up() if one.pid == first.pid]
    assert {name: one["runs"] for name, one in after.duties.items()} == done


def test_when_the_leader_ends_in_order_the_other_one_leads(standbys: Standbys) -> None:
    first = two(standbys)
    os.kill(first.pid, signal.SIGTERM)
    second = standbys.leader(but=first.pid)
    assert second.since is not None
    assert [one.pid for one in standbys.up() if one.pid in (first.pid, second.pid)] == [second.pid]


@pytest.fixture
def fleet(cluster_url: str, store: Store, tmp_path: Path, until: Until) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, cluster_url, store, until)
    yield fleet
    fleet.stop()


def test_runs_go_on_without_any_coordinator(standbys: Standbys, fleet: Fleet) -> None:
    leader = standbys.start()
    fleet.start()
    chain = [fleet.call(f"o{n}", needs=[f"o{n - 1}"] if n else []) for n in range(20)]
    run = fleet.submit(*chain)
    os.kill(leader, signal.SIGKILL)
    assert run.wait(60).succeeded
    assert fleet.run(*chain).succeeded
