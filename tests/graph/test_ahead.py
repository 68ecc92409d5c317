"""When and how widely a run needs its servers."""

from __future__ import annotations

import json

import pytest

from omx_tasks.graph.ahead import MOMENT, Ahead, needs_of
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import Plan, compile_plan
from omx_tasks.graph.stored import StoredPlan


def plan(*operations: Operation) -> Plan:
    return compile_plan(Graph(name="g", operations=list(operations)))


def does(name: str, server: str, *needs: str, expect: float | None = None) -> Operation:
    return Operation(id=name, server=server, tool="t", needs=list(needs), expect=expect)


DIAMOND = plan(
    does("left", "a", expect=10),
    does("right", "b", expect=4),
    does("join", "c", "left", "right", expect=2),
    *(does(f"wide{n}", "d", "join") for n in range(3)),
)


def ahead(of: Plan) -> Ahead:
    links = {name: list(of.followers(name)) for name in of.steps}
    links |= {f"fallback:{name}": other for name, other in of.fallbacks.items()}
    stored = StoredPlan.parse(StoredPlan.of(of, {}).document())
    return Ahead(stored, json.loads(json.dumps(links)))


def test_a_server_is_needed_when_its_first_operation_can_start_and_as_widely_as_they_overlap() -> (
    None
):
    needs = needs_of(DIAMOND)
    assert {server: need.first for server, need in needs.items()} == {
        "a": 0,
        "b": 0,
        "c": 10,
        "d": 12,
    }
    assert {server: need.width for server, need in needs.items()} == {
        "a": 1,
        "b": 1,
        "c": 1,
        "d": 3,
    }
    assert ahead(DIAMOND).needs() == needs


def test_what_nothing_is_known_of_takes_next_to_no_time() -> None:
    chain = plan(does("x", "a"), does("y", "a", "x"), does("z", "b", "y"))
    assert needs_of(chain)["b"].first == pytest.approx(2 * MOMENT)
    assert needs_of(chain)["a"].width == 1


def test_what_happened_moves_the_rest() -> None:
    run = ahead(DIAMOND)
    assert run.servers(100) == {"a": 100, "b": 100, "c": 110, "d": 112}
    run.note("left", "running", 100.0)
    run.note("right", "running", 100.0)
    run.note("left", "succeeded", 103.0)  # much earlier than expected
    assert run.servers(103) == {"b": 103, "c": 104, "d": 106}
    assert run.servers(108) == {"b": 108, "c": 108, "d": 110}  # the other one is late
    run.note("right", "succeeded", 109.0)
    run.note("join", "running", 109.0)
    run.note("join", "succeeded", 111.0)
    assert run.servers(111) == {"d": 111}
    run.note("", "succeeded", 112.0)
    assert run.servers(112) == {}


def test_what_is_resumed_is_needed_again() -> None:
    run = ahead(plan(does("x", "a", expect=1), does("y", "b", "x")))
    for name, state in (("x", "succeeded"), ("y", "failed"), ("", "failed")):
        run.note(name, state, 5.0)
    assert run.over
    run.note("", "running", 9.0)
    run.note("y", "waiting", 9.0)
    assert run.servers(9) == {"b": 9}


def test_a_fallback_comes_after_the_operation_in_whose_place_it_runs() -> None:
    tried = Operation(id="x", server="a", tool="t", expect=3, fallback="y")
    run = ahead(plan(tried, Operation(id="y", server="b", tool="t")))
    assert run.servers(0) == {"a": 0, "b": 3}
