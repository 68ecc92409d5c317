"""Types of events: the table, its defaults, and what is said of a wrong event."""

from __future__ import annotations

import json

import pytest

from omx_tasks.events import types
from omx_tasks.events.types import TABLE, Event, EventError, is_unknown, make
from omx_tasks.priorities import Priority


def test_the_documented_table_is_the_one_in_force() -> None:
    lines = [line.split() for line in (types.__doc__ or "").splitlines()]
    documented = {
        line[0]: line[1] for line in lines if len(line) > 2 and line[1] in Priority.__members__
    }
    assert documented == {name: kind.priority.name for name, kind in TABLE.items()}


def test_an_event_comes_back_as_it_was_stored() -> None:
    event = make("p-1", "order.paid", {"sum": 3, "for": ["ä"]}, Priority.P1, "order-7")
    assert Event.read(event.text().encode()) == event
    assert json.loads(event.text())["v"] == types.VERSION


def test_the_type_decides_the_priority_unless_the_publisher_does() -> None:
    failed = {"run": "r", "operation": "o"}
    assert make("1", "operation.failed", failed).priority is Priority.P0
    assert make("1", "operation.failed", failed, Priority.P3).priority is Priority.P3
    assert make("1", "order.paid").priority is Priority.P2


def test_unknown_types_and_fields_are_kept() -> None:
    assert make("1", "operation.teleported", {"x": 1}).data == {"x": 1}
    assert is_unknown("operation.teleported")
    assert not is_unknown("operation.failed")
    assert not is_unknown("order.paid")
    assert make("1", "agent.started", {"agent": "a", "colour": "red"}).data["colour"] == "red"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("Order", {}), "'Order' is no type of event: write two or more words"),
        (("order", {}), "is no type of event"),
        (
            ("agent.started", {}),
            r"the data of event 'agent.started' is wrong: agent: Field required",
        ),
        (("agent.started", None), "agent: Field required"),
        (("agent.started", {"agent": 3}), "agent: Input should be a valid string"),
        (("order.paid", [1]), "must be an object, not list"),
        (("order.paid", {}, 7), "7 is no priority: there are P0, P1, P2 and P3"),
        (("order.paid", {}, None, "a\x00b"), "without control characters"),
        (("order.paid", {}, None, "x" * 201), "at most 200 characters"),
    ],
)
def test_a_wrong_event_is_refused_with_what_is_wrong(arguments: tuple, says: str) -> None:
    with pytest.raises(EventError, match=says):
        make("1", *arguments)


def test_an_event_of_a_newer_form_says_so() -> None:
    text = make("1", "order.paid").text().replace('"v":1', '"v":2')
    with pytest.raises(EventError, match="has form 2, and this program knows 1: upgrade it"):
        Event.read(text)
