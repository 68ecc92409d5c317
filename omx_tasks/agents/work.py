"""One operation under way, as the runner, Celery's requests and the agents' own looks know it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from omx_tasks.agents.onward import Begun, Onward
from omx_tasks.agents.turns import Place
from omx_tasks.agents.waiting import NO_WAIT
from omx_tasks.errors import OmxError
from omx_tasks.graph.stored import StoredPlan, StoredStep, item_of
from omx_tasks.results.joins import Following, Outcome

#: Told how an operation ended (None: there was nothing to do), when all that follows from it is stored; or the error
#: for which it could not be stored, and the message must be delivered again.
Done = Callable[[Outcome | None, OmxError | None], None]


def about(run_id: str, operation: str, step: StoredStep | None) -> dict[str, Any]:
    """Return the fields by which a record of the log says that it belongs to an operation."""
    fields = {"run": run_id, "operation": operation}
    return fields if step is None else {**fields, "server": step.server, step.kind: step.target}


@dataclass
class CallMade:
    """How far the call of an operation is: its attempts with this one, when it began, its outcome if it has one.

    ``agent`` made it where that was another one.
    """

    attempts: int = 0
    began: float | None = None
    outcome: Outcome | None = None
    agent: str | None = None

    @classmethod
    def noted(cls, note: str) -> CallMade:
        """Return what another delivery noted of its call before it made that."""
        about = json.loads(note)
        return cls(about["attempt"], about["at"], agent=about["agent"])


class Stay:
    """What may go on where an operation ends, and whether it has a slot."""

    __slots__ = ("following", "placed")

    def __init__(self, following: Following) -> None:
        self.following = following
        self.placed = True


class Work:
    """One operation, from the moment it is taken until ``done`` is told.

    ``token`` names the attempt; ``cut_off`` ends what is done for it, from any thread.
    """

    __slots__ = (
        "__weakref__", "_cut_off", "_done", "_ended", "after", "asked", "begun", "call", "cancelled", "limit", "onward",
        "operation", "passing", "placed", "plan", "redelivered", "revoked", "run_id", "task", "token", "turn",
        "waiting",
    )  # fmt: skip

    def __init__(
        self,
        run_id: str,
        operation: str,
        token: str,
        *,
        done: Done,
        cut_off: Callable[[Work], None],
    ) -> None:
        self.run_id = run_id
        self.operation = operation
        self.token = token
        self.plan: StoredPlan | None = None
        self.task: asyncio.Task[None] | None = None
        self.revoked = False
        self.redelivered = False
        self.cancelled = False
        self.call = CallMade()
        self.limit: float | None = None
        self.onward: Onward | None = None
        #: How it was begun, if that happened where the one before it ended.
        self.begun: Begun | None = None
        #: Told when it is over, for what was begun where it ended.
        self.after: asyncio.Future[OmxError | None] | None = None
        #: Since when it waits for its server to be open (Unix seconds), if it waited before it was begun.
        self.asked: float | None = None
        #: Whether it has a slot.
        self.placed = False
        self.turn: Place | None = None
        self.waiting = NO_WAIT
        self.passing: asyncio.Future[OmxError | None] | None = None
        self._done = done
        self._cut_off = cut_off
        self._ended = False

    def __repr__(self) -> str:
        return f"<Work {self.operation} of run {self.run_id}>"

    @property
    def step(self) -> StoredStep | None:
        """The step of the plan, as soon as that is known."""
        return None if self.plan is None else self.plan.steps.get(item_of(self.operation)[0])

    def about(self) -> dict[str, Any]:
        """Return what the log says of it while it is under way."""
        return {} if self._ended else about(self.run_id, self.operation, self.step)

    def known(self) -> tuple[StoredPlan, StoredStep]:
        """Return plan and step of one that is about to be done."""
        step = self.step
        assert self.plan is not None
        assert step is not None
        return self.plan, step

    def terminate(self, _signal: int | None = None) -> None:
        """Cancel the operation: its server is told."""
        self.revoked = True
        self._cut_off(self)

    def give_up(self) -> None:
        """Stop working on it: its server is told, and the message goes back to its queue."""
        self._cut_off(self)

    def end(self, outcome: Outcome | None, error: OmxError | None) -> None:
        """Tell ``done``, the first time."""
        if not self._ended:
            self._ended = True
            self._done(outcome, error)
