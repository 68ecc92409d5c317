"""The agents' own pool under Celery's orders: its size, time limits, revokes, and both kinds of shutdown."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError
from fleet import Agent, Fleet, one, states

from omx_tasks.agents.registry import agents
from omx_tasks.broker import audit, queues
from omx_tasks.broker.routing import queue_of
from omx_tasks.broker.transport import register
from omx_tasks.graph.marker import task_id
from omx_tasks.store.client import Store

Until = Callable[..., None]
TASKS = ["-I", "agent_tasks", "--without-gossip", "--without-mingle", "-l", "INFO"]


@pytest.fixture
def app(cluster_url: str) -> Iterator[Celery]:
    register()
    app = Celery("outside", broker=cluster_url, backend=cluster_url, set_as_current=False)
    yield app
    app.backend.result_consumer.stop()
    app.backend.store.close()
    app.close()


@pytest.fixture(autouse=True)
def tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents find the tests' own tasks."""
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")


class Bench:
    """One agent with ordinary tasks, a queue that it consumes, and what Celery says of it."""

    def __init__(self, fleet: Fleet, app: Celery, queue: str) -> None:
        self.fleet, self.app, self.queue = fleet, app, queue
        self.agent: Agent

    def start(self, slots: int, *options: str, lease: float = 30.0) -> Agent:
        self.agent = self.fleet.start(slots, lease=lease, options=[*TASKS, *options])
        ping = self.app.control.ping  # one that comes before it listens is not answered
        self.fleet.until(lambda: ping([self.agent.name], timeout=0.5))
        self.control("add_consumer", queue=self.queue)
        return self.agent

    @property
    def inspect(self) -> Any:
        return self.app.control.inspect([self.agent.name], timeout=60, limit=1)

    def control(self, order: str, **arguments: Any) -> Any:
        """Give an order; return the agent's answer."""
        (answer,) = self.app.control.broadcast(
            order, arguments, [self.agent.name], reply=True, timeout=60, limit=1
        )
        return answer[self.agent.name]

    def stats(self) -> Any:
        return self.inspect.stats()[self.agent.name]

    def send(self, name: str, *args: Any, **options: Any) -> Any:
        return self.app.send_task(f"agent_tasks.{name}", args, queue=self.queue, **options)

    def report(self, queue: str = "") -> audit.QueueReport:
        return audit.reports(self.fleet.store, [queue or self.queue])[0]

    def operations(self) -> audit.QueueReport:
        return self.report(queue_of([f"server:{self.fleet.ledger}"]))


@pytest.fixture
def bench(fleet: Fleet, app: Celery, queue: str) -> Bench:
    return Bench(fleet, app, queue)


def _running(bench: Bench) -> int:
    return sum(bench.fleet.executions().values())


def test_an_agent_grows_and_shrinks_by_order(bench: Bench, store: Store, until: Until) -> None:
    bench.start(1)
    assert "ok" in bench.control("pool_grow", n=3)
    until(lambda: bench.stats()["prefetch_count"] == 4)
    assert bench.stats()["pool"]["max-concurrency"] == 4
    gates = bench.fleet.gate(), bench.fleet.gate()
    run = bench.fleet.submit(
        *(bench.fleet.call(f"a{n}", arguments={"gate": str(gates[0])}) for n in range(5))
    )
    until(lambda: _running(bench) == 4)
    assert bench.stats()["pool"]["operations"] == 4
    gates[0].touch()
    results = [bench.send("hold", 1) for _ in range(4)]
    assert run.wait(60).state == "succeeded"
    assert [result.get(timeout=60) for result in results] == ["done"] * 4
    assert "ok" in bench.control("pool_shrink", n=2)
    until(lambda: bench.stats()["prefetch_count"] == 2)
    until(lambda: [a.slots for a in agents(store) if a.name == bench.agent.name] == [2])
    done = _running(bench)
    run = bench.fleet.submit(
        *(bench.fleet.call(f"b{n}", arguments={"gate": str(gates[1])}) for n in range(4))
    )
    until(lambda: _running(bench) == done + 2)
    assert bench.stats()["pool"]["operations"] == 2
    gates[1].touch()
    assert run.wait(60).state == "succeeded"


