"""Runs that were resumed, on real agents."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from fleet import Fleet, one, states

from omx_tasks.broker import audit
from omx_tasks.broker.routing import queue_of

Until = Callable[..., None]
LONG = {"seconds": 60}


def _keys(count: int) -> list[str]:
    return [uuid.uuid4().hex for _ in range(count)]


def test_only_what_is_not_done_is_called_again(fleet: Fleet, until: Until) -> None:
    fleet.start()
    run = fleet.submit(
        fleet.call("a"),
        fleet.call("b", "die", ["a"], retries=0),
        fleet.call("c", needs=["b"]),
        fleet.call("d"),
    )
    assert states(run.wait(60)) == {
        "a": "succeeded", "b": "failed", "c": "skipped", "d": "succeeded",
    }  # fmt: skip
    assert run.resume() == 1
    view = run.wait(60)
    assert (view.state, set(states(view).values())) == ("succeeded", {"succeeded"})
    assert fleet.executions() == {"read a": 1, "read d": 1, "die b": 2, "read c": 1}
    assert [one(view, name).attempts for name in "abcd"] == [1, 2, 1, 1]
    (report,) = audit.reports(fleet.store, [queue_of([f"server:{fleet.ledger}"])])
    until(lambda: audit.reports(fleet.store, [report.name])[0].present == 0)
    assert report.missing == 0


def test_a_cancelled_run_goes_on_where_it_was(shared: Fleet, until: Until) -> None:
    first, second = _keys(2)
    run = shared.submit(
        shared.call("a", arguments={"key": first}),
        shared.call("b", needs=["a"], arguments={"key": second, "once": True}),
        shared.call("c", needs=["b"]),
    )
    until(lambda: shared.executions()[f"read {second}"])
    assert run.cancel(timeout=60)
    assert states(run.status()) == {"a": "succeeded", "b": "cancelled", "c": "cancelled"}
    run.resume()
    assert run.wait(60).succeeded
    assert shared.executions()[f"read {first}"] == 1
    assert shared.executions()[f"read {second}"] == 2


def test_a_write_that_was_cut_off_is_done_again_only_when_that_is_asked_for(
    shared: Fleet, until: Until
) -> None:
    (key,) = _keys(1)
    run = shared.submit(
        shared.call("a", "write", arguments={"key": key, "once": True}),
        shared.call("b", needs=["a"]),
        shared.call("c", arguments=LONG),
    )
    until(lambda: shared.executions()[f"write {key}"])
    run.cancel(timeout=60)
    assert states(run.status())["a"] == "unknown"
    run.resume()
    until(lambda: states(run.status())["c"] == "running")
    run.cancel(timeout=60)
    assert states(run.status()) == {"a": "unknown", "b": "skipped", "c": "cancelled"}
    assert shared.executions()[f"write {key}"] == 1
    run.resume("retry")
    until(lambda: states(run.status())["b"] == "succeeded")
    assert shared.executions()[f"write {key}"] == 2
    run.cancel()


def test_a_write_of_an_agent_that_died_with_its_run_cancelled_is_not_done_again(
    fleet: Fleet, until: Until
) -> None:
    agent = fleet.start(lease=2.0)
    run = fleet.submit(
        fleet.call("a", "write", arguments=LONG), fleet.call("b", arguments={"once": True})
    )
    until(lambda: fleet.executions() == {"write a": 1, "read b": 1})
    agent.process.kill()
    agent.process.wait(60)
    run.cancel()
    fleet.start(lease=2.0)
    run.resume()
    view = run.wait(60)
    assert states(view) == {"a": "unknown", "b": "succeeded"}
    assert fleet.executions() == {"write a": 1, "read b": 2}
