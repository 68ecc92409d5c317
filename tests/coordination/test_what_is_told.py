"""What the leader finds: lost agents, queues that nobody polls, changes of the cluster, ends that nobody told of."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from driven import Driven, operation

from omx_tasks.agents.registry import AgentRecord
from omx_tasks.broker import audit, queues
from omx_tasks.broker.queues import Posting
from omx_tasks.broker.routing import queue_of
from omx_tasks.coordination import agents as agents_duty
from omx_tasks.coordination.agents import AgentsDuty
from omx_tasks.coordination.cluster import ClusterDuty, changes, seen
from omx_tasks.coordination.leader import Term
from omx_tasks.coordination.queues import QueuesDuty, RetireDuty
from omx_tasks.coordination.runs import EndingsDuty, ReconcileDuty
from omx_tasks.events.bus import Draft
from omx_tasks.events.now import publish_now
from omx_tasks.events.types import Event
from omx_tasks.events.watch import Watch
from omx_tasks.graph.marker import task_id
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import compile_plan
from omx_tasks.results import joins
from omx_tasks.results.joins import Beginning, Ending, Outcome
from omx_tasks.runs.advance import advance, plans
from omx_tasks.settings import Settings, load
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.members import Member, members

Told = Callable[..., list[dict[str, Any]]]
Beat = Callable[..., None]


@pytest.fixture
def told(store: Store) -> Told:
    """Return what was told of a type, to those who have this among what is said."""

    def read(type_: str, **said: Any) -> list[dict[str, Any]]:
        events: list[Event] = Watch(store, [type_]).before(10_000)
        return [one.data for one in events if said.items() <= one.data.items()]

    return read


@pytest.fixture
def agent() -> str:
    return f"agent@{uuid.uuid4().hex[:8]}"


@pytest.fixture
def beat(store: Store, agent: str) -> Iterator[Beat]:
    """Have the agent heard so many seconds ago."""
    key = keys.agents()

    def heard(ago: float = 0.0, pid: int = 1) -> None:
        seconds, _ = store.command(key, "TIME")
        record = AgentRecord(agent, "h", pid, 1, 0, 0, [], {}, "", 0.0)
        about = {
            name: value for name, value in vars(record).items() if name not in ("name", "heard")
        }
        text = f"{(int(seconds) - ago) * 1000:.0f} {json.dumps(about)}"
        store.command(key, "HSET", key, agent, text)

    yield heard
    store.command(key, "HDEL", key, agent)


def begun(store: Store, timeout: float | None = None) -> Driven:
    """Begin a run of one operation, with a queue of its own in which its message is."""
    words = [f"test_{uuid.uuid4().hex}"]
    graph = Graph(name="g", operations=[operation("a", requires=words)])
    run = Driven(store, compile_plan(graph))
    store.run(joins.announce(run.id, 1.0))
    ready = run.submit(timeout=timeout)
    advance(store, run.id, plans(store)(run.id), ready)
    return run


def queue_of_run(run: Driven) -> str:
    return queue_of(run.plan.steps["a"].capabilities)


# --- agents -------------------------------------------------------------------------------------------


def test_an_agent_that_is_silent_is_lost_once(
    term: Term, given: Settings, beat: Beat, agent: str, told: Told
) -> None:
    duty = AgentsDuty(given)
    beat()
    duty(term)
    assert told("agent.lost", agent=agent) == []
    beat(ago=30)
    duty(term)
    duty(term)
    (said,) = told("agent.lost", agent=agent)
    assert (said["host"], said["pid"]) == ("h", 1)
    term.keep(agents_duty.NAME, {"agents": {}, "lost": {}})  # as if it had not been written down
    duty(term)
    assert len(told("agent.lost", agent=agent)) == 1
    assert agent in agents_duty.lost_agents(term)


@pytest.mark.parametrize("in_order", [False, True])
def test_an_agent_is_lost_when_another_process_has_its_name_that_was_not_stopped(
    term: Term, given: Settings, beat: Beat, agent: str, told: Told, in_order: bool
) -> None:
    duty = AgentsDuty(given)
    beat(pid=1)
    duty(term)
    if in_order:
        publish_now(term.store, given, [Draft("agent.stopped", {"agent": agent}, key=agent)])
    beat(pid=2)
    duty(term)
    assert len(told("agent.lost", agent=agent, pid=1)) == (not in_order)


# --- runs ---------------------------------------------------------------------------------------------


def test_a_run_whose_time_is_over_ends_and_is_told_without_any_agent(
    term: Term, given: Settings, store: Store, told: Told, until: Callable[..., None]
) -> None:
    run = begun(store, timeout=0.01)
    reconcile = ReconcileDuty(given)
    until(
        lambda: (reconcile(term), run.view().state)[1] == "cancelled"
    )  # others' runs may be open, too
    reconcile(term)
    (said,) = told("run.cancelled", run=run.id)
    assert said["error"]["kind"] == "timeout"
    EndingsDuty(given, settled=-60)(term)
    assert len(told("run.cancelled", run=run.id)) == 1
    (report,) = audit.reports(store, [queue_of_run(run)])
    assert (report.present, report.stats.counters["withdrawn"]) == (0, 1)


def test_what_a_dead_agent_had_begun_of_a_cancelled_run_ends_as_unknown(
    term: Term, given: Settings, store: Store, told: Told, until: Callable[..., None]
) -> None:
    run = begun(store)
    queue = queue_of_run(run)
    store.run(queues.claim(queue, "dead", most=1, lease=60_000))
    store.run(joins.start(run.id, "agent", [Beginning("a", "token")]))
    run.cancel()
    ReconcileDuty(given)(term)
    endings = EndingsDuty(given, settled=-60)
    endings(term)
    assert run.states() == {"a": "running"}, "its agent holds it"
    store.run(queues.renew(queue, [queues.Held(task_id(run.id, "a"), "dead")], lease=1))
    until(
        lambda: (
            store.run(queues.sweep(queue)) and audit.reports(store, [queue])[0].stats.leased == 0
        )
    )
    endings(term)
    assert run.states() == {"a": "unknown"}
    assert len(told("operation.unknown", run=run.id)) == 1
    assert audit.reports(store, [queue])[0].present == 0


@pytest.mark.parametrize("killed", [True, False])
def test_what_an_agent_did_not_tell_that_was_killed_is_told_once(
    term: Term, given: Settings, store: Store, agent: str, beat: Beat, told: Told, killed: bool
) -> None:
    run = begun(store)
    store.run(joins.start(run.id, agent, [Beginning("a", "token")]))
    at = float(store.command(keys.agents(), "TIME")[0])
    outcome = Outcome("succeeded", 1, agent, at, at)
    store.run(joins.finish(run.id, [Ending("a", outcome, False)], agent))
    ReconcileDuty(given)(term)
    term.keep(agents_duty.NAME, {"agents": {}, "lost": {}})
    beat()
    AgentsDuty(given, silent=-60 if killed else 10)(term)
    for _ in range(2):
        EndingsDuty(given, settled=-60)(term)
        store.command(keys.ended_runs(), "ZADD", keys.ended_runs(), 1, run.id)
    operations = told("operation.succeeded", run=run.id)
    assert len(operations) == len(told("run.succeeded", run=run.id)) == int(killed)
    if killed:
        assert operations[0] | {"agent": agent, "operation": "a", "server": "s"} == operations[0]


def test_what_was_told_is_not_told_again(
    term: Term, given: Settings, store: Store, agent: str, beat: Beat, told: Told
) -> None:
    run = begun(store)
    at = float(store.command(keys.agents(), "TIME")[0])
    store.run(joins.start(run.id, agent, [Beginning("a", "token")]))
    outcome = Outcome("failed", 1, agent, at, at, {"kind": "tool", "message": "no"})
    store.run(joins.finish(run.id, [Ending("a", outcome, False)], agent))
    said = {"run": run.id, "operation": "a"}
    over = {"run": run.id, "name": "g"}
    drafts = [Draft("operation.failed", said, key=run.id), Draft("run.failed", over, key=run.id)]
    publish_now(store, given, drafts)
    ReconcileDuty(given)(term)
    beat()
    AgentsDuty(given, silent=-60)(term)
    EndingsDuty(given, settled=-60)(term)
    assert len(told("operation.failed", run=run.id)) == len(told("run.failed", run=run.id)) == 1


# --- queues -------------------------------------------------------------------------------------------


def doing(duty: QueuesDuty, term: Term, seen: Callable[[], object]) -> Callable[[], object]:
    """Does the duty until something is seen: what it says of the queues of others does not count."""

    def condition() -> object:
        duty(term)
        return seen()

    return condition


@pytest.fixture
def filled(store: Store) -> Iterator[str]:
    """A queue with one message that nobody consumes."""
    name = f"omx.test_{uuid.uuid4().hex}"
    store.command(keys.queue_names(), "SADD", keys.queue_names(), name)
    store.run(queues.publish(name, [Posting("m", "{}")]))
    yield name
    store.run(queues.delete(name))


def test_what_a_dead_worker_held_comes_back_where_nobody_polls(
    term: Term, given: Settings, store: Store, filled: str, told: Told, until: Callable[..., None]
) -> None:
    store.run(queues.claim(filled, "dead", most=1, lease=1))
    duty = QueuesDuty(given)
    until(doing(duty, term, lambda: told("queue.repaired", queue=filled)))
    assert told("queue.repaired", queue=filled) == [{"queue": filled, "messages": 1}]
    assert sum(audit.reports(store, [filled])[0].stats.waiting) == 1


def test_dead_messages_are_told_once(
    term: Term, store: Store, filled: str, told: Told, until: Callable[..., None]
) -> None:
    store.run(queues.claim(filled, "dead", most=1, lease=1))
    duty = QueuesDuty(load({"OMX_MOST_DELIVERIES": "1"}))
    until(doing(duty, term, lambda: told("queue.dead", queue=filled)))
    duty(term)
    assert told("queue.dead", queue=filled) == [{"queue": filled, "messages": 1, "dead": 1}]


def test_a_backlog_is_told_when_it_begins_and_when_it_ends(
    term: Term, store: Store, filled: str, told: Told, until: Callable[..., None]
) -> None:
    duty = QueuesDuty(load({"OMX_BACKLOG": "0.01"}))
    until(doing(duty, term, lambda: told("queue.backlog", queue=filled)))
    duty(term)
    (said,) = told("queue.backlog", queue=filled)
    assert (said["messages"], said["consumers"]) == (1, 0)
    store.run(queues.purge(filled))
    duty(term)
    duty(term)
    assert len(told("queue.flowing", queue=filled)) == 1


def test_an_unused_queue_of_operations_goes_and_one_with_messages_stays(
    term: Term, given: Settings, store: Store, filled: str, told: Told
) -> None:
    RetireDuty(given, unused=0)(term)
    assert filled in audit.names(store)
    store.run(queues.purge(filled))
    RetireDuty(given)(term)
    assert filled in audit.names(store), "it was used a moment ago"
    RetireDuty(given, unused=0)(term)
    assert filled not in audit.names(store)
    assert len(told("queue.retired", queue=filled)) == 1


# --- the cluster --------------------------------------------------------------------------------------


def test_the_cluster_is_seen_as_it_is(term: Term, given: Settings, store: Store) -> None:
    found = members(store)
    assert sum(one.slots for one in found) == 16384
    assert sorted(one.master is None for one in found) == [False] * 3 + [True] * 3
    ClusterDuty(given)(term)
    assert term.recall("cluster") == seen(found)


def test_a_failover_and_what_follows_are_told() -> None:
    master, replica = Member("m", "h:1", None, 9, False), Member("r", "h:2", "m", 0, False)
    whole = seen([master, replica])
    lost = seen([master._replace(failed=True), replica])
    over = seen([master._replace(failed=True, slots=0), replica._replace(master=None, slots=9)])
    back = seen([master._replace(master="r", slots=0), replica._replace(master=None, slots=9)])

    def told(before: Any, now: Any) -> list[tuple[str, Any]]:
        return [(draft.type, (draft.data or {}).get("node")) for draft in changes(before, now)]

    assert told(None, whole) == told(whole, whole) == []
    assert told(whole, lost) == [("cluster.node_down", "h:1"), ("cluster.degraded", None)]
    assert told(lost, over) == [("cluster.failover", "h:2"), ("cluster.degraded", None)]
    assert told(over, back) == [("cluster.node_up", "h:1"), ("cluster.healed", None)]
