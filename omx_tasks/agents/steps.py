"""Tells the runs' state that operations begin and end: those of one run that meet before a trip, in one script.

What was claimed together starts and finishes together. With a script for each operation, these two would be most of
what the cluster does for it.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from omx_tasks.errors import OmxError
from omx_tasks.results import joins
from omx_tasks.results.joins import Beginning, Ending
from omx_tasks.store.courier import Courier, Done
from omx_tasks.store.scripts import Call

logger = logging.getLogger(__name__)

#: Operations in one script at most: a server does nothing else meanwhile.
MOST = 50

_Step = TypeVar("_Step")


class _Gathered(Generic[_Step]):
    """Steps by run, until a trip takes them; each is told its own part of the answer, or the error."""

    def __init__(self, courier: Courier, call: Callable[[str, Sequence[_Step]], Call]) -> None:
        self._courier = courier
        self._call = call
        self._lock = threading.Lock()
        self._waiting: dict[str, list[tuple[_Step, Done]]] = defaultdict(list)

    def add(self, run_id: str, step: _Step, done: Done) -> None:
        """Take a step along on the next trip."""
        with self._lock:
            first = not self._waiting
            self._waiting[run_id].append((step, done))
        if first:
            self._courier.post(self._parcel)

    def _parcel(self) -> Iterator[tuple[Call, Done | None]]:
        with self._lock:
            waiting, self._waiting = self._waiting, defaultdict(list)
        for run_id, steps in waiting.items():
            for begin in range(0, len(steps), MOST):
                part = steps[begin : begin + MOST]
                yield (
                    self._call(run_id, [step for step, _ in part]),
                    _distributed([done for _, done in part]),
                )


class Steps:
    """Beginnings and endings of an agent's operations. Thread-safe."""

    def __init__(self, agent: str, courier: Courier) -> None:
        self._beginnings: _Gathered[Beginning] = _Gathered(
            courier, lambda run_id, steps: joins.start(run_id, agent, steps)
        )
        self._endings: _Gathered[Ending] = _Gathered(courier, joins.finish)

    def start(self, run_id: str, beginning: Beginning, done: Done) -> None:
        """Say that an operation begins; ``done`` gets what `joins.started` reads, or an `OmxError`."""
        self._beginnings.add(run_id, beginning, done)

    def finish(self, run_id: str, ending: Ending, done: Done) -> None:
        """Write an outcome; ``done`` gets the ids that it made ready, or an `OmxError`."""
        self._endings.add(run_id, ending, done)


def _distributed(readers: Sequence[Done]) -> Done:
    def done(answer: Any) -> None:
        parts = [answer] * len(readers) if isinstance(answer, OmxError) else answer
        for read, part in zip(readers, parts, strict=True):
            try:
                read(part)
            except Exception:  # one reader's fault must not cost the others
                logger.exception("an answer could not be told")

    return done
