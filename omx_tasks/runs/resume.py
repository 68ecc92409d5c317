"""Takes up a run that failed or was cancelled: what is done stays, all else is begun anew.

Done are operations that succeeded, and failures after which the graph goes on (``on_failure: continue``): what depends
on those has seen them. An operation that is `unknown` may have been done. Somebody who can see whether it was says what
becomes of it: it is begun again, or counts as done (without an output). Otherwise it stays, what needs it stays
skipped, and the run ends as failed again.

What succeeded on a stateful server is done no more once the run's session there has ended: the state that it had is
gone. So all that was done on a server can be done again, and all that needs it, since that has seen what came of it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

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
    again: Iterable[str] = (),
) -> int:
    """Take a run up again and return how often that has happened to it now.

    ``choices`` says of single unknown operations what becomes of them, ``unknown`` of all others. What was done on the
    servers in ``again`` is done again, with all that needs it.
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
    following = links(store, run_id)
    on_servers = _operations_on(plan, again)
    single = dict.fromkeys(on_servers, Unknown.RETRY) | single
    wait_until_settled(store, run_id, SETTLE)
    require(store, plan, plan.steps.values())
    _tell_needs(store, run_id, plan, following)
    token = secrets.token_hex(8)
    request = joins.resume(
        run_id, plan, token, Unknown(unknown), single, and_what_needs(on_servers, following)
    )
    # Before, so that it is looked after should we die; and after, since until then it may be struck off as over.
    store.run(joins.reopen(run_id, time.time()))
    verdict, *rest = (word.decode() for word in store.run(request))
    if verdict != "resumed":
        raise _refusal(run_id, verdict)
    store.run(joins.reopen(run_id, time.time()))
    generation, *ready = rest
    advance(store, run_id, plan, ready)
    return int(generation)


def _operations_on(plan: StoredPlan, servers: Iterable[str]) -> list[str]:
    names = {step.server for step in plan.steps.values()}
    for server in (wanted := set(servers)):
        if server not in names:
            raise NotFoundError(
                f"the run has no operation on a server {server!r}.{did_you_mean(server, names)}"
            )
    return [name for name, step in plan.steps.items() if step.server in wanted]


def and_what_needs(operations: Iterable[str], following: Mapping[str, Any]) -> set[str]:
    """Return operations with all that needs them; one and its fallbacks are done again together."""
    found, line = set[str](), list(operations)
    while line:
        name = line.pop()
        if name not in found:
            found.add(name)
            beside = (following.get(f"{word}:{name}") for word in ("fallback", "in_place_of"))
            line += [*following.get(name, ()), *filter(None, beside)]
    return found


def links(store: Store, run_id: str) -> dict[str, Any]:
    """Return what follows what, as it is stored with the run."""
    key = keys.successors(run_id)
    stored = store.command(key, "HGETALL", key)
    return {name.decode(): json.loads(text) for name, text in stored.items()}


def _tell_needs(store: Store, run_id: str, plan: StoredPlan, following: Mapping[str, Any]) -> None:
    """Tell agents which servers the run needs; those that see to it find out what of it is done."""
    longest = max((step.rank for step in plan.steps.values()), default=0) / 1000
    store.run(needs.need(run_id, Ahead(plan, following).needs(), longest))


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
