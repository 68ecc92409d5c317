"""Gathers how long an agent's calls and openings of sessions took, and has it learned once a second.

So no operation costs a request of its own.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from itertools import starmap
from typing import Any

from omx_tasks.errors import OmxError
from omx_tasks.graph.durations import call_name
from omx_tasks.graph.stored import StoredPlan, StoredStep, item_of
from omx_tasks.results import durations
from omx_tasks.results.durations import Measured
from omx_tasks.results.joins import Outcome
from omx_tasks.store.courier import Courier, Done
from omx_tasks.store.scripts import Call

logger = logging.getLogger(__name__)

#: Seconds between two reports, and the samples that are kept while the cluster does not answer.
EVERY, MOST = 1.0, 100_000


class Stopwatch:
    """`add` works from any thread; the courier's thread takes what has gathered."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._samples: deque[tuple[str, StoredStep, str, float]] = deque(maxlen=MOST)
        self._openings: deque[tuple[str, float]] = deque(maxlen=MOST)

    def __repr__(self) -> str:
        return f"<Stopwatch samples={len(self._samples)}>"

    def start(self) -> None:
        """Report once a second from now on, for as long as the courier goes."""
        self._courier.every(EVERY, self._report)

    def stop(self) -> None:
        """Report what is left."""
        self._courier.post(self._report)

    def add(self, plan: StoredPlan, step: StoredStep, operation: str, outcome: Outcome) -> None:
        """Note how long a call took that succeeded; how soon one fails says nothing about the next."""
        if outcome.state == "succeeded" and outcome.started is not None and outcome.finished:
            seconds = max(0.0, outcome.finished - outcome.started)
            self._samples.append((plan.name, step, operation, seconds))

    def opened(self, server: str, seconds: float) -> None:
        """Note how long it took to open a session."""
        self._openings.append((server, seconds))

    def _report(self) -> Iterable[tuple[Call, Done | None]]:
        taken = [self._samples.popleft() for _ in range(len(self._samples))]
        opened = [self._openings.popleft() for _ in range(len(self._openings))]
        calls = [*durations.learn(starmap(_measured, taken)), *durations.learn_openings(opened)]
        return [(call, _confirmed) for call in calls]


def _measured(graph: str, step: StoredStep, operation: str, seconds: float) -> Measured:
    call = call_name(step.server, step.kind, step.target)
    return Measured(graph, item_of(operation)[0], call, seconds)


def _confirmed(answer: Any) -> None:
    if isinstance(answer, OmxError):
        logger.warning("durations were not learned: %s", answer)
