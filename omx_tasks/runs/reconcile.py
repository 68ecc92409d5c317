"""Finds what crashed steps left behind: operations whose message was lost, and those that nobody could carry out.

An operation is in its run's outbox from the moment it is ready until it is over. One that was not looked after for
long is published again under its old id: if its message still waits or is held, the queue knows it and nothing
happens; if it was lost, it is there again, and the agents are told again that such a queue is needed. Where it went on
without a message, the one that stands for it is looked after in the same way: whoever gets that publishes it. One
whose message was delivered so often that it was set aside ends as failed. Turns at servers that were left behind are
freed (see `turns`). A run whose time is over is cancelled, and what of a cancelled run is still queued leaves its
queue. So this may run anywhere, and twice at once.

What ends here was ended by no agent, so no agent tells of it: whoever looks may do so (`Tell`), before the run leaves
the list of those that are looked after.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from omx_tasks.broker import audit
from omx_tasks.broker.audit import Death
from omx_tasks.errors import NotFoundError, OmxError
from omx_tasks.graph.marker import task_id
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import joins
from omx_tasks.results.joins import STILLBORN, Outcome
from omx_tasks.runs import turns
from omx_tasks.runs.advance import advance, finish_and_advance
from omx_tasks.runs.cancel import tell_agents, withdraw_rest
from omx_tasks.runs.dispatch import place_of
from omx_tasks.runs.submit import require
from omx_tasks.store import keys
from omx_tasks.store.client import Store

logger = logging.getLogger(__name__)

#: Told of what ended here: how (``run.failed``, ``operation.failed``), what is said of it, and a name by which a
#: repetition is known.
Tell = Callable[[str, dict[str, Any], str], None]


class Found(NamedTuple):
    """What one look found: runs looked at, runs that are over, operations published again, operations given up.

    ``freed`` counts turns at servers that nobody would have passed on.
    """

    runs: int
    over: int
    published: int
    given_up: int = 0
    freed: int = 0


def _nobody(_type: str, _data: dict[str, Any], _name: str) -> None:
    """Tell nobody."""


def reconcile(
    store: Store,
    read_plan: Callable[[str], StoredPlan],
    *,
    age: float,
    tell: Tell = _nobody,
) -> Found:
    """Look at every open run once; ``age`` is the seconds after which an operation is overdue."""
    announced = store.command(keys.open_runs(), "ZRANGE", keys.open_runs(), 0, -1, "WITHSCORES")
    runs = {name.decode(): float(submitted) for name, submitted in announced}
    answers = store.run_many([joins.overdue(run_id, age=age) for run_id in runs])
    over = published = given_up = 0
    for (run_id, submitted), answer in zip(runs.items(), answers, strict=True):
        if isinstance(answer, Exception):
            logger.warning(
                "run %s could not be looked at: %s", run_id, answer, extra={"run": run_id}
            )
            continue
        state, *words = (word.decode() for word in answer)
        operations = dict(zip(words[0::2], words[1::2], strict=True))
        if state in ("running", "") and not (state == "" and submitted < time.time() - STILLBORN):
            counts = _look_after(store, read_plan, run_id, operations, tell)
            published, given_up = published + counts[0], given_up + counts[1]
        else:
            if state == "cancelled":  # perhaps just now, its time being over
                _end(store, run_id, tell)
            _let_go(store, run_id)
            over += 1
    return Found(len(runs), over, published, given_up, turns.free(store))


def _end(store: Store, run_id: str, tell: Tell) -> None:
    """Carry a cancellation out, whoever began it; a run whose time was over had nobody who told of it."""
    tell_agents(store, run_id)
    withdraw_rest(store, run_id)
    about = keys.run(run_id)
    fields = ("name", "error", "finished")
    name, why, finished = store.command(about, "HMGET", about, *fields)
    if name and why and json.loads(why)["kind"] == "timeout":
        said = {"run": run_id, "name": name.decode(), "error": json.loads(why)}
        tell("run.cancelled", said, f"run.cancelled:{run_id}:{finished.decode()}")


def _let_go(store: Store, run_id: str) -> None:
    """Look at a run no more, but at its end."""
    opened, ended = keys.open_runs(), keys.ended_runs()
    store.command(ended, "ZADD", ended, "NX", f"{time.time() * 1000:.0f}", run_id)
    store.command(opened, "ZREM", opened, run_id)


def _look_after(
    store: Store,
    read_plan: Callable[[str], StoredPlan],
    run_id: str,
    operations: dict[str, str],
    tell: Tell,
) -> tuple[int, int]:
    """Publish again what is overdue, give up what is dead; one run's trouble is not the others'.

    The message of an operation may be another one's.
    """
    if not operations:
        return 0, 0
    try:
        plan = read_plan(run_id)
        messages = {*operations.values()}
        require(store, plan, [plan.step(name) for name in messages])
        set_aside = _dead(store, run_id, plan, messages)
        dead = {name: message for name, message in operations.items() if message in set_aside}
        advance(
            store, run_id, plan, [name for name in operations.values() if name not in set_aside]
        )
        for name, message in dead.items():
            outcome = _given_up(run_id, message, set_aside[message])
            over = finish_and_advance(store, run_id, name, plan, outcome)
            said = {"run": run_id, "operation": name, "error": outcome.error}
            tell("operation.failed", said, f"operation.failed:{run_id}:{name}")
            if over is not None:
                said = {"run": run_id, "name": plan.name}
                tell(f"run.{over}", said, f"run.{over}:{run_id}:{name}")
    except NotFoundError:
        return 0, 0
    except OmxError as error:
        logger.warning("run %s could not be looked after: %s", run_id, error, extra={"run": run_id})
        return 0, 0
    return len(operations) - len(dead), len(dead)


def _dead(
    store: Store, run_id: str, plan: StoredPlan, operations: Iterable[str]
) -> dict[str, Death]:
    """Return the operations whose messages were set aside, and after what."""
    places = {task_id(run_id, name): (name, place_of(run_id, plan, name)) for name in operations}
    found = audit.deaths(store, [(place, message) for message, (_, place) in places.items()])
    return {places[message][0]: death for message, death in found.items()}


def _given_up(run_id: str, operation: str, death: Death) -> Outcome:
    perhaps = (
        "perhaps it is what ends them, by a crash or by more memory than there is: see the agents' logs"
        if death.losses
        else "none of them could begin it or store what came of it: see the agents' logs"
    )
    message = (
        f"it was given up after {death} (limits: OMX_MOST_LOSSES, OMX_MOST_DELIVERIES); {perhaps}, then "
        f"`omx resume {run_id}`. Its message is kept: `omx queues dead show '{task_id(run_id, operation)}'`"
    )
    return Outcome("failed", error={"kind": "lost", "message": message})
