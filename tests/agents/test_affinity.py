"""A run's operations on a stateful server meet on one session of its own, or fail and say that it is lost."""

from __future__ import annotations

import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from fleet import Fleet, one, states

from omx_tasks.agents.registry import agents
from omx_tasks.graph.model import Operation
from omx_tasks.runs.resume import resume
from omx_tasks.store.client import Store

COUNTER = Path(__file__).parent / "servers" / "counter.py"


@pytest.fixture
def counter() -> str:
    return f"counter_{uuid.uuid4().hex[:8]}"


@pytest.fixture
def fleet(
    cluster_url: str, store: Store, tmp_path: Path, counter: str, until: Callable[..., None]
) -> Iterator[Fleet]:
    """Two agents with few slots, so that the operations of a run come to both."""
    server = {"command": sys.executable, "args": [str(COUNTER)], "omx": {"stateful": True}}
    fleet = Fleet(tmp_path, cluster_url, store, until, {counter: server})
    fleet.start(slots=2, lease=2)
    fleet.start(slots=2, lease=2)
    yield fleet
    fleet.stop()


def adds(counter: str, count: int) -> list[Operation]:
    return [Operation(id=f"a{n}", server=counter, tool="add", arguments={}) for n in range(count)]


def test_runs_at_once_have_a_state_of_their_own_that_ends_with_them(fleet, store, counter, until):
    runs = [fleet.submit(*adds(counter, 8)) for _ in range(4)]
    views = [run.wait(60) for run in runs]
    for view in views:
        counts = [one(view, name).text for name in view.operations]
        assert sorted(counts) == [str(number) for number in range(1, 9)], states(view)
    for view in views:
        assert len({one(view, name).agent for name in view.operations}) == 1
    ours = {agent.name for agent in fleet.agents}

    def over() -> bool:
        records = [record for record in agents(store) if record.name in ours]
        return not any(session["run"] for record in records for session in record.sessions)

    until(over)


def test_what_a_run_still_has_to_do_fails_when_its_agent_is_killed(fleet, store, counter, until):
    gate = fleet.gate()
    wait = fleet.call("wait", needs=["a0"], arguments={"gate": str(gate)})
    after = Operation(id="after", server=counter, tool="add", arguments={}, needs=["wait"])
    first, which = (
        adds(counter, 1)[0],
        Operation(id="pid", server=counter, tool="pid", arguments={}, needs=["a0"]),
    )
    run = fleet.submit(first, which, wait, after)
    until(lambda: one(run.status(), "pid").text)
    view = run.status()
    server = psutil.Process(int(one(view, "pid").text))
    owner = next(agent for agent in fleet.agents if agent.name == one(view, "a0").agent)
    owner.signal(signal.SIGKILL)
    owner.process.wait(60)
    gate.touch()
    view = run.wait(60)
    assert states(view)["after"] == "failed"
    assert one(view, "after").error["kind"] == "session_lost"
    assert "is gone" in one(view, "after").error["message"]
    psutil.wait_procs([server], 60)

    resume(store, run.id)
    error = one(run.wait(60), "after").error
    assert (error["kind"], "succeeded there before" in error["message"]) == ("session_lost", True)
    assert f"`omx resume {run.id} --again {counter}`" in error["message"]

    resume(store, run.id, again=[counter])
    view = run.wait(60)
    assert (view.state, one(view, "after").text) == ("succeeded", "2")


def test_a_session_whose_server_died_is_not_replaced(fleet, counter, until):
    which = Operation(id="pid", server=counter, tool="pid", arguments={})
    gate = fleet.gate()
    wait = fleet.call("wait", needs=["pid"], arguments={"gate": str(gate)})
    after = Operation(id="after", server=counter, tool="add", arguments={}, needs=["wait"])
    run = fleet.submit(which, wait, after)
    until(lambda: one(run.status(), "pid").text)
    server = psutil.Process(int(one(run.status(), "pid").text))
    server.kill()
    psutil.wait_procs([server], 60)
    gate.touch()
    error = one(run.wait(60), "after").error
    assert error["kind"] == "session_lost"
    assert "was killed by SIGKILL" in error["message"]
