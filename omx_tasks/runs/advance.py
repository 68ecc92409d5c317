"""What follows when operations became ready: their messages. Handed to agents and to the result backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from omx_tasks.errors import NotFoundError
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import joins
from omx_tasks.results.joins import Ending, Outcome
from omx_tasks.runs.dispatch import publish_ready
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.link import ReplyError

#: Plans that a process keeps, by run; an agent works on few runs at once.
KEPT = 256


def plans(store: Store) -> Callable[[str], StoredPlan]:
    """Return a function that reads a run's plan, keeping those read lately."""

    @lru_cache(maxsize=KEPT)
    def read(run_id: str) -> StoredPlan:
        document = store.run(joins.read_plan(run_id))
        if document is None:
            raise NotFoundError(f"there is no run {run_id!r} (any more)")
        return StoredPlan.parse(document)

    return read


def advance(store: Store, run_id: str, plan: StoredPlan, ready: Sequence[str]) -> None:
    """Publish operations that became ready, waiting until the cluster has them."""
    for reply in store.run_many(publish_ready(run_id, plan, ready)):
        if isinstance(reply, ReplyError):
            raise StoreError(f"operations of run {run_id} could not be queued: {reply}")


def finish_and_advance(
    store: Store, run_id: str, operation: str, plan: StoredPlan, outcome: Outcome
) -> str | None:
    """Write an outcome and publish what it made ready, waiting for both; returns how the run ended, if it did."""
    goes_on = plan.step(operation).goes_on
    (part,) = store.run(joins.finish(run_id, [Ending(operation, outcome, goes_on)]))
    follows = joins.finished(part)
    advance(store, run_id, plan, follows.ready)
    return follows.over
