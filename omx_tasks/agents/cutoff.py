"""What becomes of an operation that is ended before its end: its run was cancelled, or its task was revoked.

::

    its call is answered already ──► that answer
    no call was made yet ──────────► cancelled
    a call is under way ───────────► cancelled where making it twice does no harm, else unknown
    a foreach ─────────────────────► nothing: those of its items that are stored stay, should the run be resumed
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

from omx_tasks.agents.work import Work
from omx_tasks.errors import OperationError
from omx_tasks.graph.stored import StoredStep, item_of
from omx_tasks.results.joins import Outcome

REVOKED = OperationError("lost", "the task was revoked")
CANCELLED = OperationError("cancelled", "the run was cancelled")
PERHAPS = "while the call was under way; the tool is neither read-only nor idempotent: it may have been done"


@dataclass
class ByRun:
    """What an agent has under way, by run."""

    _works: dict[str, set[Work]] = field(default_factory=lambda: defaultdict(set))

    def add(self, work: Work) -> None:
        """Count it in."""
        self._works[work.run_id].add(work)

    def remove(self, work: Work) -> None:
        """It has ended."""
        works = self._works[work.run_id]
        works.discard(work)
        if not works:
            del self._works[work.run_id]

    def runs(self) -> list[str]:
        """Return the runs that have something under way."""
        return list(self._works)

    def of(self, run_id: str) -> list[Work]:
        """Return what is under way of a run."""
        return list(self._works.get(run_id, ()))


def in_doubt(error: OperationError) -> OperationError:
    """Return the error of a call that may have been done."""
    return OperationError(error.kind, f"{error.message} {PERHAPS}")


def cut_off(work: Work, step: StoredStep, agent: str, *, harmless: bool) -> Outcome | None:
    """Return the outcome of an operation that was revoked or cancelled; None where it has none."""
    error = REVOKED if work.revoked else CANCELLED
    call = work.call
    if call.outcome is not None:
        return call.outcome
    if call.began is None:
        expands = step.foreach is not None and item_of(work.operation)[1] is None
        return None if expands and not work.revoked else Outcome("cancelled", error=error.as_json())
    state = "cancelled" if harmless else "unknown"
    if not harmless:
        error = in_doubt(error)
    return Outcome(
        state, call.attempts, call.agent or agent, call.began, time.time(), error.as_json()
    )
