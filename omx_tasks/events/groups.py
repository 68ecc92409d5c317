"""How handlers stand: who serves them, how far they are behind, and what they have given up.

A handler is here whatever its lanes and partitions add up to. What it is behind by are events that it has not been
through yet, of any type: which of them it wants is known when it looks at them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from omx_tasks.broker.partitions import on_all
from omx_tasks.events import log
from omx_tasks.events.handlers import URGENT
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, script


class Standing(NamedTuple):
    """How a handler stands.

    ``partitions`` has how many of them are served and how many there are; ``processes`` serve them, as ``host:pid``.
    ``behind`` has only the priorities that it handles. ``oldest`` is the age in seconds of the oldest event
    that it has not been through, ``told`` the seconds since it last told that it handled something; ``dropped``
    counts events that were dropped before it took them, since nobody served it for too long.
    """

    handler: str
    partitions: tuple[int, int]
    processes: list[str]
    behind: dict[Priority, int]
    oldest: float | None
    retrying: int
    dead: int
    dropped: int
    failed: int
    told: float | None

    @property
    def unserved(self) -> int:
        """Partitions that no process serves."""
        served, there = self.partitions
        return there - served

    def as_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes."""
        served, there = self.partitions
        behind = {priority.name: count for priority, count in self.behind.items()}
        return {**self._asdict(), "partitions": {"served": served, "of": there}, "behind": behind}


def standings(store: Store, partitions: int) -> list[Standing]:
    """Return how every handler stands that was ever served on this cluster."""
    count = log.open_log(store, partitions)
    groups = groups_of(store, range(count))
    places = [(group, number) for group, numbers in groups.items() for number in numbers]
    calls = [_state(number, group) for group, number in places]
    by_handler: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    for (group, number), answer in zip(places, store.run_many(calls), strict=True):
        by_handler[group.removesuffix(URGENT)].append((number, answer))
    return [_sum(handler, count, states) for handler, states in sorted(by_handler.items())]


def groups_of(store: Store, numbers: Iterable[int]) -> dict[str, list[int]]:
    """Return the groups that there are, and the partitions that each was seen in."""
    names = [keys.event_seen(number) for number in numbers]
    found: dict[str, list[int]] = defaultdict(list)
    answers = store.commands([(name, ("HKEYS", name)) for name in names])
    for number, groups in enumerate(answers):
        for group in groups:
            found[group.decode()].append(number)
    return dict(found)


def handlers(store: Store, partitions: int) -> list[str]:
    """Return the names of all handlers that were ever served."""
    count = log.open_log(store, partitions)
    return sorted({group.removesuffix(URGENT) for group in groups_of(store, range(count))})


def forget(store: Store, partitions: int, handler: str) -> bool:
    """Forget a handler and all that it has left to do; return False where it is served, and so is not forgotten."""
    groups = groups_of(store, range(log.open_log(store, partitions)))
    calls = [
        Call(script("event_forget_1"), keys.event_group_keys(number, group), (group,), durable=True)
        for group, numbers in groups.items()
        if group.removesuffix(URGENT) == handler
        for number in numbers
    ]
    return on_all(store.run_many(calls)) == len(calls)


def _state(number: int, group: str) -> Call:
    return Call(script("event_state_1"), keys.event_group_keys(number, group), (group,))


def _published_at(text: bytes) -> float | None:
    try:
        return float(json.loads(text)["at"])
    except (ValueError, LookupError, TypeError):
        return None  # of a form that is not known here


def _sum(handler: str, partitions: int, states: Sequence[tuple[int, Any]]) -> Standing:
    behind: dict[Priority, int] = {}
    ages: list[float] = []
    told: list[float] = []
    owners: set[bytes] = set()
    served: dict[int, bool] = {}
    for number, (now, owner, told_at, _, _, _, _, logs) in states:
        served[number] = served.get(number, True) and bool(owner)
        owners |= {owner} if owner else set()
        told += [(now - told_at) / 1000] if told_at else []
        for priority, count, first in zip(Priority, logs[::2], logs[1::2], strict=True):
            if int(count) >= 0:
                behind[priority] = behind.get(priority, 0) + int(count)
            if first and (at := _published_at(first)) is not None:
                ages.append(max(0.0, now / 1000 - at))
    retrying, dead, dropped, failed = (sum(state[at] for _, state in states) for at in range(3, 7))
    return Standing(
        handler,
        (sum(served.values()), partitions),
        sorted(owner.decode().rpartition(":")[0] for owner in owners),
        dict(sorted(behind.items())),
        max(ages, default=None),
        retrying,
        dead,
        dropped,
        failed,
        min(told, default=None),
    )
