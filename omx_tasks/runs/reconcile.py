"""Finds what two crashed steps left behind: operations that are ready and that nobody was told of.

An operation is in its run's outbox from the moment it is ready until an agent starts it. One that has been there for
too long is published again under its old id: if its message still waits or is held, the queue knows it and
nothing happens; if it was lost, it is there again. So this may run anywhere, and twice at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from omx_tasks.errors import NotFoundError
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import joins
from omx_tasks.runs.advance import advance
from omx_tasks.store import keys
from omx_tasks.store.client import Store


class Found(NamedTuple):
    """What one look found: runs looked at, runs that are over, operations published again."""

    runs: int
    over: int
    published: int


def reconcile(store: Store, read_plan: Callable[[str], StoredPlan], *, age: float) -> Found:
    """Look at every open run once; ``age`` is the seconds after which a ready operation is overdue."""
    names = store.command(keys.open_runs(), "ZRANGE", keys.open_runs(), 0, -1)
    over = published = 0
    for run_id in (name.decode() for name in names):
        state, *operations = store.run(joins.overdue(run_id, age=age))
        if state != b"running":
            store.command(keys.open_runs(), "ZREM", keys.open_runs(), run_id)
            over += 1
        elif operations:
            published += _publish(store, read_plan, run_id, [name.decode() for name in operations])
    return Found(len(names), over, published)


def _publish(
    store: Store, read_plan: Callable[[str], StoredPlan], run_id: str, operations: list[str]
) -> int:
    try:
        plan = read_plan(run_id)
    except NotFoundError:
        return 0
    advance(store, run_id, plan, operations)
    return len(operations)
