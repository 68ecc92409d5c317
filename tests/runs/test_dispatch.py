"""The messages of operations."""

from __future__ import annotations

import json
from itertools import pairwise

from driven import operation

from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import compile_plan
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.runs.dispatch import publish_ready


def _layers(count: int, width: int) -> StoredPlan:
    names = [[f"o{layer}x{number}" for number in range(width)] for layer in range(count)]
    operations = [operation(name) for name in names[0]]
    for before, layer in pairwise(names):
        operations += [operation(name, before) for name in layer]
    return StoredPlan.of(compile_plan(Graph(name="g", operations=operations)), {})


def _body(plan: StoredPlan) -> str:
    (call,) = publish_ready("run", plan, ["o0x0"])
    return str(call.arguments[4])


def test_a_message_does_not_grow_with_the_graph() -> None:
    small, large = _body(_layers(1, 1)), _body(_layers(10, 100))
    assert len(large) - len(small) < 10
    assert len(large) < 1500


def test_a_message_is_a_celery_message_for_the_operation() -> None:
    message = json.loads(_body(_layers(1, 1)))
    assert message["headers"]["task"] == "omx.operation"
    assert message["headers"]["id"] == message["properties"]["delivery_tag"] == "run.o0x0"
    assert json.loads(message["body"])[:2] == [["run", "o0x0"], {}]


def test_many_messages_are_published_in_few_calls_of_bounded_size() -> None:
    plan = _layers(1, 1200)
    calls = publish_ready("run", plan, list(plan.steps))
    assert [len(call.arguments) // 5 for call in calls] == [500, 500, 200]