def test_an_agent_scales_itself_to_its_load(bench: Bench, until: Until) -> None:
    bench.start(1, "--autoscale=4,1")
    assert bench.stats()["pool"]["max-concurrency"] == 1
    gate = bench.fleet.gate()
    run = bench.fleet.submit(
        *(bench.fleet.call(f"a{n}", arguments={"gate": str(gate)}) for n in range(4))
    )
    until(lambda: bench.stats()["pool"]["max-concurrency"] == 4)
    gate.touch()
    assert run.wait(60).state == "succeeded"
    assert "max=3 min=2" in bench.control("autoscale", max=3, min=2)["ok"]
    until(lambda: bench.stats()["pool"]["max-concurrency"] == 3)
    assert bench.stats()["autoscaler"]["max"] == 3


def test_a_time_limit_of_the_worker_ends_calls_and_their_server_is_told(
    bench: Bench, until: Until
) -> None:
    agent = bench.start(4, "--time-limit=20", "--soft-time-limit=1.5")
    view = bench.fleet.run(
        bench.fleet.call("a", arguments={"seconds": 60}),
        bench.fleet.call("b", "write", arguments={"seconds": 60}),
        bench.fleet.call("c"),
    )
    assert states(view) == {"a": "failed", "b": "unknown", "c": "succeeded"}
    assert {one(view, name).error["kind"] for name in "ab"} == {"timeout"}
    assert "1.5 s" in one(view, "a").error["message"]
    until(lambda: bench.fleet.executions()["cancelled a"] == 1)
    until(lambda: bench.fleet.executions()["cancelled b"] == 1)
    assert bench.fleet.executions()["read a"] == 1
    assert agent.log.read_text().count("time limits end operations") == 1


def test_a_time_limit_that_an_operator_sets_holds_from_then_on(bench: Bench) -> None:
    bench.start(4)
    assert "ok" in bench.control("time_limit", task_name="omx.operation", hard=0.5)
    view = bench.fleet.run(bench.fleet.call("a", arguments={"seconds": 60}))
    assert one(view, "a").error["kind"] == "timeout"


def test_a_time_limit_in_a_message_ends_its_operation(bench: Bench, store: Store) -> None:
    run = bench.fleet.submit(bench.fleet.call("a", arguments={"seconds": 60}))
    queue = queue_of([f"server:{bench.fleet.ledger}"])
    assert store.run(queues.purge(queue)) == 1
    bench.app.send_task("omx.operation", (run.id, "a"), queue=queue, time_limit=0.5)
    bench.start(4)
    assert one(run.wait(60), "a").error["kind"] == "timeout"


def test_ordinary_tasks_have_no_time_limits_here_and_that_is_said_once(bench: Bench) -> None:
    agent = bench.start(2)
    assert "time limits" not in agent.log.read_text()
    results = [bench.send("hold", 1, soft_time_limit=0.1, time_limit=0.2) for _ in range(3)]
    assert [result.get(timeout=60) for result in results] == ["done"] * 3
    assert agent.log.read_text().count("time limits end operations") == 1


@pytest.mark.parametrize("terminate", [True, False])
def test_an_ordinary_task_that_was_revoked_before_it_began_is_not_begun(
    bench: Bench, tmp_path: Path, until: Until, terminate: bool
) -> None:
    bench.start(1, "--prefetch-multiplier=4")
    first = bench.send("pass_gate", str(tmp_path / "gate"))
    second, third = (bench.send("touch", str(tmp_path / name)) for name in ("second", "third"))
    until(lambda: bench.report().stats.leased == 3)
    bench.app.control.revoke(
        second.id, terminate=terminate, destination=[bench.agent.name], reply=True, timeout=60
    )
    (tmp_path / "gate").touch()
    assert first.get(timeout=60) == "through"
    third.get(timeout=60)
    with pytest.raises(TaskRevokedError):
        second.get(timeout=60)
    until(lambda: bench.report().stats.counters.get("acked") == 3)
    assert not (tmp_path / "second").exists()
    assert (tmp_path / "third").exists()


