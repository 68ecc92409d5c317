"""Servers are opened before runs need them, and kept as long as they do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fleet import Agent, Fleet, states

from omx_tasks.agents.registry import agents
from omx_tasks.graph.model import Operation

#: A server that takes a while to start.
SLOW = """
import os, sys, time
from mcp.server.mcpserver import MCPServer
time.sleep(float(sys.argv[1]))
server = MCPServer("slow", log_level="WARNING")
@server.tool()
def say(word: str) -> str:
    return word
server.run()
"""

Until = Callable[..., None]


@pytest.fixture
def slow(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server that nobody has open."""
    program, name = tmp_path / "slow.py", f"slow_{fleet.ledger}"
    program.write_text(SLOW)
    fleet.others[name] = {"command": sys.executable, "args": [str(program), "0.5"]}
    monkeypatch.setenv("OMX_WARM", f"planned,{fleet.ledger}")
    return name


def say(slow: str, name: str, *needs: str) -> Operation:
    return Operation(id=name, server=slow, tool="say", arguments={"word": name}, needs=list(needs))


def warm(fleet: Fleet, agent: Agent) -> Any:
    return next(one.warmth for one in agents(fleet.store) if one.name == agent.name)


def test_a_server_is_open_when_a_run_comes_to_need_it(fleet: Fleet, slow: str) -> None:
    agent = fleet.start()
    assert warm(fleet, agent)["cold"] == [slow]
    wait = fleet.call("wait", arguments={"seconds": 5.0}, expect=5.0)
    view = fleet.run(wait, say(slow, "after", "wait"))
    assert states(view) == {"wait": "succeeded", "after": "succeeded"}
    print(view.operations, warm(fleet, agent), agent.log.read_text())
    assert one_cold(view, "after") == 0
    assert one_cold(view, "wait") == 0


def one_cold(view: Any, name: str) -> float:
    return view.operations[name].cold
