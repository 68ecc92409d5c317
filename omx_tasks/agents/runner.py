"""Runs operations: fetch what one refers to, call the server, write the outcome, release what follows.

::

    begin:   a slot ──► its turn (see `turns`) ──► start ──go──► resolve ──► call (see `caller`) ──► Outcome
                                                   ├─over──► nothing to do  (foreach: expand instead of call)
                                                   └─early─► the message goes back  (its release was lost with a node)
    settle:  finish (outcome stored, joins counted) ──► publish what became ready ──► done (see `settling`)

All of this happens on the loop of the agent, many operations at once; a batch that was claimed together also starts,
finishes and publishes together. Before a call that may not be made twice, it is noted, which confirms all before it.

Whatever happens to an operation, ``done`` is told once: a message that nobody answers for would hold its lease and
its place in the agent for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from omx_tasks.agents.affinity import Affinity
from omx_tasks.agents.caller import Caller, OwnSession
from omx_tasks.agents.cutoff import ByRun, CallMade, cut_off, in_doubt
from omx_tasks.agents.handover import Handover
from omx_tasks.agents.onward import Begun, Onward
from omx_tasks.agents.outages import PostponedError
from omx_tasks.agents.plans import Plans
from omx_tasks.agents.progress import Reporter
from omx_tasks.agents.settling import Settling
from omx_tasks.agents.slots import Slots
from omx_tasks.agents.steps import Steps
from omx_tasks.agents.telling import Telling
from omx_tasks.agents.turns import Place, Turns, WaitsError
from omx_tasks.agents.waiting import Waiting
from omx_tasks.agents.wire import Wire
from omx_tasks.agents.work import Done, Stay, Work
from omx_tasks.errors import OmxError, OperationError
from omx_tasks.graph import references
from omx_tasks.graph.stored import StoredPlan, StoredStep, item_of, of_generation
from omx_tasks.logs import subject
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.results import joins, outputs
from omx_tasks.results.joins import Beginning, Ending, Following, Outcome, Start
from omx_tasks.store.scripts import Call

#: Makes the calls that publish operations which became ready: run id, plan, ids.
Advance = Callable[[str, StoredPlan, Sequence[str]], list[Call]]

#: Seconds before a message goes back whose operation could not be begun or stored.
PATIENCE = 1.0

#: Items of one foreach.
MOST_ITEMS = 100_000
#: How an operation ends that failed, or may have.
ERRORS = ("failed", "unknown")

#: Told of each outcome as it is written: plan, step, operation, outcome.
Observe = Callable[[StoredPlan, StoredStep, str, Outcome], None]

logger = logging.getLogger(__name__)


class EarlyError(OmxError):
    """It is not this operation's turn yet: its message must come back later."""


class RunOverError(OmxError):
    """The run was ended before a call of it was made."""


