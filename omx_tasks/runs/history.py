"""All that is known of when things happened in a run: what a report of it is made from.

A run's stream says when each operation was begun and when its outcome was stored, by the cluster's clock. When it
became ready is not written down, since it is known: its last need was stored, and it was made ready, in one step.

Of a run that was resumed the time between an end and the next beginning is left out, as if it had gone on at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from omx_tasks.errors import NotFoundError
from omx_tasks.graph.collector import at_rest
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results.joins import OVER
from omx_tasks.runs.follow import Change, changes_of
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Changes that one request reads.
_PAGE = 5000


@dataclass(frozen=True)
class History:
    """A run from its submission to its end, or to now where it goes on. Times are Unix seconds, less idle ones."""

    run: str
    name: str
    state: str
    created: float
    finished: float
    plan: StoredPlan
    successors: Mapping[str, Sequence[str]]
    changes: Sequence[Change]


@at_rest()
def read_history(store: Store, run_id: str) -> History:
    """Read what happened in a run; raises `NotFoundError` where there is none of that id."""
    about = (keys.run(run_id), keys.plan(run_id), keys.successors(run_id))
    fields, document, successors = store.commands(
        [
            (about[0], ("HMGET", about[0], "name", "state", "created", "finished", "idle")),
            (about[1], ("GET", about[1])),
            (about[2], ("HGETALL", about[2])),
        ]
    )
    if document is None:
        raise NotFoundError(
            f"there is no run {run_id!r} (any more): `omx runs` lists those there are"
        )
    name, state, created, finished = (field.decode() for field in fields[:4])
    ended = float(finished) if finished else time.time()
    return History(
        run_id,
        name,
        state,
        float(created),
        ended - float(fields[4] or 0),
        StoredPlan.parse(document),
        {one.decode(): json.loads(following) for one, following in successors.items()},
        list(without_idle(_changes(store, run_id))),
    )


def without_idle(changes: Iterable[Change]) -> Iterator[Change]:
    """Yield the changes of a run as if it had been resumed the moment it ended."""
    idle, ended = 0.0, None
    for change in changes:
        if not change.operation and change.state != "running":
            ended = change.at
        elif not change.operation and ended is not None:
            idle, ended = idle + change.at - ended, None
        at = change.at if ended is None else min(change.at, ended)
        yield replace(change, at=at - idle, detail=_earlier(change, idle))


def _earlier(change: Change, idle: float) -> str:
    """Return a change's detail with the times of its call so much earlier."""
    if not idle or change.state not in OVER or not change.operation or not change.detail:
        return change.detail
    record = json.loads(change.detail)
    moved = {name: record[name] - idle for name in ("started", "finished") if record[name]}
    return json.dumps(record | moved)


def _changes(store: Store, run_id: str) -> Iterator[Change]:
    stream, after = keys.stream(run_id), "-"
    while True:
        page = store.command(stream, "XRANGE", stream, after, "+", "COUNT", _PAGE)
        yield from changes_of(page)
        if len(page) < _PAGE:
            return
        after = f"({page[-1][0].decode()}"
