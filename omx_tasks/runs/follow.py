"""What happens in a run, as it happens: its stream, read from the start, however late one begins.

A run that was resumed has several ends in its stream; each tells of which generation it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from typing import NamedTuple

from omx_tasks.errors import NotFoundError
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds that one request waits for news.
BLOCK = 1.0
#: How late news may be for others to come along, as a share of the time that passed, and in seconds at most.
LATE, LATEST = 0.01, 0.02


#: Its id, then names and values in turn.
Entry = tuple[bytes, Sequence[bytes]]


class Progress(NamedTuple):
    """How far an operation is, in its server's words; without a total it is only known to go on."""

    progress: float
    total: float | None
    message: str | None


@dataclass(frozen=True)
class Change:
    """A new state of an operation, or of the run itself (``operation`` is empty). ``at`` is Unix seconds.

    ``detail`` is the agent's name when an operation starts, and a JSON record when it ends. With ``progress`` as the
    state nothing ended: the operation runs, and `progress` says how far it is. With ``waiting`` it is to be done anew.
    Of the run itself ``detail`` is its generation: how often it was resumed, empty before that.
    """

    at: float
    operation: str
    state: str
    detail: str

    @property
    def progress(self) -> Progress | None:
        """How far the operation is, where that is what is told."""
        return Progress(**json.loads(self.detail)) if self.state == "progress" else None

    @property
    def generation(self) -> int:
        """How often the run had been resumed, where the change is the run's own."""
        return int(self.detail or 0)


def follow(
    store: Store, run_id: str, *, timeout: float | None = None, generation: int = 0
) -> Iterator[Change]:
    """Yield every change of a run until it is over, or until ``timeout`` seconds have passed.

    With a ``generation`` those since the run was resumed so often. Raises `NotFoundError` where there is no such run.
    """
    changes = _follow(store, run_id, timeout)
    return (
        dropwhile(lambda change: not _begins(change, generation), changes)
        if generation
        else changes
    )


def _begins(change: Change, generation: int) -> bool:
    return not change.operation and change.state == "running" and change.generation >= generation


def _follow(store: Store, run_id: str, timeout: float | None) -> Iterator[Change]:
    stream, last = keys.stream(run_id), "0"
    began = time.monotonic()
    deadline = None if timeout is None else began + timeout
    if not store.command(stream, "EXISTS", stream):
        raise NotFoundError(
            f"there is no run {run_id!r} (any more): `omx runs` lists those there are"
        )
    while deadline is None or time.monotonic() < deadline:
        left = BLOCK if deadline is None else min(BLOCK, max(0.001, deadline - time.monotonic()))
        wait = ("BLOCK", max(1, round(left * 1000)))
        answer = store.command(stream, "XREAD", "COUNT", 1000, *wait, "STREAMS", stream, last)
        entries = list(entries_of(answer))
        if not entries and not store.command(stream, "EXISTS", stream):
            raise NotFoundError(f"run {run_id!r} is gone: it is not kept any longer")
        for change in changes_of(entries):
            yield change
            if (
                not change.operation
                and change.state != "running"
                and _is_last(store, run_id, change)
            ):
                return
        if entries:
            last = entries[-1][0].decode()
            time.sleep(min(LATEST, (time.monotonic() - began) * LATE))


def _is_last(store: Store, run_id: str, end: Change) -> bool:
    """Whether a run was not resumed after this end of it."""
    now = store.command(keys.run(run_id), "HGET", keys.run(run_id), "generation")
    return end.generation >= int(now or 0)


def changes_of(entries: Iterable[Entry]) -> Iterator[Change]:
    """Read entries of a run's stream: each holds operation, state and record, once for each change that it tells of."""
    for entry, fields in entries:
        at = int(entry.partition(b"-")[0]) / 1000
        values = (value.decode() for value in fields[1::2])
        for operation, state, detail in zip(values, values, values, strict=True):
            yield Change(at, operation, state, detail)


def entries_of(answer: object) -> Iterator[Entry]:
    """Return what an ``XREAD`` of one stream found."""
    if isinstance(answer, dict):
        for entries in answer.values():
            yield from entries
