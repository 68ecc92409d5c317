"""Runs whose queues have partitions, on agents that were not told of them."""

from __future__ import annotations

import signal
from collections.abc import Callable

from fleet import Fleet, one

from omx_tasks.broker import audit, queues
from omx_tasks.broker.partitions import partitions
from omx_tasks.broker.routing import queue_of
from omx_tasks.store.client import Store

Until = Callable[..., None]


def _queue(fleet: Fleet) -> str:
    return queue_of([f"server:{fleet.ledger}"])


def test_a_run_spreads_over_partitions_and_every_operation_is_called_once(
    fleet: Fleet, store: Store, until: Until
) -> None:
    fleet.start(4)
    fleet.start(4)
    roots = [fleet.call(f"r{number}") for number in range(30)]
    chains = [fleet.call(f"c{number}", needs=[f"r{number}"]) for number in range(30)]
    last = fleet.call("last", needs=[chain.id for chain in chains])
    view = fleet.submit(*roots, *chains, last, partitions=3).wait(60)
    assert view.state == "succeeded"
    assert set(fleet.executions().values()) == {1}

    def settled() -> bool:
        (report,) = audit.reports(store, [_queue(fleet)])
        counters = report.stats.counters
        return counters["published"] == counters.get("acked") >= 30  # what goes on has none

    until(settled)
    answers = store.run_many([queues.stats(name) for name in partitions(_queue(fleet), 3)])
    assert all(queues.read_stats(answer).counters["published"] for answer in answers)


def test_what_a_dead_agent_held_of_any_partition_is_done_by_another(
    fleet: Fleet, store: Store, until: Until
) -> None:
    first = fleet.start(12, lease=1.5)
    names = [f"o{number}" for number in range(12)]
    run = fleet.submit(*(fleet.call(n, arguments={"once": True}) for n in names), partitions=3)
    until(lambda: len(fleet.executions()) == 12)
    first.signal(signal.SIGKILL)
    fleet.start(12, lease=1.5)
    view = run.wait(timeout=60)
    assert view.state == "succeeded"
    assert {one(view, name).attempts for name in names} == {2}
