"""Real agents with real servers, for tests."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forked import Forked

from omx_tasks.agents.registry import agents
from omx_tasks.api import Run
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.runs.submit import submit
from omx_tasks.runs.view import OperationView, RunView
from omx_tasks.store.client import Store

LEDGER = Path(__file__).parent / "servers" / "ledger.py"
READY, END = 60.0, 40.0

Until = Callable[..., None]
Needs = Sequence[str]


@dataclass
class Agent:
    """One agent's process."""

    name: str
    process: Forked
    log: Path

    def signal(self, sign: signal.Signals) -> None:
        self.process.send_signal(sign)

    def end(self) -> int:
        """Wait until it ended by itself."""
        return self.process.wait(END)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.end()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(END)


@dataclass
class Fleet:
    """Agents that share a server file; their server ``ledger`` has a name that no other fleet uses."""

    folder: Path
    url: str
    store: Store
    until: Until
    others: dict[str, Any] = field(default_factory=dict)
    ledger: str = field(default_factory=lambda: f"ledger_{uuid.uuid4().hex[:8]}")
    #: What the server file says of it under "omx".
    hints: dict[str, Any] = field(default_factory=dict)
    agents: list[Agent] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def start(
        self,
        slots: int = 32,
        *,
        lease: float = 30.0,
        options: Sequence[str] | None = None,
        template: str = "",
    ) -> Agent:
        """Start an agent and wait until it is warm; with ``options`` it is a ``celery worker`` with them.

        One of a ``template`` has the slots that this says.
        """
        name = f"agent{next(self._numbers)}@{self.ledger}"
        words = ["workers.agent", "--name", name]
        if options is not None:
            words = ["celery", "-A", "omx_tasks", "worker", "-n", name, *options]
        log = self.folder / f"{name}.log"
        environ = {**os.environ, **self.environ(slots, lease)}
        if template:
            environ["OMX_TEMPLATE"] = template
            del environ["OMX_SLOTS"]
        agent = Agent(name, Forked(words, environ, log), log)
        self.agents.append(agent)
        self.until(lambda: self._is_ready(agent), READY)
        return agent

    def environ(self, slots: int, lease: float) -> dict[str, str]:
        return {
            "OMX_BROKER_URL": self.url,
            "OMX_MCP_CONFIG": str(self._config()),
            "OMX_SLOTS": str(slots),
            "OMX_LEASE": str(lease),
        }

    def _config(self) -> Path:
        path = self.folder / "mcp.json"
        command = [sys.executable, str(LEDGER), str(self._ledger_file)]
        server = {"command": command[0], "args": command[1:], "omx": self.hints}
        path.write_text(json.dumps({"mcpServers": {self.ledger: server, **self.others}}))
        return path

    @property
    def _ledger_file(self) -> Path:
        return self.folder / "ledger"

    def _is_ready(self, agent: Agent) -> bool:
        assert agent.process.poll() is None, agent.log.read_text()
        return any(
            self.ledger in one.servers and _is(one.name, agent) for one in agents(self.store)
        )

    def gate(self, name: str = "gate") -> Path:
        """Return a file without which calls that name it as their ``gate`` do not end; touch it."""
        return self.folder / f"{name}-{uuid.uuid4().hex[:8]}"

    def executions(self) -> Counter[str]:
        """Count what the server wrote down: ``TOOL KEY`` → how often."""
        return Counter(self._ledger_file.read_text().splitlines())

    def answered(self) -> Counter[str]:
        """Count what the server was about to answer."""
        return Counter(Path(f"{self._ledger_file}.ended").read_text().splitlines())

    def call(self, name: str, tool: str = "read", needs: Needs = (), **fields: Any) -> Operation:
        """Make an operation of the ledger's server."""
        arguments = {"key": name, **fields.pop("arguments", {})}
        return Operation(
            id=name, server=self.ledger, tool=tool, needs=list(needs), arguments=arguments, **fields
        )

    def submit(self, *operations: Operation, name: str = "test", partitions: int = 1) -> Run:
        plan = compile_plan(Graph(name=name, operations=list(operations)))
        run_id = submit(self.store, plan, {}, keep=600, partitions=partitions)
        return Run(run_id, self.store)

    def run(self, *operations: Operation, seconds: float = 60.0) -> RunView:
        return self.submit(*operations).wait(seconds)

    def stop(self) -> None:
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.signal(signal.SIGTERM)
        for agent in self.agents:
            agent.stop()


def _is(name: str, agent: Agent) -> bool:
    """Whether a record is of this agent, or of one of its processes."""
    return name == agent.name or name.partition(".")[2] == agent.name


def one(view: RunView, name: str) -> OperationView:
    found = view.operations[name]
    assert isinstance(found, OperationView), found
    return found


def states(view: RunView) -> dict[str, str]:
    return {name: one(view, name).state for name in view.operations}


class Clock:
    """Measures; ``seconds`` so far."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began
