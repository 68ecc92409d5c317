"""How far a handler is behind what was published."""

from __future__ import annotations

from typing import NamedTuple

from omx_tasks.events import log
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store


class Lag(NamedTuple):
    """Events that are in the logs and not handled, and those that were dropped before, since nobody had claimed."""

    behind: int
    dropped: int


def lag(store: Store, group: str, partitions: int) -> Lag:
    """Return how far a group of handlers is behind; one that never claimed, all that the logs have."""
    lasts = [f"last:{int(priority)}" for priority in Priority]
    firsts = [f"first:{int(priority)}" for priority in Priority]
    cursors = [f"{int(priority)}:{group}" for priority in Priority]
    commands = []
    for number in range(log.open_log(store, partitions)):
        meta, places, dropped = (
            spell(number) for spell in (keys.event_meta, keys.event_cursors, keys.event_dropped)
        )
        commands += [
            (places, ("HMGET", places, *cursors)),  # before the ends, which only rise
            (meta, ("HMGET", meta, *firsts, *lasts)),
            (dropped, ("HGET", dropped, group)),
        ]
    answers = store.commands(commands)
    behind, lost = 0, 0
    for done, ends, dropped_there in zip(answers[::3], answers[1::3], answers[2::3], strict=True):
        lost += int(dropped_there or 0)
        for cursor, first, last in zip(done, ends[:4], ends[4:], strict=True):
            if last is not None:
                behind += int(last) - (int(first) - 1 if cursor is None else int(cursor))
    return Lag(behind, lost)
