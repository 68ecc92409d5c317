"""Servers are opened before runs need them, kept as long as they do, and work goes to agents that have them open."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fleet import Agent, Fleet, one, states

from omx_tasks.agents.registry import agents
from omx_tasks.broker import audit
from omx_tasks.broker.routing import queue_of
from omx_tasks.graph.model import Operation
from omx_tasks.store import keys
from omx_tasks.store.link import Link

#: A server that takes a while to start, and one whose calls end when a file is there.
PROGRAM = """
import asyncio, sys, time
from pathlib import Path
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
time.sleep(float(sys.argv[1]))
server = MCPServer("slow", log_level="WARNING")
reads = ToolAnnotations(read_only_hint=True)
@server.tool(annotations=reads)
async def nap(word: str, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return word
@server.tool(annotations=reads)
async def gate(file: str) -> str:
    while not Path(file).exists():
        await asyncio.sleep(0.02)
    return file
server.run()
"""

Until = Callable[..., None]


@pytest.fixture
def slow(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server that is opened when it is needed; all others are always open."""
    program, name = tmp_path / "slow.py", f"slow_{fleet.ledger}"
    program.write_text(PROGRAM)
    for server, seconds in ((name, "0.5"), (gate_of(fleet), "0")):
        fleet.others[server] = {"command": sys.executable, "args": [str(program), seconds]}
    monkeypatch.setenv("OMX_WARM", f"planned,{always(fleet)}")
    return name


def gate_of(fleet: Fleet) -> str:
    return f"gate_{fleet.ledger}"


def always(fleet: Fleet) -> str:
    return f"{fleet.ledger},{gate_of(fleet)}"


def nap(slow: str, name: str, *needs: str, seconds: float = 0.0) -> Operation:
    arguments = {"word": name, "seconds": seconds}
    return Operation(id=name, server=slow, tool="nap", arguments=arguments, needs=list(needs))


def gate(fleet: Fleet, *needs: str) -> Operation:
    """An operation that ends when it is told to, and is expected to take a moment."""
    return Operation(
        id="gate",
        server=gate_of(fleet),
        tool="gate",
        arguments={"file": str(fleet.folder / "gate")},
        needs=list(needs),
        expect=1,
    )


def open_gate(fleet: Fleet) -> None:
    (fleet.folder / "gate").touch()


def warm(fleet: Fleet, agent: Agent) -> Any:
    return next(one.warmth for one in agents(fleet.store) if one.name == agent.name)


def session(fleet: Fleet, agent: Agent, server: str) -> Any:
    sessions = next(one.sessions for one in agents(fleet.store) if one.name == agent.name)
    return next(one for one in sessions if one["server"] == server)


def consumers(fleet: Fleet, server: str) -> int:
    queue = queue_of([f"server:{server}"])
    return next(
        (report.consumers for report in audit.reports(fleet.store) if report.name == queue), 0
    )


def test_a_server_is_open_when_a_run_comes_to_need_it(
    fleet: Fleet, slow: str, until: Until
) -> None:
    agent = fleet.start()
    assert warm(fleet, agent)["cold"] == [slow]
    run = fleet.submit(gate(fleet), nap(slow, "after", "gate"))
    until(lambda: session(fleet, agent, slow)["state"] == "idle")
    open_gate(fleet)
    view = run.wait(60)
    assert states(view) == {"gate": "succeeded", "after": "succeeded"}
    assert one(view, "after").cold == 0
    assert warm(fleet, agent)["cold_starts"] == 0


def test_reads_of_a_server_that_nobody_has_seen_wait_for_it_and_not_for_each_other(
    fleet: Fleet, slow: str
) -> None:
    fleet.start()
    view = fleet.run(*(nap(slow, f"o{n}") for n in range(6)))
    assert set(states(view).values()) == {"succeeded"}
    assert all(one(view, f"o{n}").cold > 0 for n in range(6))


def test_an_agent_that_starts_later_knows_what_a_run_is_going_to_need(
    fleet: Fleet, slow: str, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    planned = os.environ["OMX_WARM"]
    monkeypatch.setenv("OMX_WARM", always(fleet))
    first = fleet.start()
    run = fleet.submit(gate(fleet), nap(slow, "after", "gate"))
    until(lambda: session(fleet, first, gate_of(fleet))["state"] == "busy")
    monkeypatch.setenv("OMX_WARM", planned)
    second = fleet.start()
    until(lambda: session(fleet, second, slow)["state"] == "idle")
    until(lambda: consumers(fleet, slow) == 1)
    open_gate(fleet)
    view = run.wait(60)
    assert (one(view, "gate").agent, one(view, "after").agent) == (first.name, second.name)
    assert one(view, "after").cold == 0


def test_a_server_that_now_and_then_opens_slowly_is_opened_all_the_earlier(
    fleet: Fleet, slow: str, until: Until
) -> None:
    """It would be opened two seconds before it is needed if its openings were all alike."""
    measured = keys.opening_durations()
    fleet.store.command(measured, "HSET", measured, slow, "1 15")
    agent = fleet.start()
    run = fleet.submit(gate(fleet).model_copy(update={"expect": 60}), nap(slow, "after", "gate"))
    until(lambda: session(fleet, agent, slow)["state"] == "idle")
    open_gate(fleet)
    assert one(run.wait(60), "after").cold == 0


def test_a_run_that_was_submitted_while_nothing_was_heard_is_prepared_for(
    fleet: Fleet, slow: str, until: Until
) -> None:
    agent = fleet.start()
    agent.signal(signal.SIGSTOP)
    for node in fleet.store.topology.masters:
        link = Link(node, fleet.store.address).connect(5)
        link.ask([("CLIENT", "KILL", "TYPE", "pubsub")], time.monotonic() + 5)
        link.close()
    run = fleet.submit(gate(fleet), nap(slow, "after", "gate"))
    agent.signal(signal.SIGCONT)
    until(lambda: session(fleet, agent, slow)["state"] == "idle")
    open_gate(fleet)
    assert one(run.wait(60), "after").cold == 0


def test_a_server_that_rests_is_closed_but_not_while_a_run_needs_it(
    fleet: Fleet, slow: str, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setenv("OMX_WARM_IDLE", "0.5")
    agent = fleet.start()
    run = fleet.submit(nap(slow, "a"), gate(fleet, "a"), nap(slow, "b", "gate"))
    until(lambda: (session(fleet, agent, slow)["age"] or 0) > 4)
    assert warm(fleet, agent)["evicted"] == 0
    open_gate(fleet)
    view = run.wait(60)
    assert (one(view, "a").cold > 0, one(view, "b").cold) == (True, 0)
    until(lambda: warm(fleet, agent)["evicted"] == 1)
    until(lambda: warm(fleet, agent)["cold"] == [slow])
    assert one(fleet.run(nap(slow, "c")), "c").state == "succeeded"


def test_where_memory_is_short_what_nobody_needs_is_closed(
    fleet: Fleet, slow: str, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setenv("OMX_WARM_MEMORY", "1MiB")
    agent = fleet.start()
    assert one(fleet.run(nap(slow, "a")), "a").state == "succeeded"
    until(lambda: warm(fleet, agent)["evicted"] == 1)


def test_a_server_is_opened_that_is_expected_to_be_called(
    fleet: Fleet, slow: str, until: Until
) -> None:
    fleet.store.command(keys.expected(), "SET", keys.expected(), json.dumps({slow: 3}), "EX", 60)
    agent = fleet.start()
    until(lambda: session(fleet, agent, slow)["state"] == "idle")
    assert one(fleet.run(nap(slow, "a")), "a").cold == 0


def test_a_cold_agent_leaves_work_to_a_warm_one_unless_that_takes_longer_than_to_get_warm(
    fleet: Fleet, slow: str, until: Until
) -> None:
    first = fleet.start(slots=1)
    assert one(fleet.run(nap(slow, "first")), "first").cold > 0
    measured = keys.opening_durations()
    until(lambda: fleet.store.command(measured, "HGET", measured, slow))
    fleet.store.command(measured, "HSET", measured, slow, "1 0")
    second = fleet.start(slots=1)
    until(lambda: consumers(fleet, slow) == 1)
    view = fleet.run(*(nap(slow, f"few{n}") for n in range(10)))
    assert {one(view, f"few{n}").agent for n in range(10)} == {first.name}
    view = fleet.run(*(nap(slow, f"many{n}", seconds=1.0) for n in range(15)))
    many = [one(view, f"many{n}") for n in range(15)]
    assert {operation.agent for operation in many} == {first.name, second.name}
    assert [operation.cold for operation in many] == [0.0] * 15
