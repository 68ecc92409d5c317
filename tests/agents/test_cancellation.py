"""Cancelling a run: servers are told of every call that is cut off, and the agent's slots are free."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from fleet import Fleet, one, states

from omx_tasks.agents.registry import agents
from omx_tasks.api import Run
from omx_tasks.broker import audit
from omx_tasks.broker.routing import queue_of
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import compile_plan
from omx_tasks.results import joins
from omx_tasks.runs import turns
from omx_tasks.runs.submit import submit
from omx_tasks.store.client import Store

Until = Callable[..., None]
LONG = {"seconds": 60}


def _cancelled(fleet: Fleet) -> set[str]:
    """Return the keys of the calls of whose cancellation the server was told."""
    return {line.partition(" ")[2] for line in fleet.executions() if line.startswith("cancelled ")}


def _called(fleet: Fleet, names: list[str], tool: str = "read") -> bool:
    return all(fleet.executions()[f"{tool} {name}"] for name in names)


def test_the_server_is_told_of_every_call_and_the_slots_are_free(
    fleet: Fleet, store: Store, until: Until
) -> None:
    fleet.start(slots=50)
    running, waiting = [f"r{n}" for n in range(50)], [f"w{n}" for n in range(30)]
    run = fleet.submit(
        *(fleet.call(name, arguments=LONG, priority="P1") for name in running),
        *(fleet.call(name) for name in waiting),
        fleet.call("after", needs=running),
    )
    until(lambda: _called(fleet, running))
    assert run.cancel(timeout=60)
    view = run.status()
    assert view.state == "cancelled"
    assert set(states(view).values()) == {"cancelled"}
    assert one(view, "r7").error == {"kind": "cancelled", "message": "the run was cancelled"}
    assert one(view, "after").error is None
    until(lambda: _cancelled(fleet) == set(running))
    until(lambda: [agent.busy for agent in agents(store) if fleet.ledger in agent.servers] == [0])
    assert fleet.run(*(fleet.call(f"n{n}") for n in range(50))).succeeded
    assert not any(fleet.executions()[f"read {name}"] for name in waiting)
    queue = queue_of([f"server:{fleet.ledger}"])
    until(lambda: [(r.present, r.missing) for r in audit.reports(store, [queue])] == [(0, 0)])


def test_an_agent_finds_out_by_itself_when_it_was_not_told(
    shared: Fleet, store: Store, until: Until
) -> None:
    key = uuid.uuid4().hex
    run = shared.submit(shared.call("a", arguments={"key": key, **LONG}))
    until(lambda: _called(shared, [key]))
    store.run(joins.cancel(run.id))
    until(lambda: key in _cancelled(shared))
    until(lambda: states(run.status()) == {"a": "cancelled"})


def test_a_write_that_is_cut_off_is_unknown(shared: Fleet, until: Until) -> None:
    key = uuid.uuid4().hex
    run = shared.submit(
        shared.call("a", "write", arguments={"key": key, **LONG}), shared.call("b", needs=["a"])
    )
    until(lambda: _called(shared, [key], "write"))
    assert run.cancel(timeout=60)
    view = run.status()
    assert states(view) == {"a": "unknown", "b": "cancelled"}
    error = one(view, "a").error
    assert error is not None
    assert error["kind"] == "cancelled"
    assert "may have been done" in error["message"]


def test_what_waits_for_its_turn_gives_that_up(shared: Fleet, store: Store, until: Until) -> None:
    first, second = uuid.uuid4().hex, uuid.uuid4().hex

    def lines() -> list[tuple[int, int]]:
        found = [found for found in turns.read(store) if found.server == shared.ledger]
        return [(turn.waiting, len(one.runs)) for one in found for turn in one.turns]

    holder = shared.submit(shared.call("a", "write", arguments={"key": first, **LONG}))
    until(lambda: _called(shared, [first], "write"))
    waiting = shared.submit(shared.call("b", "write", arguments={"key": second}))
    until(lambda: lines() == [(1, 2)])
    waiting.cancel()
    until(lambda: lines() == [(0, 1)])
    holder.cancel(timeout=60)
    until(lambda: lines() == [])
    assert shared.run(shared.call("c", "write")).succeeded
    assert shared.executions()[f"write {second}"] == 0


def test_what_waits_for_an_agent_leaves_its_queue(store: Store, fleet: Fleet) -> None:
    word = f"nobody_{uuid.uuid4().hex}"
    calls = [fleet.call(f"a{n}", requires=[word]) for n in range(700)]
    run = fleet.submit(*calls)
    queue = queue_of(calls[0].capabilities)
    assert [sum(report.stats.waiting) for report in audit.reports(store, [queue])] == [700]
    assert run.cancel()
    (report,) = audit.reports(store, [queue])
    assert (report.present, report.missing) == (0, 0)
    assert report.stats.counters["withdrawn"] == 700


@pytest.mark.parametrize("by_graph", [True, False])
def test_a_run_whose_time_is_over_is_cancelled_by_its_agent(
    shared: Fleet, store: Store, until: Until, by_graph: bool
) -> None:
    key = uuid.uuid4().hex
    call = shared.call("a", arguments={"key": key, **LONG})
    graph = Graph(name="short", operations=[call], **({"timeout": 0.5} if by_graph else {}))
    limit = None if by_graph else 0.5
    run = Run(submit(store, compile_plan(graph), {}, keep=60, timeout=limit), store)
    view = run.wait(60)
    assert view.state == "cancelled"
    assert view.error == {
        "kind": "timeout",
        "message": "its timeout of 0.5 s was over before it was",
    }
    assert view.as_json()["error"] == view.error
    until(lambda: key in _cancelled(shared))
