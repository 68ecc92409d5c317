"""Takes up a run that failed or was cancelled: what is done stays, all else is begun anew.

Done are operations that succeeded, and failures after which the graph goes on (``on_failure: continue``): what depends
on those has seen them. An operation that is `unknown` may have been done. Somebody who can see whether it was says what
becomes of it: it is begun again, or counts as done (without an output). Otherwise it stays, what needs it stays
skipped, and the run ends as failed again.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from enum import StrEnum

from omx_tasks.errors import NotFoundError, UsageError, did_you_mean
from omx_tasks.graph.ahead import Ahead
from omx_tasks.graph.stored import StoredPlan, item_of
from omx_tasks.results import joins, needs
from omx_tasks.runs.advance import advance
from omx_tasks.runs.cancel import wait_until_settled
from omx_tasks.runs.submit import require
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds in which agents may end what they still do of a cancelled run; what takes longer does not count any more.
SETTLE = 5.0


class Unknown(StrEnum):
    """What becomes of operations of which nobody knows whether they were done."""

    KEEP = "keep"
    RETRY = "retry"
    DONE = "done"


def resume(
    store: Store,
    run_id: str,
    unknown: Unknown | str = Unknown.KEEP,
    choices: Mapping[str, Unknown | str] | None = None,
) -> int:
    """Take a run up again and return how often that has happened to it now.

    ``choices`` says of single unknown operations what becomes of them, ``unknown`` of all others.
    Raises `NotFoundError` where there is no such run, and `UsageError` where there is nothing to take up.
    """
    single = {name: Unknown(choice) for name, choice in (choices or {}).items()}
    document = store.run(joins.read_plan(run_id))
    if document is None:
        raise _refusal(run_id, "")
    plan = StoredPlan.parse(document)
    for name in single:
        if item_of(name)[0] not in plan.steps:
            raise NotFoundError(
                f"run {run_id} has no operation {name!r}.{did_you_mean(name, plan.steps)}"
            )
    wait_until_settled(store, run_id, SETTLE)
    require(store, plan, plan.steps.values())
    _tell_needs(store, run_id, plan)
    request = joins.resume(run_id, plan, secrets.token_hex(8), Unknown(unknown), single)
    # Before, so that it is looked after should we die; and after, since until then it may be struck off as over.
    store.run(joins.reopen(run_id, time.time()))
    verdict, *rest = (word.decode() for word in store.run(request))
    if verdict != "resumed":
        raise _refusal(run_id, verdict)
    store.run(joins.reopen(run_id, time.time()))
    generation, *ready = rest
    advance(store, run_id, plan, ready)
    return int(generation)


def _tell_needs(store: Store, run_id: str, plan: StoredPlan) -> None:
    """Tell agents which servers the run needs; those that see to it find out what of it is done."""
    key = keys.successors(run_id)
    links = {
        name.decode(): json.loads(text) for name, text in store.command(key, "HGETALL", key).items()
    }
    longest = max((step.rank for step in plan.steps.values()), default=0) / 1000
    store.run(needs.need(run_id, Ahead(plan, links).needs(), longest))


def _refusal(run_id: str, verdict: str) -> UsageError:
    match verdict:
        case "":
            return NotFoundError(
                f"there is no run {run_id!r} (any more): `omx runs` lists those there are"
            )
        case "nothing":
            return UsageError(
                f"nothing of run {run_id} can be resumed: all that is not done is unknown, or needs what is; "
                "see whether it was done, then `omx resume` with `--unknown retry` or `--unknown done` goes on"
            )
        case "running":
            return UsageError(f"run {run_id} is running: there is nothing to resume")
        case _:
            return UsageError(f"run {run_id} has {verdict}: there is nothing to resume")
