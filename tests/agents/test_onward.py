"""A successor that goes on where it became ready has no message of its own, and is done once all the same."""

from __future__ import annotations

import signal
from collections.abc import Callable

from fleet import Fleet, one, states

from omx_tasks.broker import audit
from omx_tasks.broker.routing import queue_of
from omx_tasks.runs.advance import advance, plans
from omx_tasks.store.client import Store

Until = Callable[..., None]


def test_a_chain_stays_on_the_agent_and_has_one_message(
    fleet: Fleet, store: Store, until: Until
) -> None:
    fleet.start(4)
    fleet.start(4)
    before = _counters(store, fleet)
    names = [f"c{number}" for number in range(30)]
    chain = [
        fleet.call(name, needs=[before_it] if before_it else [])
        for before_it, name in zip(["", *names], names, strict=False)
    ]
    view = fleet.run(*chain)
    assert view.state == "succeeded"
    assert len({one(view, name).agent for name in names}) == 1
    assert all(fleet.executions()[f"read {name}"] == 1 for name in names)

    def acked() -> bool:
        counters = _counters(store, fleet)
        return all(counters.get(c, 0) - before.get(c, 0) == 1 for c in ("published", "acked"))

    until(acked)


def test_what_goes_on_here_comes_back_when_the_agent_dies(
    fleet: Fleet, store: Store, until: Until
) -> None:
    first = fleet.start(4, lease=1.5)
    run = fleet.submit(
        fleet.call("a"),
        fleet.call("b", needs=["a"], arguments={"once": True}),
        fleet.call("c", needs=["b"]),
    )
    until(lambda: fleet.executions()["read b"] == 1)
    fleet.start(4, lease=1.5)
    first.signal(signal.SIGKILL)
    view = run.wait(timeout=60)
    assert view.state == "succeeded"
    assert one(view, "b").attempts == 2


def test_what_goes_on_here_and_may_have_been_done_is_not_done_again_when_the_agent_dies(
    fleet: Fleet, until: Until
) -> None:
    first = fleet.start(4, lease=1.5)
    run = fleet.submit(
        fleet.call("a"),
        fleet.call("b", "write", needs=["a"], arguments={"seconds": 60}),
        fleet.call("c", needs=["b"]),
    )
    until(lambda: fleet.executions()["write b"] == 1)
    fleet.start(4, lease=1.5)
    first.signal(signal.SIGKILL)
    assert states(run.wait(timeout=60)) == {"a": "succeeded", "b": "unknown", "c": "skipped"}
    assert fleet.executions()["write b"] == 1


def test_a_chain_goes_on_elsewhere_when_its_agent_is_asked_to_end(
    fleet: Fleet, until: Until
) -> None:
    first, gate = fleet.start(4), fleet.gate()
    names = [f"c{number}" for number in range(20)]
    chain = [
        fleet.call(
            name,
            needs=[before] if before else [],
            arguments={"gate": str(gate)} if name == "c3" else {},
        )
        for before, name in zip(["", *names], names, strict=False)
    ]
    run = fleet.submit(*chain)
    until(lambda: fleet.executions()["read c3"] == 1)
    first.signal(signal.SIGTERM)
    until(lambda: "what is under way ends first" in first.log.read_text())
    gate.touch()
    fleet.start(4)
    view = run.wait(timeout=60)
    assert first.end() == 0
    assert view.state == "succeeded"
    assert {one(view, name).attempts for name in names} == {1}
    assert len({one(view, name).agent for name in names}) == 2
    assert [fleet.executions()[f"read {name}"] for name in names] == [1] * 20


def test_a_message_that_came_before_its_turn_comes_back_when_it_is_ready(
    fleet: Fleet, store: Store
) -> None:
    """As after a failover: the successor was published, the release of it is not known any more."""
    agent, gate = fleet.start(4), fleet.gate()
    run = fleet.submit(
        fleet.call("a", arguments={"gate": str(gate)}), fleet.call("b", "write", needs=["a"])
    )
    advance(store, run.id, plans(store)(run.id), ["b"])
    fleet.until(lambda: "is not ready" in agent.log.read_text())
    gate.touch()
    view = run.wait(timeout=60)
    assert view.state == "succeeded"
    assert one(view, "a").finished <= one(view, "b").started
    assert fleet.executions()["write b"] == 1
    assert one(view, "b").attempts == 1


def _counters(store: Store, fleet: Fleet) -> dict[str, int]:
    step = fleet.call("x")
    name = queue_of([f"server:{step.server}"])
    return dict(audit.reports(store, [name])[0].stats.counters)
