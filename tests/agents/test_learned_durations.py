"""A second run of a graph knows how long its operations took in the first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

from fleet import Fleet

from omx_tasks.api import submit_graph
from omx_tasks.graph.durations import Durations
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import Plan, compile_plan
from omx_tasks.graph.schedule import critical_path
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import durations, joins
from omx_tasks.store.client import Store


def _critical(plan: Plan) -> list[str]:
    return critical_path(plan, {name: step.seconds for name, step in plan.steps.items()})[1]


def _plan(fleet: Fleet, *words: object) -> str:
    command = [sys.executable, "-c", "from omx_tasks.cli.main import main; main()", "plan"]
    environ = {**os.environ, "OMX_BROKER_URL": fleet.url}
    done = subprocess.run(
        [*command, *map(str, words)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout


def test_the_second_run_of_a_graph_puts_the_slow_branch_first(
    shared: Fleet, store: Store, tmp_path: Path
) -> None:
    graph = Graph(
        name=f"branches {uuid.uuid4().hex}",
        operations=[
            shared.call("begin"),
            shared.call("quick", needs=["begin"]),
            shared.call("more", needs=["quick"]),
            shared.call("slow", needs=["begin"], arguments={"seconds": 0.5}),
            shared.call("end", needs=["more", "slow"]),
        ],
    )
    assert _critical(compile_plan(graph)) == ["begin", "quick", "more", "end"]

    assert submit_graph(store, graph, {}).wait(60).succeeded
    shared.until(lambda: len(durations.read(store, graph).operations) == 5)

    path = tmp_path / "graph.json"
    path.write_text(json.dumps(graph.to_data()))
    lines = _plan(shared, path).splitlines()
    assert all("s (measured in this graph)" in line for line in lines[1:6])
    steps = json.loads(_plan(shared, path, "--json"))["operations"]
    assert {step["seconds_from"] for step in steps.values()} == {"graph"}
    assert steps["slow"]["seconds"] > 0.49

    known: Durations = durations.read(store, graph)
    assert 0.49 < known.operations["slow"] < 60
    assert _critical(compile_plan(graph, known)) == ["begin", "slow", "end"]

    second = submit_graph(store, graph, {})
    document = store.run(joins.read_plan(second.id))
    ranks = {name: step.rank for name, step in StoredPlan.parse(document).steps.items()}
    assert ranks["slow"] > ranks["quick"], "it would have been the other way round at first"
    assert second.wait(60).succeeded


def test_the_items_of_a_foreach_are_learned_as_its_duration(shared: Fleet, store: Store) -> None:
    each = shared.call("each", foreach="${inputs.items}", arguments={"seconds": 0.2})
    graph = Graph(
        name=f"items {uuid.uuid4().hex}",
        inputs={"items": {"default": [1, 2, 3]}},
        operations=[each],
    )
    assert submit_graph(store, graph, {}).wait(60).succeeded
    shared.until(lambda: durations.read(store, graph).operations)
    known = durations.read(store, graph).operations
    assert list(known) == ["each"]
    assert 0.19 <= known["each"] < 60  # the clocks of a server and of its agent differ a little
