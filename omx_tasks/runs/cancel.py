"""Ends a run: nothing of it is begun any more, what runs is ended by its agents, and their servers are told.

::

    the run's state ──► agents are told (a broadcast) ──► their calls end, `notifications/cancelled` ──► outcomes stored
                   └──► messages that nobody has claimed leave their queues

The state alone decides, so each step after it may be lost: agents look once a second how the runs that they work on
are, and a message that is claimed nevertheless is acked unseen.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from omx_tasks.broker import queues
from omx_tasks.errors import OmxError
from omx_tasks.graph.marker import task_id
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import joins
from omx_tasks.runs import turns
from omx_tasks.runs.dispatch import place_of
from omx_tasks.store import keys
from omx_tasks.store.client import Store

logger = logging.getLogger(__name__)

#: Seconds between two looks whether anything still runs, and messages that one script removes.
LOOK, MOST = 0.02, 500


def cancel(store: Store, run_id: str, why: Mapping[str, str] | None = None) -> str:
    """Cancel a run that goes on; return its state, or an empty text when there is none of that id."""
    answer: list[bytes] = store.run(joins.cancel(run_id, why))
    state, generation, *waiting = (word.decode() for word in answer)
    if state == "cancelled":
        try:
            tell_agents(store, run_id)
            _withdraw(store, run_id, int(generation), waiting)
        except OmxError as error:
            logger.warning("run %s is cancelled; its agents will find out: %s", run_id, error)
    return state


def tell_agents(store: Store, run_id: str) -> None:
    """Let the agents know at once that a run was cancelled."""
    channel = keys.cancellations()
    store.command(channel, "SPUBLISH", channel, run_id)


def wait_until_settled(store: Store, run_id: str, seconds: float) -> bool:
    """Wait until no agent works on a cancelled run any more; False when that took longer."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while store.run(joins.running(run_id)):
        if time.monotonic() >= deadline:
            return False
        pause.wait(LOOK)
    return True


def _withdraw(store: Store, run_id: str, generation: int, operations: Sequence[str]) -> None:
    """Remove what no agent has claimed: messages from their queues, places from the lines of servers."""
    document = store.run(joins.read_plan(run_id))
    if document is None:
        return
    plan = StoredPlan.parse(document)
    by_queue: dict[str, list[str]] = defaultdict(list)
    for name in operations:
        by_queue[place_of(run_id, plan, name)].append(task_id(run_id, name))
    calls = [
        queues.withdraw(queue, ids[first : first + MOST])
        for queue, ids in by_queue.items()
        for first in range(0, len(ids), MOST)
    ]
    store.run_many(calls)
    for server in sorted(plan.servers):
        turns.leave(store, server, run_id, generation)
