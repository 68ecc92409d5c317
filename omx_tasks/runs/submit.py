"""A run begins: the graph is stored once, then its first operations are published."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from omx_tasks.broker import queues
from omx_tasks.broker.partitions import on_all
from omx_tasks.broker.routing import PREFIX, set_name
from omx_tasks.errors import OmxError, UnavailableError, UnconfirmedError
from omx_tasks.graph.ahead import needs_of
from omx_tasks.graph.plan import Plan
from omx_tasks.graph.stored import StoredPlan, StoredStep
from omx_tasks.results import joins, needs
from omx_tasks.runs.advance import advance
from omx_tasks.store import keys
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.link import ReplyError

#: What is known of a run when its submission was not confirmed.
_MAYBE = "run {run} may have been stored, and goes on then (`omx status {run}` tells)"
_STORED = (
    "run {run} is stored, so do not submit it again; what of it is not queued will be, by the coordinator or "
    "`omx queues --repair`"
)


def new_run_id() -> str:
    """Return an id that sorts by time and is not guessed: ``0mk3f9q2-5f1c9a``."""
    return f"{_base36(int(time.time() * 1000)):0>9}-{secrets.token_hex(3)}"


def submit(
    store: Store,
    plan: Plan,
    inputs: dict[str, Any],
    *,
    keep: float,
    timeout: float | None = None,
    partitions: int = 1,
    run_id: str | None = None,
) -> str:
    """Store a run of this plan, publish what can start at once, and return the run's id.

    ``keep`` is the seconds for which the run can be looked at after its end, ``timeout`` those after which it is
    cancelled (without it the graph's own holds), ``partitions`` how many its queues have. With a ``run_id`` of its own
    a run can be submitted again, which changes nothing.

    Raises `UnavailableError` where nothing was queued, `UnconfirmedError` where the run may go on all the same: its
    message names it.
    """
    run_id = run_id or new_run_id()
    stored = StoredPlan.of(plan, inputs, partitions)
    with _explained(UnavailableError, UnavailableError, f"run {run_id} does not start"):
        _announce(store, run_id, plan, stored)
        prepared = joins.prepare(run_id, plan)
        for reply in store.run_many(prepared):
            if isinstance(reply, ReplyError):
                raise StoreError(f"run {run_id} could not be stored: {reply}")
    limit = plan.graph.timeout if timeout is None else timeout
    request = joins.submit(run_id, plan, stored, keep=keep, timeout=limit, prepared=len(prepared))
    with _explained(UnconfirmedError, UnconfirmedError, _MAYBE.format(run=run_id)):
        ready = store.run(request)
    with _explained((UnavailableError, StoreError), UnconfirmedError, _STORED.format(run=run_id)):
        advance(store, run_id, stored, [name.decode() for name in ready])
    return run_id


@contextmanager
def _explained(
    caught: type[OmxError] | tuple[type[OmxError], ...], raised: type[OmxError], what: str
) -> Iterator[None]:
    """Say with an error also what it means for the run."""
    try:
        yield
    except caught as error:
        raise raised(f"{what}: {error}") from error


def _announce(store: Store, run_id: str, plan: Plan, stored: StoredPlan) -> None:
    """Enter the run into the list of runs, and the capability sets that it requires into theirs.

    Where some of it comes later, agents are told which servers it will need, and when.
    """
    require(store, stored, stored.steps.values())
    calls = [joins.announce(run_id, time.time())]
    if len(plan.roots) < len(plan.steps):
        longest = max(step.rank for step in plan.steps.values())
        calls.append(needs.need(run_id, needs_of(plan), longest))
    for reply in store.run_many(calls):
        if isinstance(reply, ReplyError):
            raise StoreError(f"run {run_id} could not be announced: {reply}")


def require(store: Store, plan: StoredPlan, steps: Iterable[StoredStep]) -> None:
    """Let the agents know which capability sets these steps need, so that they look into all of their queues.

    The queues are listed from now on, also where no agent is up that would declare them.
    """
    sets = sorted({set_name(step.capabilities) for step in steps})
    if plan.partitions > 1:
        calls = [queues.declare(PREFIX + name, partitions=plan.partitions) for name in sets]
        on_all(store.run_many(calls))
    asked, names = keys.capability_sets(), keys.queue_names()
    listed = ("SADD", names, *(PREFIX + name for name in sets))
    store.commands([(asked, ("SADD", asked, *sets)), (names, listed)])


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return text
