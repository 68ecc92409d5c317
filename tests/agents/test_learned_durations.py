"""A second run of a graph knows how long its operations took in the first."""

from __future__ import annotations

import uuid

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


def test_the_second_run_of_a_graph_puts_the_slow_branch_first(shared: Fleet, store: Store) -> None:
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

    assert submit_graph(store, graph, {}).wait(30).succeeded
    shared.until(lambda: len(durations.read(store, graph).operations) == 5)

    known: Durations = durations.read(store, graph)
    assert 0.5 <= known.operations["slow"] < 5
    assert _critical(compile_plan(graph, known)) == ["begin", "slow", "end"]

    second = submit_graph(store, graph, {})
    document = store.run(joins.read_plan(second.id))
    ranks = {name: step.rank for name, step in StoredPlan.parse(document).steps.items()}
    assert ranks["slow"] > ranks["quick"], "it would have been the other way round at first"
    assert second.wait(30).succeeded


def test_the_items_of_a_foreach_are_learned_as_its_duration(shared: Fleet, store: Store) -> None:
    each = shared.call("each", foreach="${inputs.items}", arguments={"seconds": 0.2})
    graph = Graph(
        name=f"items {uuid.uuid4().hex}",
        inputs={"items": {"default": [1, 2, 3]}},
        operations=[each],
    )
    assert submit_graph(store, graph, {}).wait(30).succeeded
    shared.until(lambda: durations.read(store, graph).operations)
    known = durations.read(store, graph).operations
    assert list(known) == ["each"]
    assert 0.2 <= known["each"] < 5
