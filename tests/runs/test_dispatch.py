"""The messages of operations."""

from __future__ import annotations

import json
from itertools import pairwise

from driven import operation
from hypothesis import given
from hypothesis import strategies as st

from omx_tasks.graph.canvas import signatures
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import Plan, compile_plan
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


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    names = [f"o{number}" for number in range(draw(st.integers(1, 9)))]
    operations = [
        operation(name, draw(st.sets(st.sampled_from(names[:number]))) if number else [])
        for number, name in enumerate(names)
    ]
    return compile_plan(Graph(name="g", operations=operations))


@given(plans())
def test_the_canvas_shows_the_messages_that_are_sent(plan: Plan) -> None:
    """Each operation is in one group, its chord is what it needs, and its signature says what its message says."""
    stored = StoredPlan.of(plan, {})
    canvas = signatures(plan, "run")
    shown = {task.args[1]: task for group in canvas.groups.values() for task in group.tasks}
    assert sum(len(group.tasks) for group in canvas.groups.values()) == len(shown)
    assert shown.keys() == plan.steps.keys()
    for needs, group in canvas.groups.items():
        assert all(set(plan.steps[task.args[1]].needs) == set(needs) for task in group.tasks)
    for name, chord in canvas.chords.items():
        assert [task.args[1] for task in chord.tasks] == list(plan.steps[name].needs)
        assert chord.body == shown[name]
    for name, signature in shown.items():
        (call,) = publish_ready("run", stored, [name])
        message = json.loads(call.arguments[4])
        arguments, keywords, embedded = json.loads(message["body"])
        assert message["headers"]["task"] == signature.task
        assert (tuple(arguments), keywords) == (tuple(signature.args), signature.kwargs)
        assert embedded["chord"] == signature.options["chord"]