def test_an_operation_that_waits_for_a_slot_and_is_revoked_never_reaches_its_server(
    bench: Bench, until: Until
) -> None:
    agent, gate = bench.start(1, "--prefetch-multiplier=4"), bench.fleet.gate()
    run = bench.fleet.submit(
        bench.fleet.call("a", arguments={"gate": str(gate)}, priority="P0"),
        bench.fleet.call("b", priority="P3"),
    )
    until(lambda: bench.operations().stats.leased == 2)
    bench.app.control.revoke(
        task_id(run.id, "b"), terminate=True, destination=[agent.name], reply=True, timeout=60
    )
    gate.touch()
    view = run.wait(60)
    assert states(view) == {"a": "succeeded", "b": "cancelled"}
    assert bench.fleet.executions()["read b"] == 0


def test_a_warm_shutdown_acknowledges_all_that_ends_during_it(
    bench: Bench, tmp_path: Path, until: Until
) -> None:
    agent = bench.start(32)
    for _ in range(25):
        bench.send("pass_gate", str(tmp_path / "gate"))
    gated = {"gate": str(tmp_path / "gate")}
    run = bench.fleet.submit(
        *(bench.fleet.call(f"a{n}", arguments={**gated, "key": str(n)}) for n in range(7))
    )
    until(lambda: bench.report().stats.leased == 25)
    until(lambda: bench.operations().stats.leased == 7)
    agent.signal(signal.SIGTERM)
    until(lambda: "what is under way ends first" in agent.log.read_text())
    (tmp_path / "gate").touch()
    assert agent.end() == 0
    assert run.wait(60).state == "succeeded"
    for report in (bench.report(), bench.operations()):
        counters = report.stats.counters
        assert counters["acked"] == counters["published"], agent.log.read_text()
        assert "returned" not in counters
        assert report.missing == 0


def test_a_warm_shutdown_gives_back_ordinary_tasks_that_were_not_begun(
    bench: Bench, tmp_path: Path, until: Until
) -> None:
    agent = bench.start(1, "--prefetch-multiplier=4")
    bench.send("pass_gate", str(tmp_path / "gate"))
    for _ in range(3):
        bench.send("touch", str(tmp_path / "file"))
    until(lambda: bench.report().stats.leased == 4)
    agent.signal(signal.SIGTERM)
    until(lambda: "what is under way ends first" in agent.log.read_text())
    (tmp_path / "gate").touch()
    assert agent.end() == 0
    stats = bench.report().stats
    assert (sum(stats.waiting), stats.leased, stats.counters["acked"]) == (3, 0, 1)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("signals", [["SIGQUIT"], ["SIGTERM", "SIGQUIT"]])
def test_a_cold_shutdown_gives_everything_back_at_once(
    bench: Bench, until: Until, signals: list[str]
) -> None:
    agent = bench.start(8, lease=60.0)
    for _ in range(3):
        bench.send("hold", 60)
    run = bench.fleet.submit(
        *(bench.fleet.call(f"a{n}", arguments={"seconds": 60}) for n in range(3))
    )
    until(lambda: bench.report().stats.leased == 3)
    until(lambda: _running(bench) == 3)
    for name in signals:
        agent.signal(signal.Signals[name])
        how = {"SIGTERM": "Warm", "SIGQUIT": "Cold"}[name]
        until(lambda how=how: f"{how} shutdown" in agent.log.read_text())
    agent.end()
    for report in (bench.report(), bench.operations()):
        assert (sum(report.stats.waiting), report.stats.leased) == (3, 0), agent.log.read_text()
        assert report.missing == 0
    assert states(run.status()) == {f"a{n}": "running" for n in range(3)}
    until(lambda: all(bench.fleet.executions()[f"cancelled a{n}"] == 1 for n in range(3)))
    assert "Traceback" not in agent.log.read_text()
