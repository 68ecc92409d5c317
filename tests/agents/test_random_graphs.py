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
    """One operation: what it uses, what else it needs, how many items it has (None: no foreach), and its fate.

    With ``rescued`` it has a fallback, whose fate that is.
    """

    uses: list[int]
    needs: list[int]
    items: int | None
    fails: bool
    goes_on: bool
    rescued: str | None

    @property
    def waits(self) -> set[int]:
        return {*self.uses, *self.needs}


@st.composite
def stories(draw: st.DrawFn) -> list[Node]:
    def earlier(count: int) -> list[int]:
        return sorted(draw(st.sets(st.integers(0, count - 1), max_size=3))) if count else []

    def node(number: int) -> Node:
        items = draw(st.sampled_from([None] * 4 + [0, 1, 3]))
        rescued = st.sampled_from([None, None, "read", "fail"])
        return Node(
            earlier(number),
            earlier(number),
            items,
            draw(st.sampled_from([False] * 3 + [True])),
            draw(st.booleans()),
            draw(rescued) if items is None else None,
        )

    return [node(number) for number in range(draw(st.integers(1, 10)))]


def interpret(nodes: list[Node], salt: str) -> tuple[list[Any], list[Any], Counter[str]]:
    """Return state, structured value and executions of all nodes, done one after the other.

    The state and value of a node with a fallback are those that its dependents see.
    """
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
        failed = bool(node.fails and keys)
        if failed and node.rescued is not None:
            executions.update([f"{node.rescued} {keys[0]}f"])
            failed = node.rescued == "fail"
            found = [None if failed else {"key": f"{keys[0]}f", "value": None}]
        states.append("failed" if failed else "succeeded")
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
                fallback=f"f{number}" if node.rescued else None,
            )
        )
        if node.rescued is not None:
            made.append(fleet.call(f"f{number}", node.rescued, arguments={"key": f"{key}f"}))
    return made


def own_states(node: Node, state: str) -> tuple[str, str]:
    """Return the states of an operation and of its fallback, from the one that both have together."""
    if state == "skipped" or not node.fails:
        return state, "skipped"
    return "failed", state


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
        state = states[number]
        if node.rescued is not None:
            state, instead = own_states(node, state)
            fallback = view.operations[f"f{number}"]
            assert isinstance(fallback, OperationView)
            assert fallback.state == instead
            if instead != "skipped":
                assert [fallback.structured] == expected
                expected = [None]
        assert [one.structured for one in found] == expected
        assert {one.state for one in found} <= {state}
        ends = [one.finished for n in node.waits for one in items_of(view, n) if one.finished]
        assert all(one.started >= end for one in found if one.started for end in ends)
