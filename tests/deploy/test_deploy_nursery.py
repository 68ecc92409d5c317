"""A nursery: agents that are forks of one process, kept up, scaled and drained; nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from omx_tasks.agents.registry import AgentRecord, agents
from omx_tasks.agents.scaling.nurseries import NurseryRecord, nurseries, want
from omx_tasks.api import Run
from omx_tasks.bench import sleeper
from omx_tasks.broker import audit, partitions, queues
from omx_tasks.broker.routing import PREFIX
from omx_tasks.coordination import decided
from omx_tasks.coordination.leader import Leader, Term
from omx_tasks.coordination.scaling import ScalingDuty
from omx_tasks.deploy.forkserver import ForkServer
from omx_tasks.deploy.nursery import Nursery
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.monitoring.flows import Expected
from omx_tasks.runs.submit import submit
from omx_tasks.settings import load
from omx_tasks.store.client import Store

PATIENCE = 60.0


@dataclass
class Kept:
    """A nursery that is looked at all the time, its server, and what it told."""

    nursery: Nursery
    server: str
    folder: Path
    told: list[Any]

    @property
    def pids(self) -> dict[str, int]:
        return {
            process.name: process.launched.pid
            for process in self.nursery.processes
            if process.launched is not None and process.alive
        }

    def heard(self, store: Store) -> list[AgentRecord]:
        """Return its agents that were heard."""
        place = f"@{self.nursery.id.partition('@')[2]}"
        return [one for one in agents(store) if one.name.endswith(place)]

    def warm(self, store: Store) -> set[int]:
        """The process ids of the agents that were heard."""
        return {one.pid for one in self.heard(store)}

    def busy(self, store: Store) -> bool:
        """Whether one of its agents said that it works."""
        return any(one.busy for one in self.heard(store))

    def submit(self, store: Store, count: int, seconds: float) -> Run:
        operations = [
            Operation(
                id=f"o{number}",
                server=self.server,
                tool=sleeper.TOOL,
                arguments={"seconds": seconds, "task": f"o{number}"},
            )
            for number in range(count)
        ]
        plan = compile_plan(Graph(name="nursery", operations=operations))
        return Run(submit(store, plan, {}, keep=600), store)

    def left(self) -> list[psutil.Process]:
        """Return every process that has to do with it."""
        mark = str(self.folder)
        found = []
        for process in psutil.process_iter():
            try:
                if mark in str(process.environ()) and process.pid != os.getpid():
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def silence() -> float:
    """Seconds after which an agent is taken for hung: more than any is late on a busy machine."""
    return PATIENCE


@pytest.fixture
def kept(tmp_path: Path, cluster_url: str, until: Any, silence: float) -> Iterator[Kept]:
    """A nursery of two agents with a server of their own."""
    server = f"sleeper_{uuid.uuid4().hex[:8]}"
    path = tmp_path / "mcp.json"
    env = {"TEST_PLACE": str(tmp_path)}
    command = {"command": sys.executable, "args": [sleeper.__file__], "env": env}
    path.write_text(json.dumps({"mcpServers": {server: command}}))
    ours = {"OMX_BROKER_URL": cluster_url, "OMX_MCP_CONFIG": str(path), "OMX_LEASE": "3"}
    environ = {**os.environ, **ours, **env}
    told: list[Any] = []
    nursery = Nursery(
        name="nursling",
        forks=ForkServer(tmp_path / "forkserver.log", environ),
        logs=tmp_path,
        environ=environ,
        store=Store(cluster_url, timeout=5.0),
        least=1,
        most=3,
        idle=2.0,
        publisher=SimpleNamespace(publish_many=told.extend, flush=lambda _: True),
        silence=silence,
    )
    stopping = threading.Event()

    def keep() -> None:
        while not stopping.wait(0.05):
            nursery.look()

    keeper = threading.Thread(target=keep)
    one = Kept(nursery, server, tmp_path, told)
    try:
        nursery.start(2)
        nursery.await_warm(threading.Event())
        keeper.start()
        yield one
    finally:
        stopping.set()
        if keeper.ident is not None:
            keeper.join()
        nursery.stop(10.0)
    until(lambda: one.left() == [], 10)  # what was told to end may do so


@pytest.fixture
def term(cluster_url: str, until: Any) -> Iterator[Term]:
    """The test leads, long enough."""
    leader = Leader(lambda: Store(cluster_url), "test", lease=600.0)
    until(lambda: leader.beat("{}") and leader.term is not None)
    assert leader.term is not None
    yield leader.term
    leader.close()


@pytest.mark.timeout(240)
def test_killed_agents_come_back_and_a_drain_loses_no_operation(kept, store, until):
    first = kept.pids
    assert len(first) == 2
    for pid in first.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(kept.warm(store) - set(first.values())) == 2, PATIENCE)
    assert set(kept.pids) == set(first)
    assert [kind for kind, *_ in kept.told] == ["agent.died", "agent.died"]
    assert kept.told[0][1]["reason"] == "was ended by SIGKILL"

    run = kept.submit(store, 40, 3.0)
    until(lambda: kept.busy(store), PATIENCE)
    want(store, kept.nursery.id, 1)
    until(lambda: len(kept.pids) == 1, PATIENCE)
    view = run.wait(PATIENCE)
    assert view.succeeded
    assert all(one.attempts == 1 for one in view.operations.values())

    want(store, kept.nursery.id, 7)
    until(lambda: len(kept.warm(store)) == 3, PATIENCE)
    until(lambda: _record(kept, store).running == 3, PATIENCE)
    until(lambda: _record(kept, store).wanted == 3)  # no more than its most


@pytest.mark.timeout(240)
def test_an_agent_that_dies_again_and_again_is_told_of_as_crashing_once(kept, until):
    name = min(kept.pids)
    for deaths in range(1, 5):
        until(lambda: name in kept.pids, PATIENCE)
        os.kill(kept.pids[name], signal.SIGKILL)
        until(lambda deaths=deaths: _told(kept, "agent.died") == deaths, PATIENCE)
    assert _told(kept, "agent.crashing") == 1
    (crashing,) = [data for kind, data, *_ in kept.told if kind == "agent.crashing"]
    assert crashing["agent"].startswith(name)
    assert (crashing["reason"], crashing["deaths"]) == ("was ended by SIGKILL", 3)


@pytest.mark.timeout(240)
def test_a_load_brings_agents_and_its_end_drains_them_without_loss(kept, store, term, until):
    _delete_what_waits(store)
    given = load({})
    duty, said = ScalingDuty(given, Expected(given)), []

    def look() -> None:
        if changed := duty(term):
            said.append(changed)

    want(store, kept.nursery.id, 1)
    until(lambda: _record(kept, store).running == 1, PATIENCE)
    run = kept.submit(store, 600, 1.0)

    def three() -> bool:
        look()
        return _record(kept, store).running == 3

    until(three, PATIENCE)
    until(lambda: _record(kept, store).memory > 2**20)
    assert said[0].startswith("everything 1 → ")
    assert "P2 would wait" in said[0]
    rises = len(said)  # two, where agents take long to be warm

    def one() -> bool:
        look()
        record = _record(kept, store)
        return run.status().over and record.running == len(record.agents) == 1

    until(one, 2 * PATIENCE)
    view = run.wait(PATIENCE)
    assert view.succeeded
    assert {operation.attempts for operation in view.operations.values()} == {1}
    assert len(said) == rises + 2
    assert all("would have been enough for 2 s" in fall for fall in said[rises:])
    (told,) = [one for one in decided.read(store) if one.servers == [kept.server]]
    assert (told.wanted, told.least, told.most, told.managed) == (1, 1, 3, True)


def _delete_what_waits(store: Store) -> None:
    """Agents of this kind are for any words: messages that other tests left would wait for them, and keep them."""
    for one in audit.reports(
        store, [name for name in audit.names(store) if name.startswith(PREFIX)]
    ):
        if one.present:
            names = partitions.all_of(store, one.name)
            store.run_many([queues.delete(name) for name in names])


@pytest.mark.timeout(240)
def test_a_fork_server_that_dies_takes_its_agents_along_and_another_takes_its_place(
    kept, store, until
):
    first = set(kept.pids.values())
    assert kept.nursery.forks.pid is not None
    os.kill(kept.nursery.forks.pid, signal.SIGKILL)
    until(lambda: len(kept.warm(store) - first) == 2, PATIENCE)
    until(lambda: not first & {process.pid for process in kept.left()})


def _told(kept: Kept, kind: str) -> int:
    return [one for one, *_ in kept.told].count(kind)


def _record(kept: Kept, store: Store) -> NurseryRecord:
    """Return what it said last; it has not begun to speak, or was silent for long, where that is of nothing."""
    heard = [one for one in nurseries(store) if one.name == kept.nursery.id]
    return heard[0] if heard else NurseryRecord(kept.nursery.id, "", 0, "", 0, 0, -1, -1)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("silence", [4.0])
def test_a_stopped_agent_is_ended_and_a_retiring_one_replaced_and_nothing_is_lost(
    kept, store, until
):
    first = kept.pids
    run = kept.submit(store, 40, 1.0)
    until(lambda: kept.busy(store), PATIENCE)
    stopped, retiring = first.values()
    os.kill(stopped, signal.SIGSTOP)
    until(lambda: kept.told, PATIENCE)
    assert [(kind, data["deaths"]) for kind, data, *_ in kept.told] == [("agent.died", 1)]
    assert "hung" in kept.told[0][1]["reason"]
    os.kill(retiring, signal.SIGTERM)  # as one does that has used too much
    until(lambda: len(kept.warm(store) - set(first.values())) == 2, PATIENCE)
    assert run.wait(PATIENCE).succeeded
    assert len(kept.told) == 1  # an end in good order is no death
    until(lambda: (_record(kept, store).hung, _record(kept, store).recycled) == (1, 1), PATIENCE)
