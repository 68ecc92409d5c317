"""Several agents: shared load, sudden death, warm shutdown, and Celery's own pools."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable

import psutil
import pytest
from celery import Celery
from fleet import Fleet, one, states

from omx_tasks.broker.transport import register


def test_two_hundred_calls_over_two_agents_are_made_at_once(
    fleet: Fleet, until: Callable[..., None]
) -> None:
    for _ in range(2):
        fleet.start(slots=100)
    gate = fleet.gate()
    run = fleet.submit(*(fleet.call(f"o{n}", arguments={"gate": str(gate)}) for n in range(200)))
    until(lambda: sum(fleet.executions().values()) == 200)
    gate.touch()
    view = run.wait(60)
    assert view.state == "succeeded"
    assert {one(view, name).agent for name in view.operations} == {
        agent.name for agent in fleet.agents
    }


def test_when_an_agent_is_killed_nothing_is_lost_and_no_write_is_done_twice(
    fleet: Fleet, until: Callable[..., None]
) -> None:
    first, _ = fleet.start(slots=4, lease=2), fleet.start(slots=4, lease=2)
    run = fleet.submit(
        *(fleet.call(f"r{n}", arguments={"seconds": 0.1}) for n in range(40)),
        *(fleet.call(f"w{n}", "write", arguments={"seconds": 0.1}) for n in range(40)),
        fleet.call("join", needs=[f"r{n}" for n in range(40)]),
    )
    until(lambda: sum(fleet.executions().values()) > 20)
    first.signal(signal.SIGKILL)
    view = run.wait(60)

    seen, counted = states(view), fleet.executions()
    assert {seen[f"r{n}"] for n in range(40)} | {seen["join"]} == {"succeeded"}
    assert {seen[f"w{n}"] for n in range(40)} <= {"succeeded", "unknown"}
    assert max(counted[f"write w{n}"] for n in range(40)) == 1
    unknown = [one(view, f"w{n}") for n in range(40) if seen[f"w{n}"] == "unknown"]
    for operation in unknown:
        assert operation.agent == first.name
        assert f"attempt 1, made by {first.name} at 20" in operation.error["message"]
    interrupted = len(unknown)
    assert interrupted <= 4
    assert view.state == ("failed" if interrupted else "succeeded")


def test_a_warm_shutdown_finishes_what_runs_and_leaves_the_rest_to_others(
    fleet: Fleet, until: Callable[..., None]
) -> None:
    first, second = fleet.start(slots=4), fleet.start(slots=4)
    calls = [fleet.call(f"w{n}", "write", arguments={"seconds": 0.1}) for n in range(60)]
    run = fleet.submit(*calls)
    until(lambda: sum(fleet.executions().values()) > 10)
    first.signal(signal.SIGTERM)
    assert first.end() == 0
    view = run.wait(60)

    assert set(states(view).values()) == {"succeeded"}
    assert set(fleet.executions().values()) == {1}
    assert {one(view, name).attempts for name in view.operations} == {1}
    assert second.name in {one(view, name).agent for name in view.operations}


@pytest.mark.parametrize(
    ("options", "pool"),
    [
        (["-P", "prefork", "-c", "2"], "celery.concurrency.prefork:TaskPool"),
        (["-P", "processes", "-c", "2"], "celery.concurrency.prefork:TaskPool"),
        (["-P", "threads", "-c", "4"], "celery.concurrency.thread:TaskPool"),
        (["-P", "solo"], "celery.concurrency.solo:TaskPool"),
        ([], "omx_tasks.agents.pool:TaskPool"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_operations_run_in_the_pool_that_the_user_asked_for(
    fleet: Fleet, options: list[str], pool: str
) -> None:
    agent = fleet.start(slots=4, options=["-l", "INFO", "--without-mingle", *options])
    view = fleet.run(
        fleet.call("list", arguments={"value": [1, 2, 3]}),
        fleet.call("each", foreach="${list.structured.value}", arguments={"value": "${item}"}),
        fleet.call("late", requires=["documentation_review"]),
        fleet.call("bad", "fail", on_failure="continue"),
        fleet.call(
            "write",
            "write",
            needs=["bad", "late"],
            arguments={"value": "${each[*].structured.value}"},
        ),
    )
    assert view.state == "succeeded", agent.log.read_text()
    assert one(view, "write").structured["value"] == [1, 2, 3]
    assert one(view, "bad").error["kind"] == "tool"
    assert set(fleet.executions().values()) == {1, 3}

    register()
    with Celery("outside", broker=fleet.url, set_as_current=False) as app:
        inspect = app.control.inspect(destination=[agent.name], timeout=60)
        assert inspect.stats()[agent.name]["pool"]["implementation"] == pool
    agent.signal(signal.SIGTERM)
    assert agent.end() == 0


@pytest.mark.parametrize(("tool", "state"), [("read", "succeeded"), ("write", "unknown")])
def test_when_a_prefork_child_is_killed_its_operation_is_delivered_again(
    fleet: Fleet, until: Callable[..., None], tool: str, state: str
) -> None:
    agent = fleet.start(options=["-P", "prefork", "-c", "1", "--without-mingle"])
    run = fleet.submit(fleet.call("a", tool, arguments={"once": True}))
    until(lambda: fleet.executions()[f"{tool} a"] == 1)
    for child in psutil.Process(agent.process.pid).children():
        child.kill()
    view = run.wait(60)
    assert (one(view, "a").state, one(view, "a").attempts) == (state, 2)
    assert fleet.executions()[f"{tool} a"] == (2 if tool == "read" else 1)


def test_an_agent_that_sends_events_tells_each_operations_life(
    fleet: Fleet, until: Callable[..., None]
) -> None:
    fleet.start(options=["-E", "--without-mingle"])
    heard: list[tuple[str, str]] = []
    register()
    with Celery("outside", broker=fleet.url, set_as_current=False) as app:
        receiver = app.events.Receiver(
            app.connection(),
            handlers={"*": lambda event: heard.append((event.get("uuid", ""), event["type"]))},
        )
        with receiver.consumer_context(wakeup=False) as (connection, *_):

            def hear() -> None:
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=0.1)

            until(lambda: hear() or heard)  # a heartbeat: from now on nothing is missed
            run = fleet.submit(fleet.call("a"), fleet.call("b", "fail", on_failure="continue"))
            wanted = {
                f"{run.id}.a": ["task-received", "task-started", "task-succeeded"],
                f"{run.id}.b": ["task-received", "task-started", "task-failed"],
            }
            until(lambda: hear() or _lives(heard, wanted) == wanted)


def _lives(heard: list[tuple[str, str]], names: Iterable[str]) -> dict[str, list[str]]:
    return {name: [kind for uuid, kind in heard if uuid == name] for name in names}
