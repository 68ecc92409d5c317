"""The runs that there are, newest first."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from omx_tasks.results.joins import STILLBORN
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Runs that `forget` looks at together.
PAGE = 100


class RunLine(NamedTuple):
    """A run on one line. ``created`` is Unix seconds; ``open`` counts operations that are not over.

    ``seconds`` leaves out the time between an end and a resumption.
    """

    run: str
    name: str
    state: str
    created: float
    seconds: float
    total: int
    open: int


def recent(store: Store, most: int) -> list[RunLine]:
    """Return the newest runs that can still be looked at; forgotten ones leave the list."""
    names = store.command(keys.runs(), "ZREVRANGE", keys.runs(), 0, most - 1)
    ids = [name.decode() for name in names]
    fields = ("name", "state", "created", "finished", "total", "open", "idle")
    answers = store.commands([(keys.run(id_), ("HMGET", keys.run(id_), *fields)) for id_ in ids])
    lines, gone = [], []
    for run_id, values in zip(ids, answers, strict=True):
        if values[0] is None:
            gone.append(run_id)
        else:
            lines.append(_line(run_id, values))
    if gone:
        store.command(keys.runs(), "ZREM", keys.runs(), *gone)
    return lines


def forget(store: Store) -> int:
    """Take the oldest runs out of the list that cannot be looked at any more; return how many those were.

    A list that nobody reads would grow for ever. One that was announced a moment ago may not be stored yet.
    """
    forgotten, listed = 0, keys.runs()
    while True:
        limits = ("-inf", time.time() - STILLBORN, "LIMIT", 0, PAGE)
        names = [name.decode() for name in store.command(listed, "ZRANGEBYSCORE", listed, *limits)]
        there = store.commands([(keys.run(name), ("EXISTS", keys.run(name))) for name in names])
        gone = [name for name, exists in zip(names, there, strict=True) if not exists]
        if gone:
            forgotten += store.command(listed, "ZREM", listed, *gone)
        if len(gone) < PAGE:
            return forgotten


def _line(run_id: str, values: list[Any]) -> RunLine:
    name, state, created, finished, total, open_ = (value.decode() for value in values[:6])
    ended = float(finished) if finished else time.time()
    seconds = ended - float(created) - float(values[6] or 0)
    return RunLine(run_id, name, state, float(created), seconds, int(total), int(open_))
