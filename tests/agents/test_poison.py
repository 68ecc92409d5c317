"""What kills its worker each time it runs: after so many times it is dead, and nothing else is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from celery import Celery
from fleet import Agent, Fleet, one, states

from omx_tasks.broker import audit
from omx_tasks.broker.routing import queue_of
from omx_tasks.broker.transport import register
from omx_tasks.runs.advance import plans
from omx_tasks.runs.reconcile import reconcile
from omx_tasks.store.client import Store

Until = Callable[..., None]
MOST, LEASE = 2, 1.5
TASKS = ["-I", "agent_tasks", "--without-mingle", "--without-gossip"]


@pytest.fixture
def app(cluster_url: str) -> Iterator[Celery]:
    register()
    app = Celery("outside", broker=cluster_url, set_as_current=False)
    yield app
    app.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")
    monkeypatch.setenv("OMX_MOST_DELIVERIES", str(MOST))


class Bench:
    """A poisonous message in a queue, and workers that take from it only when they are told."""

    def __init__(self, fleet: Fleet, app: Celery, store: Store, queue: str, folder: Path) -> None:
        self.fleet, self.app, self.store, self.queue = fleet, app, store, queue
        self._path = folder / "deaths"
        self.id = app.send_task("agent_tasks.die", (str(self._path),), queue=queue).id

    def start(self, *options: str) -> Agent:
        agent = self.fleet.start(1, lease=LEASE, options=[*TASKS, *options])
        self.fleet.until(lambda: self.app.control.ping([agent.name], timeout=0.3))
        self.app.control.add_consumer(self.queue, destination=[agent.name])
        return agent

    @property
    def deaths(self) -> int:
        return len(self._path.read_text().splitlines()) if self._path.exists() else 0

    @property
    def report(self) -> audit.QueueReport:
        return audit.reports(self.store, [self.queue])[0]

    def dead(self) -> list[str]:
        """Return the ids of the dead messages, which all were delivered as often as is allowed."""
        dead = list(audit.dead(self.store, self.queue))
        assert all(m.deliveries == MOST and self.id in m.body.decode() for m in dead)
        return [message.id for message in dead]


@pytest.fixture
def bench(fleet: Fleet, app: Celery, store: Store, queue: str, tmp_path: Path) -> Bench:
    return Bench(fleet, app, store, queue, tmp_path)


def test_a_task_that_ends_its_whole_agent_each_time_is_dead_after_so_many(
    bench: Bench, tmp_path: Path, until: Until
) -> None:
    for times in (1, 2):
        for _ in range(MOST):
            assert bench.start().end() == -signal.SIGKILL
        agent = bench.start()
        until(bench.dead)
        assert bench.deaths == times * MOST
        assert agent.process.poll() is None
        if times == 1:
            agent.stop()
            assert audit.replay(bench.store, bench.queue, bench.dead()) == 1
    bench.app.send_task("agent_tasks.touch", (str(tmp_path / "other"),), queue=bench.queue)
    until(lambda: bench.report.stats.counters.get("acked") == 1)
    assert audit.drop(bench.store, bench.queue, bench.dead()) == 1
    assert (bench.report.present, bench.report.missing) == (0, 0)


def test_a_task_that_ends_its_child_process_each_time_is_dead_after_so_many(
    bench: Bench, tmp_path: Path, until: Until
) -> None:
    agent = bench.start("-P", "prefork", "-c", "1")
    until(bench.dead)
    assert bench.deaths == MOST
    bench.app.send_task("agent_tasks.touch", (str(tmp_path / "other"),), queue=bench.queue)
    until(lambda: bench.report.stats.counters.get("acked") == 1)
    assert audit.replay(bench.store, bench.queue, bench.dead()) == 1
    until(lambda: bench.deaths == 2 * MOST and bench.dead())
    assert agent.process.poll() is None
    assert audit.drop(bench.store, bench.queue, bench.dead()) == 1
    assert (bench.report.present, bench.report.missing) == (0, 0)


def test_an_operation_that_ends_its_agent_each_time_takes_no_other_along(
    fleet: Fleet, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are claimed together, and the agent dies before any of them is done."""
    monkeypatch.setenv("OMX_MOST_DELIVERIES", "0")
    monkeypatch.setenv("OMX_MOST_LOSSES", "4")
    agent = fleet.start(lease=1)
    innocents = [fleet.call(f"i{n}", arguments={"seconds": 0.05}) for n in range(50)]
    run = fleet.submit(fleet.call("poison", "poison"), *innocents)
    deaths, pause = 0, threading.Event()
    dead = partial(audit.dead, store, queue_of([f"server:{fleet.ledger}"]))
    while not list(dead()):
        if agent.process.poll() is not None:
            deaths += 1
            agent = fleet.start(lease=1)
        pause.wait(0.05)
    reconcile(store, plans(store), age=0)
    view = run.wait(60)
    assert deaths == 4
    assert states(view) == {"poison": "failed", **{call.id: "succeeded" for call in innocents}}
    said = one(view, "poison").error["message"]
    assert "4 deliveries, all to agents that ended with it in hand" in said
    assert f"omx resume {run.id}" in said