class Runner:
    """Runs operations on the loop thread; at most ``slots`` at once."""

    def __init__(
        self,
        *,
        agent: str,
        loop: LoopThread,
        wire: Wire,
        caller: Caller,
        advance: Advance,
        slots: int,
        turns: Turns | None = None,
        compress_above: int = 0,
        observe: Observe = lambda *_: None,
        tell: Telling | None = None,
        affinity: Affinity | None = None,
    ) -> None:
        self._agent = agent
        #: What tells this runner's attempts from all others': randomness is asked once, since each time costs a call.
        self._mark = secrets.token_hex(16)
        self._numbers = itertools.count()
        self._turns = turns
        self._affinity = affinity
        self._wire = wire
        self._caller = caller
        self._advance = advance
        self._observe = observe
        self._tell = tell or Telling()
        self._compress_above = compress_above
        self._slots = Slots(slots)
        self._steps = Steps(agent, wire)
        self._handover = Handover(loop)
        self._plans = Plans(lambda run_id: self._ask(joins.read_plan(run_id)))
        self._under_way: set[Work] = set()
        self._by_run = ByRun()
        self._idle = threading.Condition()
        self._draining = False
        self.busy = 0
        self.done = 0
        self.errors = 0

    def __repr__(self) -> str:
        return f"<Runner {self._agent} under_way={len(self._under_way)} done={self.done}>"

    def new_token(self) -> str:
        """Return what names one attempt."""
        return f"{self._mark}{next(self._numbers)}"

    # --- from any thread ----------------------------------------------------------------------------

    def submit(
        self,
        run_id: str,
        operation: str,
        done: Done,
        *,
        revoked: bool = False,
        redelivered: bool = False,
        limit: float | None = None,
        onward: Onward | None = None,
        begun: Begun | None = None,
        ready: object = None,
    ) -> Work:
        """Run an operation; ``done`` is told once, on the loop, when all is stored.

        One that was revoked is not begun, but cancelled; one that is ``redelivered`` may be over. ``limit`` is how many
        seconds its call may take at most, ``ready`` since when it waits (Unix seconds). One of its successors may go
        ``onward`` here: it comes with what was ``begun``, on the loop.
        """
        work = Work(self, run_id, operation, done)
        work.revoked, work.limit, work.onward, work.begun = revoked, limit, onward, begun
        work.redelivered, work.waiting = redelivered, Waiting.told(ready)
        with self._idle:
            self._under_way.add(work)
            self._by_run.add(work)
        if begun is not None:
            work.plan, work.placed, work.token = begun.plan, begun.placed, begun.following.token
            self._begin(work)
            return work
        try:
            self._handover.call(self._begin, work)
        except RuntimeError:
            self._end(work, None, OmxError("this agent is shutting down"))
        return work

    def run(
        self,
        run_id: str,
        operation: str,
        *,
        redelivered: bool = False,
        ready: object = None,
    ) -> Outcome | None:
        """Run an operation and wait for it; raises `OmxError` when it must be delivered again."""
        answer: Future[Outcome | None] = Future()

        def done(outcome: Outcome | None, error: OmxError | None) -> None:
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(outcome)

        self.submit(run_id, operation, done, redelivered=redelivered, ready=ready)
        return answer.result()

    def revoke(self, work: Work) -> None:
        """Cancel an operation that is under way: its server is told."""
        work.revoked = True
        with contextlib.suppress(RuntimeError):
            self._handover.call(_cancel, work)

    def give_up(self, work: Work) -> None:
        """End an operation that is under way without an outcome: it will be delivered again."""
        with contextlib.suppress(RuntimeError):
            self._handover.call(_cancel, work)

    def runs(self) -> list[str]:
        """Return the runs of which something is under way."""
        with self._idle:
            return self._by_run.runs()

    def end_run(self, run_id: str) -> None:
        """End everything of a run that was cancelled: servers are told."""
        with self._idle:
            works = self._by_run.of(run_id)
        for work in works:
            self._end_cancelled(work)

    def end_earlier(self, run_id: str, generation: str) -> None:
        """End what is of a run as it was before it was resumed; it does not count any more."""
        with self._idle:
            works = self._by_run.of(run_id)
        for work in works:
            if work.operation.partition(":")[2] != generation:
                self._end_cancelled(work)

    def _end_cancelled(self, work: Work) -> None:
        work.cancelled = True
        with contextlib.suppress(RuntimeError):
            self._handover.call(_cancel, work)

    def resize(self, slots: int) -> None:
        """Run more or fewer operations at once from now on; those that run are not disturbed."""
        with contextlib.suppress(RuntimeError):
            self._handover.call(self._slots.resize, slots)

    def drain(self, timeout: float) -> bool:
        """Wait until nothing is under way; False when ``timeout`` seconds were not enough."""
        self._draining = True
        with self._idle:
            return self._idle.wait_for(lambda: not self._under_way, timeout)

    # --- on the loop --------------------------------------------------------------------------------

    def _begin(self, work: Work) -> None:
        work.task = asyncio.get_running_loop().create_task(self._run(work))

    async def _run(self, work: Work) -> None:
        subject.enter(work)
        try:
            await self._carry_out(work)
        except WaitsError as waits:
            self._end(work, None, waits)
        except PostponedError as error:
            if work.onward is None:  # one of Celery's pools has it: it would come again at once
                asyncio.get_running_loop().call_later(PATIENCE, self._begin, work)
            else:
                self._end_later(work, error)
        except OmxError as error:
            self._end_later(work, error)
        except asyncio.CancelledError:
            if (outcome := self._cut_off(work)) is not None:
                self._settle(work, outcome)
            else:
                given_up = None if work.cancelled else OmxError(f"{work!r} was given up")
                self._end(work, None, given_up)
            raise
        except Exception as error:  # a fault of ours must not keep the message for ever
            logger.exception("%r met an internal error", work)
            self._end_later(work, OmxError(f"internal error: {error}"))
        finally:
            self._leave(work)

    def _leave(self, work: Work) -> None:
        """Give the slot back, if it has one."""
        if work.placed:
            work.placed = False
            self._slots.give_back()

    def _end_later(self, work: Work, error: OmxError) -> None:
        """Give a message back after a moment: what failed would fail again."""
        asyncio.get_running_loop().call_later(PATIENCE, self._end, work, None, error)

    def _cut_off(self, work: Work) -> Outcome | None:
        step = work.step
        if step is None or not (work.revoked or work.cancelled):
            return None
        return cut_off(work, step, self._agent, harmless=self._caller.is_harmless(step))

    async def _carry_out(self, work: Work) -> None:
        work.plan = work.plan or await self._plans.get(work.run_id)
        if work.plan is None or work.step is None:
            logger.warning("%r is dropped: there is no such run or operation (any more)", work)
            self._end(work, None, None)
            return
        if work.begun is None:  # what takes turns does not go on
            await self._know(work, work.step)
            work.turn = self._place(work.run_id, work.plan, work.operation)
        outcome = await (self._revoked(work) if work.revoked else self._outcome(work))
        if outcome is None:
            self._end(work, None, None)
        else:
            self._settle(work, outcome)

    async def _know(self, work: Work, step: StoredStep) -> None:
        """See to it that it is known whether the operation takes a turn."""
        if self._turns is not None and not (work.revoked or await self._turns.knows(step)):
            work.asked = time.time()
            await self._caller.open(step.server)

    async def _revoked(self, work: Work) -> Outcome | None:
        """Return the outcome of an operation that was revoked before it was begun here.

        One that is delivered again may be over, and its message stand for another one; or its call was made before.
        """
        plan, step = _known(work)
        if work.redelivered:
            start = await self._started(work, work.token, confirmed=True)
            if start.carried is not None:
                await self._set_free(work, plan, start.carried)
            if start.verdict != "go":
                return None
            if not self._caller.is_harmless(step):
                earlier = await self._asked_to_note(work, "")
                work.call = CallMade.noted(earlier) if earlier else work.call
        return self._cut_off(work)

    async def _outcome(self, work: Work) -> Outcome | None:
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
            self._leave(work)

    def _failed(self, work: Work, error: OperationError) -> Outcome:
        """Return the outcome of an operation that met a fault of ours: with a call that was noted it is unknown."""
        _, step = _known(work)
        began = work.call.began
        if began is None or self._caller.is_harmless(step):
            return Outcome("failed", 1, self._agent, began, error=error.as_json())
        attempts, doubt = work.call.attempts, in_doubt(error).as_json()
        return Outcome("unknown", attempts, self._agent, began, time.time(), doubt)

    async def _attempt(self, work: Work) -> Outcome | None:
        plan, step = _known(work)
        self._caller.check(step.server)
        run_id, operation = work.run_id, work.operation
        if self._has_own_session(plan, operation) and await self._goes_elsewhere(work, plan):
            return None
        if self._turns is not None and work.turn is not None:
            await self._turns.take(work.turn, partial(self._arguments, work), work.redelivered)
        start = await self._started(work, work.token) if work.begun is None else work.begun.start
        if start.carried is not None:
            await self._set_free(work, plan, start.carried)
        if start.verdict != "go":
            return None
        work.call.attempts = start.before + start.attempt
        work.waiting = work.waiting.over()
        self._tell.operation_started(run_id, operation, work.call.attempts)
        scope = _scope(plan, operation, start)
        if step.foreach is not None and item_of(operation)[1] is None:
            await self._expand(work, plan, step.foreach, scope)
            return None
        target = str(references.resolve(step.target, scope))
        arguments = references.resolve(step.arguments, scope)
        reporter = Reporter(lambda told: self._ask(joins.progress(run_id, operation, told)))
        try:
            limited = _limited(step, work.limit)
            harmless = self._caller.is_harmless(step)
            work.call.began = time.time() if harmless else None  # else when it is noted
            note = partial(self._note, work)
            async with self._alone(work, step):
                outcome = await self._caller.call(
                    limited,
                    start.attempt,
                    target,
                    arguments,
                    reporter,
                    run_id,
                    note,
                    work.asked,
                    self._session_of(work, step),
                )
            work.call.outcome = replace(outcome, attempts=outcome.attempts + start.before)
            await reporter.finish()
            output = await outputs.packed(str(outcome.output), self._compress_above)
            return replace(work.call.outcome, output=output)
        except RunOverError:
            work.cancelled = True
            return self._cut_off(work)
        finally:
            reporter.close()

    def _alone(self, work: Work, step: StoredStep) -> AbstractAsyncContextManager[None]:
        """Return what has the writes of a run to its own session made one after the other."""
        own = self._affinity is not None and self._affinity.holds(step.server)
        if self._affinity is None or not own or self._caller.only_reads(step):
            return contextlib.nullcontext()
        return self._affinity.turn(work.run_id, work.operation, step.server)

    def _session_of(self, work: Work, step: StoredStep) -> OwnSession | None:
        """Return what gives the session of the operation's run, where each run has its own."""
        if self._affinity is None or not self._affinity.holds(step.server):
            return None
        return partial(self._affinity.session, work.run_id, work.operation, step.server, self._ask)

    def _has_own_session(self, plan: StoredPlan, operation: str) -> bool:
        """Whether an operation is a call on a stateful server."""
        step = plan.step(operation)
        calls = step.foreach is None or item_of(operation)[1] is not None
        return self._affinity is not None and calls and self._affinity.holds(step.server)

    async def _goes_elsewhere(self, work: Work, plan: StoredPlan) -> bool:
        """Send an operation to the agent that has the session of its run, if that is another one."""
        assert self._affinity is not None
        if work.onward is None:
            server = plan.step(work.operation).server
            raise OperationError(
                "server", f"server {server!r} is stateful: that needs the agents' own pool, not -P"
            )
        moved = await self._affinity.elsewhere(work.run_id, plan, work.operation, self._ask)
        if moved is None:
            return False
        work.turn = None  # whatever place it has in the line of its server stays its own
        await asyncio.gather(*map(self._ask, self._advance(work.run_id, moved, [work.operation])))
        return True

    def _place(self, run_id: str, plan: StoredPlan, operation: str) -> Place | None:
        """Return the place of an operation among those that take turns; None for a read."""
        return None if self._turns is None else self._turns.place(run_id, plan, operation)

    async def _arguments(self, work: Work) -> dict[str, Any] | None:
        """Resolve the arguments of an operation that is not begun; None where it is over."""
        plan, step = _known(work)
        scope: Mapping[str, Any] = {"inputs": plan.inputs}
        if (
            work.redelivered
            or step.needed(work.operation)
            or item_of(work.operation)[1] is not None
        ):
            start = await self._started(work, "")
            if start.verdict != "go":
                return None
            scope = _scope(plan, work.operation, start)
        return dict(references.resolve(step.arguments, scope))

    def _pass_turn(self, work: Work) -> None:
        """Pass the turn on, if the operation takes one; `_end` waits for that."""
        if self._turns is not None and work.turn is not None:
            work.passing, work.turn = self._turns.pass_on(work.turn), None

    async def _expand(
        self, work: Work, plan: StoredPlan, foreach: str, scope: Mapping[str, Any]
    ) -> None:
        items = references.evaluate(foreach, scope)
        if not isinstance(items, list):
            kind = type(items).__name__
            raise OperationError("foreach", f"{foreach} is no list but {kind}: {items!r:.100}")
        if len(items) > MOST_ITEMS:
            many = f"{foreach} has {len(items):,} items, and a foreach takes at most {MOST_ITEMS:,}"
            raise OperationError("foreach", many)
        publications: list[Awaitable[Any]] = []
        for first in range(0, max(1, len(items)), joins.EXPANDED):
            answer = await self._ask(joins.expand(work.run_id, work.operation, items, first))
            ready, over = joins.made_ready(answer)
            if over is not None:
                self._tell.run_over(work.run_id, plan, over)
            calls = self._advance(work.run_id, plan, ready)
            publications += map(self._ask, calls)
        await asyncio.gather(*publications)

    async def _set_free(self, work: Work, plan: StoredPlan, carried: str) -> None:
        """Give the operation that a message stood for one of its own: whoever did it is gone."""
        await self._started(work, work.token, confirmed=True)
        await asyncio.gather(*map(self._ask, self._advance(work.run_id, plan, [carried])))

    async def _note(self, work: Work, note: str) -> str:
        """Note that a call is about to be made which must not be made twice; returns the note of an earlier one."""
        earlier = await self._asked_to_note(work, note)
        if not earlier:
            work.call.began = time.time()
        return earlier

    async def _asked_to_note(self, work: Work, note: str) -> str:
        request = joins.sent(work.run_id, work.operation, work.token, note)
        answer = str((await self._ask(request)).decode())
        if answer == "gone":
            raise OmxError("its beginning is not known any more")
        if answer == "over":
            raise RunOverError
        return "" if answer == "go" else answer

    async def _started(self, work: Work, token: str, *, confirmed: bool = False) -> Start:
        """Say that an operation begins, or without a token only look at it."""
        _, step = _known(work)
        needed = step.needed(work.operation)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        beginning = Beginning(work.operation, token, needed)
        self._steps.start(work.run_id, beginning, partial(_resolve, future), confirmed=confirmed)
        start = joins.started(await future, needed)
        if start.verdict == "early":
            raise EarlyError(f"{work!r} is not ready: its release was lost, and will be made again")
        return start

    def _ask(self, request: Call) -> asyncio.Future[Any]:
        """Make a call to the cluster."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._wire.send(request, partial(_resolve, future))
        return future

    def _settle(self, work: Work, outcome: Outcome) -> None:
        """Finish, publish what became ready or go on with it, then say done."""
        plan, step = _known(work)
        self._observe(plan, step, work.operation, outcome)
        self._pass_turn(work)
        settling = Settling(
            partial(self._publish, work.run_id, plan),
            lambda error: self._end(work, outcome, error),
            partial(self._told, work, outcome),
        )
        following = self._following(work, plan, step, outcome)
        if following is not None:
            settling.may_go_on(following, partial(self._go_on, work, plan, Stay(following)))
        ending = Ending(work.operation, outcome, step.goes_on, following)
        self._steps.finish(work.run_id, ending, settling.confirmed, settling.stored)

    def _told(self, work: Work, outcome: Outcome, run_state: str | None) -> None:
        """Tell how an operation ended, and its run if that was its end."""
        plan, step = _known(work)
        self._tell.operation_over(work.run_id, plan, step, work.operation, outcome, work.waiting)
        if run_state is not None:
            self._tell.run_over(work.run_id, plan, run_state)

    def _publish(
        self,
        run_id: str,
        plan: StoredPlan,
        ready: Sequence[str],
        published: Callable[[Any], None],
    ) -> int:
        calls = self._advance(run_id, plan, ready)
        for call in calls:
            self._wire.send(call, published)
        return len(calls)

    def _following(
        self, work: Work, plan: StoredPlan, step: StoredStep, outcome: Outcome
    ) -> Following | None:
        """Choose the successor that may go on here, and take a slot for it."""
        if step.onward is None or work.onward is None or self._draining:
            return None
        if outcome.state != "succeeded" and not step.goes_on:
            return None
        operation = of_generation(step.onward, work.operation)
        if self._has_own_session(plan, operation):
            return None  # it may be another agent's
        if self._place(work.run_id, plan, operation) is not None:
            return None  # it may have to wait, and is not begun before it has its turn
        if not (work.onward.may_stay(work.run_id, plan, operation) and self._slots.take()):
            return None
        carrier = work.operation if work.begun is None else work.begun.following.carrier
        references = plan.step(operation).needed(operation)
        return Following(operation, self.new_token(), carrier, references)

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

    def _end(self, work: Work, outcome: Outcome | None, error: OmxError | None) -> None:
        """Say done: after the one before it, with whose error its message goes back, too."""
        if error is None:
            self._pass_turn(work)
        passing, work.passing = work.passing, None
        if passing is not None and error is None:
            passing.add_done_callback(lambda over: self._end(work, outcome, over.result()))
            return
        before = None if work.begun is None else work.begun.before
        if before is not None and not before.done():
            before.add_done_callback(lambda _: self._end(work, outcome, error))
            return
        error = error or (before.result() if before is not None else None)
        try:
            work.end(outcome, error)
        finally:
            if work.after is not None:
                work.after.set_result(error)
            with self._idle:
                if work in self._under_way:
                    self._under_way.remove(work)
                    self._by_run.remove(work)
                    self.done += 1
                    self.errors += outcome is not None and outcome.state in ERRORS
                if not self._under_way:
                    self._idle.notify_all()


def _known(work: Work) -> tuple[StoredPlan, StoredStep]:
    assert work.plan is not None
    assert work.step is not None
    return work.plan, work.step


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


def _cancel(work: Work) -> None:
    """Cancel on the loop's next round: a task that was not begun yet would end without a word to anybody."""
    if work.task is not None:
        asyncio.get_running_loop().call_soon(work.task.cancel)


def _resolve(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    if isinstance(reply, OmxError):
        future.set_exception(reply)
    else:
        future.set_result(reply)
