"""Tells the runs' state that operations begin and end: those of one run that meet in one round of the loop together.

What was claimed together starts and finishes together. With a script for each operation, these two would be most of
what the cluster does for it. While such a call of a run is under way, what comes next of it gathers for the answer, so
a busy agent makes few large calls and an idle one makes each at once. What waits for a replica is not in the way.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from omx_tasks.agents.wire import Done, Wire
from omx_tasks.errors import OmxError
from omx_tasks.results import joins
from omx_tasks.results.joins import Beginning, Ending
from omx_tasks.store.scripts import Call

logger = logging.getLogger(__name__)

#: Operations in one script at most: a server does nothing else meanwhile.
MOST = 50

_Step = TypeVar("_Step")


class Gathered(Generic[_Step]):
    """Steps by run, or by server, until they leave; each is told its own part of the answer, or the error.

    One that wants to hear of it as soon as it is ``stored`` is told twice, as `Wire.send` says.
    """

    def __init__(self, wire: Wire, call: Callable[[str, Sequence[_Step]], Call]) -> None:
        self._wire = wire
        self._call = call
        self._waiting: dict[str, list[tuple[_Step, Done, Done | None]]] = defaultdict(list)
        self._under_way: dict[str, set[object]] = defaultdict(set)
        self._most = min(MOST, wire.batch or MOST)

    def add(self, run_id: str, step: _Step, done: Done, stored: Done | None = None) -> None:
        """Take a step along with the next call."""
        waiting = self._waiting[run_id]
        if not waiting and run_id not in self._under_way:
            self._wire.soon(partial(self._leave, run_id))
        waiting.append((step, done, stored))

    def _leave(self, run_id: str) -> None:
        steps = self._waiting.pop(run_id)
        for begin in range(0, len(steps), self._most):
            part = steps[begin : begin + self._most]
            errand, call = object(), self._call(run_id, [step for step, _, _ in part])
            self._under_way[run_id].add(errand)
            early, late = [stored for *_, stored in part], [done for _, done, _ in part]
            answered = partial(self._answered, run_id, errand)
            self._wire.send(call, partial(answered, late), partial(answered, early))

    def _answered(
        self, run_id: str, errand: object, readers: Sequence[Done | None], answer: Any
    ) -> None:
        """Take an answer, stored or confirmed; what gathered leaves with what follows from the first."""
        under_way = self._under_way.get(run_id)
        if under_way is not None:
            under_way.discard(errand)
            if not under_way:
                del self._under_way[run_id]
                if run_id in self._waiting:
                    self._wire.soon(partial(self._leave, run_id))
        _tell(readers, answer)


def _tell(readers: Sequence[Done | None], answer: Any) -> None:
    parts = [answer] * len(readers) if isinstance(answer, OmxError) else answer
    for read, part in zip(readers, parts, strict=True):
        if read is None:
            continue
        try:
            read(part)
        except Exception:  # one reader's fault must not cost the others
            logger.exception("an answer could not be told")


class Steps:
    """Beginnings and endings of an agent's operations. Lives on the wire's loop."""

    def __init__(self, agent: str, wire: Wire) -> None:
        self._beginnings, self._confirmed = (
            Gathered[Beginning](wire, partial(_start, agent, confirmed=confirmed))
            for confirmed in (False, True)
        )
        self._endings: Gathered[Ending] = Gathered(
            wire, lambda run_id, steps: joins.finish(run_id, steps, agent)
        )

    def start(
        self, run_id: str, beginning: Beginning, done: Done, *, confirmed: bool = False
    ) -> None:
        """Say that an operation begins; ``done`` gets what `joins.started` reads, or an `OmxError`.

        Where it is ``confirmed``, whoever begins the operation after this agent knows that it was begun here.
        """
        steps = self._confirmed if confirmed else self._beginnings
        steps.add(run_id, beginning, done)

    def finish(self, run_id: str, ending: Ending, done: Done, stored: Done) -> None:
        """Write an outcome; ``stored``, then ``done`` get what `joins.finished` reads; only ``done`` an `OmxError`."""
        self._endings.add(run_id, ending, done, stored)


def _start(agent: str, run_id: str, steps: Sequence[Beginning], *, confirmed: bool) -> Call:
    return joins.start(run_id, agent, steps, confirmed=confirmed)
