"""Does one operation, from its plan to its outcome: once for each time that its message is delivered.

::

    a slot ──► its turn (see `turns`) ──► start ──go──► resolve ──► call (see `caller`) ──► Outcome
                                            ├─over──► nothing to do  (foreach: expand instead of call)
                                            └─early─► the message goes back  (its release was lost with a node)

Before a call that may not be made twice, it is noted, which confirms all before it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from omx_tasks.agents.caller import Caller
from omx_tasks.agents.cutoff import cut_off, in_doubt
from omx_tasks.agents.expanding import expand
from omx_tasks.agents.own_sessions import OwnSessions
from omx_tasks.agents.progress import Reporter
from omx_tasks.agents.run_state import RunOverError, RunState
from omx_tasks.agents.slots import Slots
from omx_tasks.agents.telling import Telling
from omx_tasks.agents.turns import Place, Turns
from omx_tasks.agents.work import CallMade, Work
from omx_tasks.errors import OmxError, OperationError
from omx_tasks.graph import references
from omx_tasks.graph.stored import StoredPlan, StoredStep, item_of
from omx_tasks.results import joins, outputs
from omx_tasks.results.joins import Outcome, Start

logger = logging.getLogger(__name__)


class Attempts:
    """Does operations, each in a slot. Lives on one loop."""

    def __init__(
        self,
        *,
        agent: str,
        caller: Caller,
        state: RunState,
        slots: Slots,
        own_sessions: OwnSessions,
        turns: Turns | None,
        tell: Telling,
        compress_above: int,
    ) -> None:
        self._agent = agent
        self._caller = caller
        self._state = state
        self._slots = slots
        self._own_sessions = own_sessions
        self._turns = turns
        self._tell = tell
        self._compress_above = compress_above
        self.busy = 0

    def __repr__(self) -> str:
        return f"<Attempts of {self._agent}: {self.busy}>"

    async def outcome(self, work: Work) -> Outcome | None:
        """Do an operation; None where nothing is to be done, or to be said of it."""
        work.plan = work.plan or await self._state.plan(work.run_id)
        if work.plan is None or work.step is None:
            logger.warning("%r is dropped: there is no such run or operation (any more)", work)
            return None
        if work.begun is None:  # what takes turns does not go on
            await self._know(work, work.step)
            work.turn = self._place(work.run_id, work.plan, work.operation)
        return await (self._revoked(work) if work.revoked else self._in_a_slot(work))

    def needs_nobody(self, run_id: str, plan: StoredPlan, operation: str) -> bool:
        """Whether an operation waits for no turn, and can be done by any agent."""
        own = self._own_sessions.needed_by(plan, operation)
        return not own and self._place(run_id, plan, operation) is None

    def cut_off(self, work: Work) -> Outcome | None:
        """Return the outcome of an operation that was revoked or whose run was cancelled, if it has one."""
        step = work.step
        if step is None or not (work.revoked or work.cancelled):
            return None
        return cut_off(work, step, self._agent, harmless=self._caller.is_harmless(step))

    def leave(self, work: Work) -> None:
        """Give the slot back, if it has one."""
        if work.placed:
            work.placed = False
            self._slots.give_back()

    # --- before it is begun -------------------------------------------------------------------------

    async def _know(self, work: Work, step: StoredStep) -> None:
        """See to it that it is known whether the operation takes a turn."""
        if self._turns is not None and not (work.revoked or await self._turns.knows(step)):
            work.asked = time.time()
            await self._caller.open(step.server)

    def _place(self, run_id: str, plan: StoredPlan, operation: str) -> Place | None:
        """Return the place of an operation among those that take turns; None for a read."""
        return None if self._turns is None else self._turns.place(run_id, plan, operation)

    async def _revoked(self, work: Work) -> Outcome | None:
        """Return the outcome of an operation that was revoked before it was begun here.

        One that is delivered again may be over, and its message stand for another one; or its call was made before.
        """
        _, step = work.known()
        if work.redelivered:
            start = await self._state.started(work, work.token, confirmed=True)
            if start.carried is not None:
                await self._state.set_free(work, start.carried)
            if start.verdict != "go":
                return None
            if not self._caller.is_harmless(step):
                earlier = await self._state.earlier_note(work, "")
                work.call = CallMade.noted(earlier) if earlier else work.call
        return self.cut_off(work)

    async def _in_a_slot(self, work: Work) -> Outcome | None:
        # The slot comes before `start`: what only waits for one can go back as if untouched.
        if not work.placed:
            await self._slots.wait()
            work.placed = True
        self.busy += 1
        try:
            return await self._attempt(work)
        except OperationError as error:
            return Outcome("failed", 1, self._agent, error=error.as_json())
        except OmxError:
            raise
        except Exception as error:  # a fault of ours ends this operation, not the run
            logger.exception("%r met an internal error", work)
            reason = f"internal error of the agent: {type(error).__name__}: {error}"
            return self._failed(work, OperationError("internal", reason))
        finally:
            self.busy -= 1
            self.leave(work)

    def _failed(self, work: Work, error: OperationError) -> Outcome:
        """Return the outcome of an operation that met a fault of ours: with a call that was noted it is unknown."""
        _, step = work.known()
        began = work.call.began
        if began is None or self._caller.is_harmless(step):
            return Outcome("failed", 1, self._agent, began, error=error.as_json())
        attempts, doubt = work.call.attempts, in_doubt(error).as_json()
        return Outcome("unknown", attempts, self._agent, began, time.time(), doubt)

    # --- from its beginning to its outcome ----------------------------------------------------------

    async def _attempt(self, work: Work) -> Outcome | None:
        plan, step = work.known()
        self._caller.check(step.server)
        run_id, operation = work.run_id, work.operation
        if self._own_sessions.needed_by(plan, operation) and (
            await self._own_sessions.goes_elsewhere(work)
        ):
            return None
        if self._turns is not None and work.turn is not None:
            await self._turns.take(work.turn, partial(self._arguments, work), work.redelivered)
        begun = work.begun
        start = await self._state.started(work, work.token) if begun is None else begun.start
        if start.carried is not None:
            await self._state.set_free(work, start.carried)
        if start.verdict != "go":
            return None
        work.call.attempts = start.before + start.attempt
        work.waiting = work.waiting.over()
        self._tell.operation_started(run_id, operation, work.call.attempts)
        scope = _scope(plan, operation, start)
        if step.foreach is not None and item_of(operation)[1] is None:
            await expand(work, step.foreach, scope, self._state, self._tell)
            return None
        return await self._call(work, step, start, scope)

    async def _call(
        self, work: Work, step: StoredStep, start: Start, scope: Mapping[str, Any]
    ) -> Outcome | None:
        run_id, operation, ask = work.run_id, work.operation, self._state.ask
        target = str(references.resolve(step.target, scope))
        arguments = references.resolve(step.arguments, scope)
        reporter = Reporter(lambda told: ask(joins.progress(run_id, operation, told)))
        try:
            limited = _limited(step, work.limit)
            harmless = self._caller.is_harmless(step)
            work.call.began = time.time() if harmless else None  # else when it is noted
            async with self._own_sessions.alone(work, step):
                outcome = await self._caller.call(
                    limited,
                    start.attempt,
                    target,
                    arguments,
                    reporter,
                    run_id,
                    partial(self._state.note, work),
                    work.asked,
                    self._own_sessions.of(work, step),
                )
            work.call.outcome = replace(outcome, attempts=outcome.attempts + start.before)
            await reporter.finish()
            output = await outputs.packed(str(outcome.output), self._compress_above)
            return replace(work.call.outcome, output=output)
        except RunOverError:
            work.cancelled = True
            return self.cut_off(work)
        finally:
            reporter.close()

    async def _arguments(self, work: Work) -> dict[str, Any] | None:
        """Resolve the arguments of an operation that is not begun; None where it is over."""
        plan, step = work.known()
        scope: Mapping[str, Any] = {"inputs": plan.inputs}
        if (
            work.redelivered
            or step.needed(work.operation)
            or item_of(work.operation)[1] is not None
        ):
            start = await self._state.started(work, "")
            if start.verdict != "go":
                return None
            scope = _scope(plan, work.operation, start)
        return dict(references.resolve(step.arguments, scope))


def _limited(step: StoredStep, limit: float | None) -> StoredStep:
    """Return a step that keeps to a task's time limit, which is one for all its tries together."""
    if limit is None:
        return step
    timeout = min(step.timeout, limit)
    tries = min(step.retries + 1, max(1, int(limit / timeout)))
    return replace(step, timeout=timeout, retries=tries - 1)


def _scope(plan: StoredPlan, operation: str, start: Start) -> dict[str, Any]:
    scope = {"inputs": plan.inputs, **start.values}
    index = item_of(operation)[1]
    return scope if index is None else {**scope, "item": start.item, "index": index}
