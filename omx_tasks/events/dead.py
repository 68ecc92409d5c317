"""Events that a handler was given too often without success: look at them, have them tried again, or drop them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from omx_tasks.broker.partitions import on_all
from omx_tasks.events import log
from omx_tasks.events.groups import groups_of
from omx_tasks.events.handlers import URGENT
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, script

_PAGE = 500


class DeadEvent(NamedTuple):
    """A dead event of a handler; ``died`` is in Unix seconds, ``event`` as it was stored.

    ``group``, ``partition`` and ``place`` say where it lies.
    """

    handler: str
    group: str
    partition: int
    place: str
    died: float
    deliveries: int
    error: str
    event: dict[str, Any]

    @property
    def id(self) -> str:
        """The event's id; where it cannot be read, its place."""
        return str(self.event.get("id", f"{self.partition}:{self.place}"))


def dead(store: Store, partitions: int, handler: str | None = None) -> list[DeadEvent]:
    """Return the dead events of a handler, or of all, the longest dead first."""
    groups = groups_of(store, range(log.open_log(store, partitions)))
    found = [
        event
        for group, numbers in groups.items()
        if handler in (None, group.removesuffix(URGENT))
        for number in numbers
        for event in _read(store, group, number)
    ]
    return sorted(found, key=lambda event: event.died)


def _read(store: Store, group: str, number: int) -> Iterator[DeadEvent]:
    key, start = keys.event_dead(number, group), "-"
    while page := store.command(key, "XRANGE", key, start, "+", "COUNT", _PAGE):
        for place, flat in page:
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            name = place.decode()
            yield DeadEvent(
                group.removesuffix(URGENT),
                group,
                number,
                name,
                int(name.partition("-")[0]) / 1000,
                int(fields[b"deliveries"]),
                fields[b"error"].decode(errors="replace"),
                _content(fields[b"e"]),
            )
        start = f"({page[-1][0].decode()}"


def replay(store: Store, events: Iterable[DeadEvent]) -> int:
    """Have dead events handled again, their deliveries counted anew; return how many were still dead."""
    return _on_all(store, "event_replay_1", events)


def drop(store: Store, events: Iterable[DeadEvent]) -> int:
    """Remove dead events for good; return how many were still there."""
    return _on_all(store, "event_drop_1", events)


def _on_all(store: Store, name: str, events: Iterable[DeadEvent]) -> int:
    places: dict[tuple[int, str], list[str]] = defaultdict(list)
    for event in events:
        places[event.partition, event.group].append(event.place)
    calls = [
        Call(script(name), keys.event_group_keys(*where), chosen[at : at + _PAGE], durable=True)
        for where, chosen in places.items()
        for at in range(0, len(chosen), _PAGE)
    ]
    return on_all(store.run_many(calls))


def _content(text: bytes) -> dict[str, Any]:
    """Return an event as it was stored; some are dead because they cannot be read."""
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    readable = isinstance(content, dict)
    return content if readable else {"unreadable": text.decode(errors="replace")}
