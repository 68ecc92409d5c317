"""What the product itself tells, as events: runs, operations, agents and servers."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from fleet import Fleet

from omx_tasks.agents.telling import Telling
from omx_tasks.agents.templates import EVERYTHING
from omx_tasks.api import submit_graph
from omx_tasks.errors import ConfigurationError, GraphError, UnavailableError
from omx_tasks.events.types import Event
from omx_tasks.events.watch import Watch
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.store.client import Store

Until = Callable[..., None]


def told(store: Store, key: str) -> list[Event]:
    """Return the events of a run, or an agent, in the order in which they were published."""
    return [event for event in Watch(store).before(100_000) if event.key == key]


def refused(store: Store, name: str) -> list[Event]:
    """Return the refusals of the graphs of a name."""
    found = [event for event in Watch(store).before(100_000) if event.type == "run.refused"]
    return [event for event in found if event.data["name"] == name]


def types(store: Store, key: str) -> list[str]:
    return sorted(event.type for event in told(store, key))


def test_a_run_is_told_from_its_submission_to_its_end(
    shared: Fleet, store: Store, until: Until
) -> None:
    calls = (shared.call("a"), shared.call("b", needs=["a"]))
    run = submit_graph(store, Graph(name="told", operations=calls), {})
    run.wait(60)
    expected = ["operation.succeeded", "operation.succeeded", "run.submitted", "run.succeeded"]
    until(lambda: types(store, run.id) == expected)
    events = {event.data.get("operation", event.type): event for event in told(store, run.id)}
    assert events["run.submitted"].data == {"run": run.id, "name": "told", "operations": 2}
    assert events["run.succeeded"].data == {"run": run.id, "name": "told"}
    said = events["b"].data
    assert (said["server"], said["attempts"], said["error"]) == (shared.ledger, 1, None)
    assert said["finished"] >= said["started"] >= said["ready"]
    assert (said["graph"], said["kind"], said["target"]) == ("told", "tool", "read")
    assert (said["priority"], said["capabilities"]) == (2, f"server:{shared.ledger}")
    assert said["template"] == EVERYTHING


def test_a_refused_graph_is_told_without_what_it_was_given(
    shared: Fleet, store: Store, until: Until
) -> None:
    name = f"w{uuid.uuid4().hex[:8]}"
    calls = (shared.call("a", "no_tool", arguments={"text": "hidden"}), shared.call("b"))
    with pytest.raises(GraphError, match="no_tool"):
        submit_graph(store, Graph(name=name, operations=calls), {}, source="wrong.yaml")
    with pytest.raises(GraphError, match="hidden"):
        submit_graph(store, Graph(name=name, operations=calls), {"hidden": "1"})
    until(lambda: len(refused(store, name)) == 2)
    said = {(one.data["source"], *one.data["operations"]): one for one in refused(store, name)}
    assert said.keys() == {("wrong.yaml", "a"), ("",)}
    assert "hidden" not in str(refused(store, name))
    assert {one.priority for one in refused(store, name)} == {1}


def test_a_graph_that_no_agent_takes_is_told_with_the_reason(
    shared: Fleet, fleet: Fleet, until: Until
) -> None:
    fleet.start()
    name = f"w{uuid.uuid4().hex[:8]}"
    both = shared.call("both", requires=[f"server:{fleet.ledger}"])
    with pytest.raises(ConfigurationError) as raised:
        submit_graph(fleet.store, Graph(name=name, operations=[both]), {})
    until(lambda: refused(fleet.store, name))
    (event,) = refused(fleet.store, name)
    assert event.data["operations"] == ["both"]
    assert str(raised.value).startswith(event.data["reason"])


def test_a_refusal_that_cannot_be_told_is_raised_all_the_same(
    caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    store = Store("rediscluster://127.0.0.1:1")
    call = Operation(id="a", server="s", tool="t")
    with pytest.raises(GraphError, match="no input"):
        submit_graph(store, Graph(name="away", operations=[call]), {"x": "1"})
    until(lambda: "the event run.refused was not published" in caplog.text)
    store.close()


def test_an_operation_tells_how_long_it_waited_for_a_slot(fleet: Fleet, until: Until) -> None:
    fleet.start(slots=1)
    calls = [fleet.call(name, arguments={"seconds": 0.3}) for name in "ab"]
    run = fleet.submit(*calls)
    run.wait(60)
    until(lambda: types(fleet.store, run.id).count("operation.succeeded") == 2)
    said = [event.data for event in told(fleet.store, run.id) if "operation" in event.data]
    first, second = sorted(said, key=lambda data: data["started"])
    assert first["waited"] < second["waited"]
    assert 0.3 <= second["waited"] <= second["started"] - second["ready"] + 0.001


def test_failures_are_urgent_and_what_is_skipped_is_not_told_by_itself(
    shared: Fleet, store: Store, until: Until
) -> None:
    run = shared.submit(shared.call("bad", "fail", retries=0), shared.call("b", needs=["bad"]))
    run.wait(60)
    until(lambda: types(store, run.id) == ["operation.failed", "run.failed"])
    assert {event.priority for event in told(store, run.id)} == {0}
    (failed, _) = sorted(told(store, run.id), key=lambda event: event.type)
    assert failed.data["error"]["kind"] == "tool"


def test_a_run_that_ends_with_an_empty_foreach_is_told_to_be_over(
    shared: Fleet, store: Store, until: Until
) -> None:
    run = shared.submit(shared.call("none", foreach="${`[]`}"))
    run.wait(60)
    until(lambda: types(store, run.id) == ["run.succeeded"])


def test_a_cancelled_run_is_told(shared: Fleet, store: Store) -> None:
    run = shared.submit(
        shared.call("slow", arguments={"seconds": 0.5}), shared.call("b", needs=["slow"])
    )
    assert run.cancel()
    (event,) = [event for event in told(store, run.id) if event.type == "run.cancelled"]
    assert event.data == {"run": run.id, "name": "test"}
    run.wait(60)


def test_an_agent_tells_its_beginning_its_servers_and_its_end(fleet: Fleet, until: Until) -> None:
    fleet.others["broken"] = {"command": "no-such-program"}
    agent = fleet.start()
    until(
        lambda: (
            types(fleet.store, agent.name) == ["agent.started", "server.failed", "server.started"]
        )
    )
    (failed,) = [one for one in told(fleet.store, agent.name) if one.type == "server.failed"]
    assert failed.data["server"] == "broken"
    assert failed.data["error"]
    fleet.stop()
    assert "agent.stopped" in types(fleet.store, agent.name)


def test_what_finds_no_room_is_left_out_counted_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Full:
        def publish_many(self, drafts: object) -> None:
            raise UnavailableError("the buffer is full")

        def flush(self, timeout: float) -> bool:
            return True

    telling = Telling("agent", Full())
    for _ in range(3):
        telling.agent("started")
    assert telling.left_out == 3
    assert caplog.text.count("agent cannot tell of all that happens: the buffer is full") == 1
