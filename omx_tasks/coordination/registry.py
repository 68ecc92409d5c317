"""What coordinators say of themselves: who leads since when, and how the duties go."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from omx_tasks.records import known
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds after which a coordinator that was not heard is taken for gone, and after which it is forgotten.
SILENT, FORGOTTEN = 5.0, 3600.0


@dataclass(frozen=True)
class CoordinatorRecord:
    """One coordinator that is up. Times are Unix seconds; ``token`` and ``since`` are those of the leader.

    ``duties`` says of each when it was begun ``last`` here, the ``seconds`` it took, ``runs``, ``failures`` and more.
    """

    name: str
    host: str
    pid: int
    started: float
    heard: float
    leads: bool
    since: float | None
    token: int | None
    duties: dict[str, dict[str, Any]]
    handlers: list[str]

    @property
    def failing(self) -> dict[str, str]:
        """The duties that failed the last time, with the reason."""
        return {name: one["error"] for name, one in self.duties.items() if one["failing"]}


def coordinators(store: Store) -> list[CoordinatorRecord]:
    """Return the coordinators that were heard lately, by the cluster's clock, the leader first."""
    key, lease = keys.coordinators(), keys.lease()
    fields = ("leader", "until", "since", "token")
    (seconds, micros), told, (leader, until, since, token) = store.commands(
        [(key, ("TIME",)), (key, ("HGETALL", key)), (lease, ("HMGET", lease, *fields))]
    )
    now = int(seconds) + int(micros) / 1_000_000
    found, forgotten = [], []
    for name, text in told.items():
        heard, _, record = text.partition(b" ")
        silence = now - int(heard) / 1000
        if silence > FORGOTTEN:
            forgotten.append(name)
        leads = name == leader and int(until) / 1000 > now
        term = (int(since) / 1000, int(token)) if leads else (None, None)
        if silence < SILENT:
            about = known(CoordinatorRecord, json.loads(record))
            found.append(
                CoordinatorRecord(
                    name.decode(),
                    heard=int(heard) / 1000,
                    leads=leads,
                    since=term[0],
                    token=term[1],
                    **about,
                )
            )
    if forgotten:
        store.command(key, "HDEL", key, *forgotten)
    return sorted(found, key=lambda one: (not one.leads, one.name))
