"""Ends a run: nothing of it is begun any more, what runs is ended by its agents, and their servers are told.

::

    the run's state ──► agents are told (a broadcast) ──► their calls end, `notifications/cancelled` ──► outcomes stored
                   └──► messages that nobody has claimed leave their queues

The state alone decides, so each step after it may be lost: agents look once a second how the runs that they work on
are, and a message that is claimed nevertheless is acked unseen. What nobody claims, and what an agent had begun that is
gone, is found by who looks after the runs (`withdraw_rest`, `settle_rest`).
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from omx_tasks.broker import queues
from omx_tasks.errors import OmxError
from omx_tasks.graph.marker import task_id
from omx_tasks.graph.stored import StoredPlan, item_of, of_generation
from omx_tasks.results import joins
from omx_tasks.results.joins import Beginning
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
            about = {"run": run_id}
            logger.warning(
                "run %s is cancelled; its agents will find out: %s", run_id, error, extra=about
            )
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


def withdraw_rest(store: Store, run_id: str) -> None:
    """Remove all of a cancelled run that no agent has begun."""
    found = _read(store, run_id)
    if found is None or found.state != "cancelled":
        return
    names = (*found.plan.steps, *found.items)
    begun = found.states.keys()
    waiting = [of_generation(name, found.suffix) for name in names if name not in begun]
    _withdraw(store, run_id, int(found.suffix[1:] or 0), waiting)


def settle_rest(store: Store, run_id: str) -> tuple[list[str], int]:
    """End what an agent had begun of a cancelled run whose message it holds no more: nobody knows how far that came.

    Returns those, and how many an agent still holds.
    """
    found = _read(store, run_id)
    if found is None or found.state != "cancelled":
        return [], 0
    expanded = {item_of(item)[0] for item in found.items}
    running = [
        name for name, state in found.states.items() if state == "running" and name not in expanded
    ]
    held = _held(store, run_id, found, running)
    for name, (carrier, is_held) in held.items():
        if not is_held:
            for one in dict.fromkeys((carrier, name)):
                outside = of_generation(one, found.suffix)
                beginning = Beginning(outside, secrets.token_hex(8))
                store.run(joins.start(run_id, "", [beginning]))
    left = [of_generation(name, found.suffix) for name, (_, is_held) in held.items() if not is_held]
    _withdraw(store, run_id, int(found.suffix[1:] or 0), left)
    return left, len(running) - len(left)


def _held(
    store: Store, run_id: str, found: _Cancelled, running: Sequence[str]
) -> dict[str, tuple[str, bool]]:
    """Return for each operation the one whose message stands for it, and whether an agent holds that."""
    if not running:
        return {}
    remaining = keys.remaining(run_id)
    attempts = store.command(remaining, "HMGET", remaining, *(f"{one}:attempt" for one in running))
    carriers = [
        (text or b"").decode().partition("\n")[2] or name
        for name, text in zip(running, attempts, strict=True)
    ]
    names = [of_generation(name, found.suffix) for name in carriers]
    places = [keys.places(place_of(run_id, found.plan, name)) for name in names]
    texts = store.commands(
        [
            (place, ("HGET", place, task_id(run_id, name)))
            for place, name in zip(places, names, strict=True)
        ]
    )
    return {
        name: (carrier, text is not None and text.split(b"|")[4] != b"")
        for name, carrier, text in zip(running, carriers, texts, strict=True)
    }


class _Cancelled(NamedTuple):
    """What is left of a run. ``suffix`` is what its generation adds to the names of operations."""

    state: str
    suffix: str
    plan: StoredPlan
    states: dict[str, str]
    items: list[str]


def _read(store: Store, run_id: str) -> _Cancelled | None:
    about, states, items = keys.run(run_id), keys.states(run_id), keys.items(run_id)
    document = store.run(joins.read_plan(run_id))
    if document is None:
        return None
    (state, generation), pairs, names = store.commands(
        [
            (about, ("HMGET", about, "state", "generation")),
            (states, ("HGETALL", states)),
            (items, ("HKEYS", items)),
        ]
    )
    return _Cancelled(
        (state or b"").decode(),
        f":{generation.decode()}" if generation else "",
        StoredPlan.parse(document),
        {name.decode(): value.decode() for name, value in pairs.items()},
        [name.decode() for name in names if b"[" in name],
    )


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
