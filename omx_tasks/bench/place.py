"""Where operations are measured: a cluster, a folder, and what every measurement needs of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from omx_tasks.api import submit_graph
from omx_tasks.bench import fleet, sleeper
from omx_tasks.bench.app import CONFIGURATION
from omx_tasks.bench.figures import Goal
from omx_tasks.bench.fleet import Agent
from omx_tasks.bench.sides import Side
from omx_tasks.bench.usage import Parts, parts_of, processor_seconds
from omx_tasks.bench.worker import Worker
from omx_tasks.errors import OmxError
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.runs.view import OperationView, RunView
from omx_tasks.store.client import Store

#: Operations in flight on one agent, where nothing else is said.
SLOTS = 32
#: Seconds in which any run must be over.
DEADLINE = 300.0


@dataclass(frozen=True)
class Row:
    """One figure, beside its goal where it has one."""

    title: str
    value: float
    unit: str = ""
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        return None if self.goal is None else self.goal.met(self.value)

    def as_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True)
class Measured:
    """All figures, how much was done for them (a dataclass), and the seconds that they took.

    ``notes`` say what was left out, and why.
    """

    size: Any
    rows: Sequence[Row]
    seconds: float
    notes: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes."""
        return {
            "size": asdict(self.size),
            "rows": [row.as_json() for row in self.rows],
            "seconds": round(self.seconds, 1),
            "notes": [*self.notes],
        }


@dataclass(frozen=True)
class Place:
    """A cluster that is up (``side``, ``store``), a folder for logs, and whom to tell what is done (``say``)."""

    folder: Path
    side: Side
    store: Store
    say: Callable[[str], None]

    @property
    def cluster(self) -> Path:
        """The folder of the cluster."""
        return self.folder / "cluster"

    def agents(self, *agents: Agent) -> AbstractContextManager[list[int]]:
        """Run agents; gives their process ids."""
        return fleet.running(self.folder, self.store, agents)

    def worker(
        self, name: str, app: str, options: Sequence[str], side: Side, **environ: str
    ) -> Worker:
        """Make a Celery worker that has a side's settings; nothing runs yet."""
        settings = {CONFIGURATION: json.dumps(side.settings), "TMPDIR": str(self.folder)}
        return Worker(name, app, options, settings | environ, self.folder / f"{name}.log")

    def run(self, graph: Graph) -> RunView:
        """Run a graph of which everything must succeed."""
        view = submit_graph(self.store, graph, {}).wait(DEADLINE)
        if not view.succeeded:
            raise OmxError(f"run {view.run} of {graph.name} ended as {view.state}")
        return view

    def watch(
        self, agents: Sequence[int], nodes: list[psutil.Process] | None = None
    ) -> Callable[[], dict[str, float]]:
        """Return what tells the processor seconds that each part used since now; ``nodes`` replace the cluster's."""
        parts: Parts = parts_of(agents, self.cluster)
        if nodes is not None:
            parts = {**parts, "redis": nodes}
        before = processor_seconds(parts)
        return lambda: {part: now - before[part] for part, now in processor_seconds(parts).items()}


def independent(server: str, count: int, seconds: float = 0.0) -> Graph:
    """Return operations that wait for nothing."""
    return _graph(_operation(f"o{number}", server, seconds) for number in range(count))


def chain(servers: Sequence[str], count: int) -> Graph:
    """Return operations one after the other, over these servers in turn."""
    return _graph(
        _operation(f"o{number}", servers[number % len(servers)], 0.0, number - 1)
        for number in range(count)
    )


def calls_of(view: RunView) -> list[OperationView]:
    """Return the operations of a run, in the order of its graph."""
    return [one for one in view.operations.values() if isinstance(one, OperationView)]


def _graph(operations: Any) -> Graph:
    return Graph(name="bench", operations=tuple(operations))


def _operation(name: str, server: str, seconds: float, after: int = -1) -> Operation:
    return Operation(
        id=name,
        server=server,
        tool=sleeper.TOOL,
        arguments={"seconds": seconds, "task": name},
        needs=() if after < 0 else (f"o{after}",),
    )
