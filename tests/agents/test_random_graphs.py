"""Random graphs on a real agent, against a reference interpreter: executions, order, states and values."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

from fleet import Fleet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omx_tasks.graph.model import Operation
from omx_tasks.runs.view import OperationView, RunView


@dataclass(frozen=True)
class Node:
    """One operation: what it uses, what else it needs, how many items it has (None: no foreach), and its fate."""

    uses: list[int]
    needs: list[int]
    items: int | None
    fails: bool
    goes_on: bool

    @property
    def waits(self) -> set[int]:
        return {*self.uses, *self.needs}


@st.composite
def stories(draw: st.DrawFn) -> list[Node]:
    def earlier(count: int) -> list[int]:
        return sorted(draw(st.sets(st.integers(0, count - 1), max_size=3))) if count else []

    return [
        Node(
            earlier(number),
            earlier(number),
            draw(st.sampled_from([None] * 4 + [0, 1, 3])),
            draw(st.sampled_from([False] * 5 + [True])),
            draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 10)))
    ]


def interpret(nodes: list[Node], salt: str) -> tuple[list[Any], list[Any], Counter[str]]:
    """Return state, structured value and executions of all nodes, done one after the other."""
    states: list[Any] = []
    values: list[Any] = []
    executions: Counter[str] = Counter()
    for number, node in enumerate(nodes):
        if any(
            states[n] == "skipped" or (states[n] == "failed" and not nodes[n].goes_on)
            for n in node.waits
        ):
            states.append("skipped")
            values.append(None)
            continue
        used = [
            [one for one in values[n] if one is not None]
            if nodes[n].items is not None
            else values[n]
            for n in node.uses
        ]
        keys = [
            f"{salt}{number}" + ("" if node.items is None else f"x{i}")
            for i in range(node.items or 1)
        ]
        keys = [] if node.items == 0 else keys
        executions.update(f"{'fail' if node.fails else 'read'} {key}" for key in keys)
        found = [
            None if node.fails else {"key": key, "value": {"used": used, "said": f"<{key}>"}}
            for key in keys
        ]
        states.append("failed" if node.fails and keys else "succeeded")
        values.append(found if node.items is not None else found[0])
    return states, values, executions


def operations(fleet: Fleet, nodes: list[Node], salt: str) -> list[Operation]:
    made = []
    for number, node in enumerate(nodes):
        key = f"{salt}{number}" + ("" if node.items is None else "x${index}")
        used = [
            f"${{o{n}.structured}}" if nodes[n].items is None else f"${{o{n}[*].structured}}"
            for n in node.uses
        ]
        made.append(
            fleet.call(
                f"o{number}",
                "fail" if node.fails else "read",
                [f"o{n}" for n in node.needs],
                arguments={"key": key, "value": {"used": used, "said": f"<{key}>"}},
                foreach=None
                if node.items is None
                else f"${{`{json.dumps(list(range(node.items)))}`}}",
                on_failure="continue" if node.goes_on else "fail",
            )
        )
    return made


def items_of(view: RunView, number: int) -> list[OperationView]:
    found = view.operations[f"o{number}"]
    return found if isinstance(found, list) else [found]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(nodes=stories())
def test_any_graph_runs_as_the_reference_interpreter_says(shared: Fleet, nodes: list[Node]) -> None:
    salt = f"r{uuid.uuid4().hex[:8]}n"
    before = shared.executions()
    view = shared.run(*operations(shared, nodes, salt))
    states, values, executions = interpret(nodes, salt)

    assert shared.executions() - before == executions
    bad = any(s == "failed" and not node.goes_on for s, node in zip(states, nodes, strict=True))
    assert view.state == ("failed" if bad else "succeeded")
    for number, node in enumerate(nodes):
        found = items_of(view, number)
        expected = (
            values[number]
            if node.items is not None and states[number] != "skipped"
            else [values[number]]
        )
        assert [one.structured for one in found] == expected
        assert {one.state for one in found} <= {states[number]}
        ends = [one.finished for n in node.waits for one in items_of(view, n) if one.finished]
        assert all(one.started >= end for one in found if one.started for end in ends)
