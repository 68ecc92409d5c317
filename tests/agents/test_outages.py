"""While a server cannot be called from an agent, its operations wait or go elsewhere; none is lost, none spins."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from fleet import Agent, Fleet, one, states

from omx_tasks.agents.registry import agents
from omx_tasks.broker import queues
from omx_tasks.broker.routing import queue_of
from omx_tasks.graph.model import Operation
from omx_tasks.runs.view import read

#: A server that starts only while a file is there, and notes where it runs.
FITFUL = """
import os, sys
from pathlib import Path
from mcp.server.mcpserver import MCPServer
if not Path(sys.argv[1] + os.environ["WHERE"]).exists():
    sys.exit("not here, not now")
server = MCPServer("fitful", log_level="WARNING")
@server.tool()
def where() -> str:
    return os.environ["WHERE"]
server.run()
"""

Until = Callable[..., None]


@pytest.fixture
def fitful(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server that starts on an agent only once there is a file ``here-AGENT``."""
    program, name = tmp_path / "fitful.py", f"fitful_{fleet.ledger}"
    program.write_text(FITFUL)
    args = [str(program), str(tmp_path / "here-")]
    env = {"WHERE": "${WHERE}"}
    fleet.others[name] = {"command": sys.executable, "args": args, "env": env}
    return name


def start(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, where: str) -> Agent:
    monkeypatch.setenv("WHERE", where)
    return fleet.start()


def allow(tmp_path: Path, where: str) -> None:
    (tmp_path / f"here-{where}").touch()


def where_calls(fitful: str, count: int) -> list[Operation]:
    return [Operation(id=f"o{n}", server=fitful, tool="where", timeout=10) for n in range(count)]


def record(fleet: Fleet, agent: Agent) -> Any:
    return next(one for one in agents(fleet.store) if one.name == agent.name)


def test_operations_wait_for_a_server_that_comes_later_and_are_not_delivered_meanwhile(
    fleet: Fleet,
    fitful: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    until: Until,
) -> None:
    agent = start(fleet, monkeypatch, "a")
    shown = record(fleet, agent)
    assert fitful in shown.failed
    assert fitful not in shown.servers
    assert shown.circuits[fitful]["state"] in ("open", "half-open")
    assert "not here, not now" in shown.circuits[fitful]["reason"]

    run = fleet.submit(*where_calls(fitful, 20), fleet.call("other"))
    until(lambda: states(read(fleet.store, run.id))["other"] == "succeeded")
    queue = queue_of((f"server:{fitful}",))
    stats = queues.read_stats(fleet.store.run(queues.stats(queue)))
    assert (sum(stats.waiting), stats.leased, stats.counters.get("returned", 0)) == (20, 0, 0)

    allow(tmp_path, "a")
    view = run.wait(60)
    assert set(states(view).values()) == {"succeeded"}
    assert {one(view, name).attempts for name in view.operations} == {1}
    until(lambda: (record(fleet, agent).circuits, record(fleet, agent).failed) == ({}, {}))
    log = agent.log.read_text()
    assert log.count("is not called for now") == 1
    assert log.count("can be called again") == 1


def test_operations_go_to_an_agent_that_can_call_the_server(
    fleet: Fleet, fitful: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMX_SERVER_PATIENCE", "60")
    allow(tmp_path, "b")
    start(fleet, monkeypatch, "a")
    start(fleet, monkeypatch, "b")
    view = fleet.run(*where_calls(fitful, 20))
    assert set(states(view).values()) == {"succeeded"}
    assert {one(view, name).text for name in view.operations} == {"b"}


def test_operations_fail_with_the_reason_when_nobody_can_call_their_server_for_long(
    fleet: Fleet, fitful: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMX_SERVER_PATIENCE", "2")
    start(fleet, monkeypatch, "a")
    view = fleet.run(*where_calls(fitful, 3))
    assert set(states(view).values()) == {"failed"}
    assert {one(view, name).error["kind"] for name in view.operations} == {"server"}
    assert "not here, not now" in one(view, "o0").error["message"]


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_reads_survive_a_server_that_dies_or_hangs_in_their_middle(
    fleet: Fleet, until: Until, sign: signal.Signals
) -> None:
    agent, gate = fleet.start(), fleet.gate()
    slow = {"gate": str(gate)}
    run = fleet.submit(
        *(fleet.call(f"r{n}", timeout=5, arguments=slow) for n in range(20)),
        *(fleet.call(f"w{n}", "write", timeout=5, arguments=slow) for n in range(5)),
        fleet.call("after", "write", needs=[f"r{n}" for n in range(20)]),
    )
    until(lambda: sum(fleet.executions().values()) >= 21)  # writes take turns
    (server,) = psutil.Process(agent.process.pid).children()
    os.kill(server.pid, sign)
    gate.touch()
    view = run.wait(60)
    seen = states(view)
    assert {seen[f"r{n}"] for n in range(20)} == {"succeeded"}
    assert [seen[f"w{n}"] for n in range(5)].count("unknown") == 1
    assert [seen[f"w{n}"] for n in range(5)].count("succeeded") == 4
    assert seen["after"] == "succeeded"
    assert [fleet.executions()[f"write w{n}"] for n in range(5)] == [1] * 5
    print(json.dumps({"signal": sign.name, "seconds": round(view.seconds, 2)}))
