"""What follows when an operation ended: it is written and told, its turn is passed, a successor may go on in its place.

::

    settle:  finish (outcome stored, joins counted) ──► publish what became ready ──► end (see `settling`)
                └──► the successor that may stay goes on here (see `onward`)
    end:     the turn is passed ──► the one before it is over ──► done is told
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from omx_tasks.agents.onward import Begun
from omx_tasks.agents.run_state import RunState
from omx_tasks.agents.settling import Settling
from omx_tasks.agents.slots import Slots
from omx_tasks.agents.telling import Telling
from omx_tasks.agents.turns import Turns
from omx_tasks.agents.work import Stay, Work
from omx_tasks.errors import OmxError
from omx_tasks.graph.stored import StoredPlan, StoredStep, of_generation
from omx_tasks.results.joins import Ending, Following, Outcome, Start

#: Told of each outcome as it is written: plan, step, operation, outcome.
Observe = Callable[[StoredPlan, StoredStep, str, Outcome], None]
#: Told of each operation that is over, once.
Over = Callable[[Work, Outcome | None], None]
#: Whether an operation of a run waits for no turn, and can be done by any agent.
NeedsNobody = Callable[[str, StoredPlan, str], bool]


class Endings:
    """The ends of operations. Lives on one loop, but for what could never be handed to that."""

    def __init__(
        self,
        *,
        state: RunState,
        slots: Slots,
        turns: Turns | None,
        needs_nobody: NeedsNobody,
        new_token: Callable[[], str],
        observe: Observe,
        tell: Telling,
        over: Over,
    ) -> None:
        self._state = state
        self._slots = slots
        self._turns = turns
        self._needs_nobody = needs_nobody
        self._new_token = new_token
        self._observe = observe
        self._tell = tell
        self._over = over
        #: Whether nothing more is to go on here.
        self.draining = False

    def __repr__(self) -> str:
        return f"<Endings draining={self.draining}>"

    def settle(self, work: Work, outcome: Outcome) -> None:
        """Finish, publish what became ready or go on with it, then say done."""
        plan, step = work.known()
        self._observe(plan, step, work.operation, outcome)
        self._pass_turn(work)
        settling = Settling(
            partial(self._state.publish, work.run_id, plan),
            lambda error: self.end(work, outcome, error),
            partial(self._told, work, outcome),
        )
        following = self._following(work, plan, step, outcome)
        if following is not None:
            settling.may_go_on(following, partial(self._go_on, work, plan, Stay(following)))
        ending = Ending(work.operation, outcome, step.goes_on, following)
        self._state.finish(work, ending, settling)

    def end(self, work: Work, outcome: Outcome | None, error: OmxError | None) -> None:
        """Say done: after the one before it, with whose error its message goes back, too."""
        if error is None:
            self._pass_turn(work)
        passing, work.passing = work.passing, None
        if passing is not None and error is None:
            passing.add_done_callback(lambda over: self.end(work, outcome, over.result()))
            return
        before = None if work.begun is None else work.begun.before
        if before is not None and not before.done():
            before.add_done_callback(lambda _: self.end(work, outcome, error))
            return
        error = error or (before.result() if before is not None else None)
        try:
            work.end(outcome, error)
        finally:
            if work.after is not None:
                work.after.set_result(error)
            self._over(work, outcome)

    def _pass_turn(self, work: Work) -> None:
        """Pass the turn on, if the operation takes one; `end` waits for that."""
        if self._turns is not None and work.turn is not None:
            work.passing, work.turn = self._turns.pass_on(work.turn), None

    def _told(self, work: Work, outcome: Outcome, run_state: str | None) -> None:
        """Tell how an operation ended, and its run if that was its end."""
        plan, step = work.known()
        self._tell.operation_over(work.run_id, plan, step, work.operation, outcome, work.waiting)
        if run_state is not None:
            self._tell.run_over(work.run_id, plan, run_state)

    # --- going on -----------------------------------------------------------------------------------

    def _following(
        self, work: Work, plan: StoredPlan, step: StoredStep, outcome: Outcome
    ) -> Following | None:
        """Choose the successor that may go on here, and take a slot for it."""
        if step.onward is None or work.onward is None or self.draining:
            return None
        if outcome.state != "succeeded" and not step.goes_on:
            return None
        operation = of_generation(step.onward, work.operation)
        if not self._needs_nobody(work.run_id, plan, operation):
            return None  # it is not begun before it has its turn, or may be another agent's
        if not (work.onward.may_stay(work.run_id, plan, operation) and self._slots.take()):
            return None
        carrier = work.operation if work.begun is None else work.begun.following.carrier
        references = plan.step(operation).needed(operation)
        return Following(operation, self._new_token(), carrier, references)

    def _go_on(self, work: Work, plan: StoredPlan, stay: Stay, start: Start | None) -> None:
        """Run what was begun where an operation ended; what was taken for it is free if that was nothing."""
        if work.after is not None:  # it runs already
            return
        if start is None or work.onward is None:
            if stay.placed:
                self._slots.give_back()
            stay.placed = False
            return
        work.after = asyncio.get_running_loop().create_future()
        work.onward.go_on(Begun(work.run_id, plan, stay.following, start, work.after, stay.placed))
