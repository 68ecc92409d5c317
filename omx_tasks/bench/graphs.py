"""Recorded workflows on a real system: how near a run comes to its ideal schedule, and what other orders would take.

::

    for each workflow, scaled to one ideal time:   as it is ─► with a barrier after each level ─► first in, first out

Every task is a call of a server that sleeps, so that nothing but the order and the system decides. All three run on the
same agents, one after the other. The ideal is that of the workflow itself for all three.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omx_tasks.api import submit_graph
from omx_tasks.bench import sleeper
from omx_tasks.bench.figures import Goal
from omx_tasks.bench.workflows import Workflow
from omx_tasks.deploy.system import SHORT_GRACE, LocalSystem
from omx_tasks.deploy.temporary import temporary_folder
from omx_tasks.errors import OmxError
from omx_tasks.graph.model import Graph
from omx_tasks.home import Home
from omx_tasks.mcp import config
from omx_tasks.monitoring.report import Report, report_of
from omx_tasks.runs.history import read_history
from omx_tasks.store.client import Store

Say = Callable[[str], None]

#: Two agents, so that slots must be handed from one to the other; eight slots in total.
AGENTS, SLOTS = 2, 4
GOAL = Goal("≤", 1.1)
#: Where the recorded workflows are in a checkout.
RECORDED = Path(__file__).parents[2] / "tests" / "data" / "wfinstances"


@dataclass(frozen=True)
class GraphFigure:
    """What one workflow took, in seconds; ``overhead`` and ``slot`` are those on the critical path of its run."""

    name: str
    operations: int
    ideal: float
    achieved: float
    overhead: float
    slot: float
    by_level: float
    first_in: float

    @property
    def ratio(self) -> float:
        """Achieved to ideal."""
        return self.achieved / self.ideal

    def as_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes."""
        return {
            **asdict(self),
            "ratio": self.ratio,
            "goal": GOAL.bound,
            "met": GOAL.met(self.ratio),
        }


@dataclass(frozen=True)
class Measured:
    """What came out."""

    figures: list[GraphFigure]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes."""
        return {
            "agents": AGENTS,
            "slots": AGENTS * SLOTS,
            "seconds": round(self.seconds, 1),
            "graphs": [figure.as_json() for figure in self.figures],
        }


def measure(
    workflows: Sequence[Workflow], ideal: float, environ: Mapping[str, str], say: Say
) -> Measured:
    """Run every workflow in the three orders; everything that this starts is gone when it returns or raises."""
    began = time.monotonic()
    with temporary_folder("omx-bench-") as folder, _system(folder, environ, say) as store:
        figures = [
            _figure(store, one.scaled(ideal, AGENTS * SLOTS), ideal, say) for one in workflows
        ]
    return Measured(figures, time.monotonic() - began)


@contextmanager
def _system(folder: Path, environ: Mapping[str, str], say: Say) -> Iterator[Store]:
    path = folder / "mcp.json"
    command = {"command": sys.executable, "args": [sleeper.__file__]}
    path.write_text(json.dumps({"mcpServers": {sleeper.NAME: command}}), "utf-8")
    home = Home(folder / "home")
    system = LocalSystem(
        home, config.load(path), environ, agents=AGENTS, slots=SLOTS, say=say, grace=SHORT_GRACE
    )
    try:
        system.start()
        store = Store(system.url)
        try:
            yield store
        finally:
            store.close()
    finally:
        system.stop()


def _figure(store: Store, workflow: Workflow, ideal: float, say: Say) -> GraphFigure:
    say(f"{workflow.name}: {len(workflow.seconds)} operations")
    ours = _run(store, workflow.graph())
    return GraphFigure(
        name=workflow.name,
        operations=len(workflow.seconds),
        ideal=ideal,
        achieved=ours.seconds,
        overhead=ours.where["overhead"],
        slot=ours.where["slot"],
        by_level=_run(store, workflow.by_level()).seconds,
        first_in=_run(store, workflow.first_in()).seconds,
    )


def _run(store: Store, graph: Graph) -> Report:
    run = submit_graph(store, graph, {})
    view = run.wait()
    if not view.succeeded:
        raise OmxError(f"run {run.id} of {graph.name} ended as {view.state}")
    return report_of(read_history(store, run.id), AGENTS * SLOTS)
