"""How far a handler is behind what was published."""

from __future__ import annotations

from typing import NamedTuple

from omx_tasks.events import log
from omx_tasks.events.handlers import Handler
from omx_tasks.events.lanes import Lane, lanes_of
from omx_tasks.store import keys
from omx_tasks.store.client import Store


class Lag(NamedTuple):
    """Events that are in the logs and not handled, and those that were dropped before, since nobody had claimed."""

    behind: int
    dropped: int


def lag(store: Store, handler: Handler, partitions: int) -> Lag:
    """Return how far a handler is behind; one that never claimed, all that the logs have."""
    count = log.open_log(store, partitions)
    found = [_lag(store, lane, number) for lane in lanes_of(handler) for number in range(count)]
    return Lag(sum(one.behind for one in found), sum(one.dropped for one in found))


def _lag(store: Store, lane: Lane, number: int) -> Lag:
    numbers = [int(priority) for priority in lane.priorities]
    meta, cursors, dropped = (
        spell(number) for spell in (keys.event_meta, keys.event_cursors, keys.event_dropped)
    )
    # The cursors before the ends of the logs, which only rise.
    done, firsts, lasts, lost = store.commands(
        [
            (cursors, ("HMGET", cursors, *(f"{one}:{lane.group}" for one in numbers))),
            (meta, ("HMGET", meta, *(f"first:{one}" for one in numbers))),
            (meta, ("HMGET", meta, *(f"last:{one}" for one in numbers))),
            (dropped, ("HGET", dropped, lane.group)),
        ]
    )
    behind = sum(
        int(last) - (int(first) - 1 if cursor is None else int(cursor))
        for cursor, first, last in zip(done, firsts, lasts, strict=True)
        if last is not None
    )
    return Lag(behind, int(lost or 0))
