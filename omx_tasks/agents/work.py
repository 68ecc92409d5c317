"""One operation under way, as the runner, Celery's requests and the agents' own looks know it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from omx_tasks.agents.cutoff import CallMade
from omx_tasks.agents.onward import Begun, Onward
from omx_tasks.agents.turns import Place
from omx_tasks.agents.waiting import NO_WAIT
from omx_tasks.errors import OmxError
from omx_tasks.graph.stored import StoredPlan, StoredStep, item_of
from omx_tasks.results.joins import Following, Outcome

if TYPE_CHECKING:
    from omx_tasks.agents.runner import Runner

#: Told how an operation ended (None: there was nothing to do), when all that follows from it is stored; or the error
#: for which it could not be stored, and the message must be delivered again.
Done = Callable[[Outcome | None, OmxError | None], None]


def about(run_id: str, operation: str, step: StoredStep | None) -> dict[str, Any]:
    """Return the fields by which a record of the log says that it belongs to an operation."""
    fields = {"run": run_id, "operation": operation}
    return fields if step is None else {**fields, "server": step.server, step.kind: step.target}


class Stay:
    """What may go on where an operation ends, and whether it has a slot."""

    __slots__ = ("following", "placed")

    def __init__(self, following: Following) -> None:
        self.following = following
        self.placed = True


class Work:
    """One operation, from the moment it is taken until ``done`` is told."""

    __slots__ = (
        "__weakref__", "_done", "_ended", "_runner", "after", "asked", "begun", "call", "cancelled", "limit", "onward",
        "operation", "passing", "placed", "plan", "redelivered", "revoked", "run_id", "task", "token", "turn",
        "waiting",
    )  # fmt: skip

    def __init__(self, runner: Runner, run_id: str, operation: str, done: Done) -> None:
        self.run_id = run_id
        self.operation = operation
        self.token = runner.new_token()
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
        self._runner = runner
        self._done = done
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
        self._runner.revoke(self)

    def give_up(self) -> None:
        """Stop working on it: its server is told, and the message goes back to its queue."""
        self._runner.give_up(self)

    def end(self, outcome: Outcome | None, error: OmxError | None) -> None:
        """Tell ``done``, the first time."""
        if not self._ended:
            self._ended = True
            self._done(outcome, error)
