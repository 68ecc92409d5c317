"""Runs operations: what is under way on this agent, from any thread, and that each is answered for once.

::

    submit ──► its outcome (see `attempts`) ──► stored, and what follows is published (see `endings`) ──► done
                  ├─ it has to wait, or cannot be begun or stored now ──► its message goes back ────────────┤
                  └─ it is revoked, or its run cancelled, before its end (see `cutoff`) ────────────────────┘

All of this happens on the loop of the agent, many operations at once; a batch that was claimed together also starts,
finishes and publishes together.

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
from concurrent.futures import Future

from omx_tasks.agents.affinity import Affinity
from omx_tasks.agents.attempts import Attempts
from omx_tasks.agents.caller import Caller
from omx_tasks.agents.cutoff import ByRun
from omx_tasks.agents.endings import Endings, Observe
from omx_tasks.agents.handover import Handover
from omx_tasks.agents.onward import Begun, Onward
from omx_tasks.agents.outages import PostponedError
from omx_tasks.agents.own_sessions import OwnSessions
from omx_tasks.agents.run_state import Advance, RunState
from omx_tasks.agents.slots import Slots
from omx_tasks.agents.telling import Telling
from omx_tasks.agents.turns import Turns, WaitsError
from omx_tasks.agents.waiting import Waiting
from omx_tasks.agents.wire import Wire
from omx_tasks.agents.work import Done, Work
from omx_tasks.errors import OmxError
from omx_tasks.logs import subject
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.results.joins import Outcome

#: Seconds before a message goes back whose operation could not be begun or stored.
PATIENCE = 1.0

#: How an operation ends that failed, or may have.
ERRORS = ("failed", "unknown")

logger = logging.getLogger(__name__)


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
        self._slots = Slots(slots)
        self._handover = Handover(loop)
        self._under_way: set[Work] = set()
        self._by_run = ByRun()
        self._idle = threading.Condition()
        self.done = 0
        self.errors = 0
        tell = tell or Telling()
        state = RunState(agent, wire, advance)
        self._attempts = Attempts(
            agent=agent,
            caller=caller,
            state=state,
            slots=self._slots,
            own_sessions=OwnSessions(affinity, caller, state),
            turns=turns,
            tell=tell,
            compress_above=compress_above,
        )
        self._endings = Endings(
            state=state,
            slots=self._slots,
            turns=turns,
            needs_nobody=self._attempts.needs_nobody,
            new_token=self.new_token,
            observe=observe,
            tell=tell,
            over=self._over,
        )

    def __repr__(self) -> str:
        return f"<Runner {self._agent} under_way={len(self._under_way)} done={self.done}>"

    @property
    def busy(self) -> int:
        """How many operations have a slot and are being done."""
        return self._attempts.busy

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
        work = Work(run_id, operation, self.new_token(), done=done, cut_off=self._cut_off)
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
            self._endings.end(work, None, OmxError("this agent is shutting down"))
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

    def runs(self) -> list[str]:
        """Return the runs of which something is under way."""
        with self._idle:
            return self._by_run.runs()

    def end_run(self, run_id: str) -> None:
        """End everything of a run that was cancelled: servers are told."""
        with self._idle:
            works = self._by_run.of(run_id)
        for work in works:
            self._cancel(work)

    def end_earlier(self, run_id: str, generation: str) -> None:
        """End what is of a run as it was before it was resumed; it does not count any more."""
        with self._idle:
            works = self._by_run.of(run_id)
        for work in works:
            if work.operation.partition(":")[2] != generation:
                self._cancel(work)

    def _cancel(self, work: Work) -> None:
        work.cancelled = True
        self._cut_off(work)

    def _cut_off(self, work: Work) -> None:
        """End what is done for an operation: its server is told."""
        with contextlib.suppress(RuntimeError):
            self._handover.call(_cut_off, work)

    def resize(self, slots: int) -> None:
        """Run more or fewer operations at once from now on; those that run are not disturbed."""
        with contextlib.suppress(RuntimeError):
            self._handover.call(self._slots.resize, slots)

    def drain(self, timeout: float) -> bool:
        """Wait until nothing is under way; False when ``timeout`` seconds were not enough."""
        self._endings.draining = True
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
            self._endings.end(work, None, waits)
        except PostponedError as error:
            if work.onward is None:  # one of Celery's pools has it: it would come again at once
                asyncio.get_running_loop().call_later(PATIENCE, self._begin, work)
            else:
                self._end_later(work, error)
        except OmxError as error:
            self._end_later(work, error)
        except asyncio.CancelledError:
            if (outcome := self._attempts.cut_off(work)) is not None:
                self._endings.settle(work, outcome)
            else:
                given_up = None if work.cancelled else OmxError(f"{work!r} was given up")
                self._endings.end(work, None, given_up)
            raise
        except Exception as error:  # a fault of ours must not keep the message for ever
            logger.exception("%r met an internal error", work)
            self._end_later(work, OmxError(f"internal error: {error}"))
        finally:
            self._attempts.leave(work)

    async def _carry_out(self, work: Work) -> None:
        outcome = await self._attempts.outcome(work)
        if outcome is None:
            self._endings.end(work, None, None)
        else:
            self._endings.settle(work, outcome)

    def _end_later(self, work: Work, error: OmxError) -> None:
        """Give a message back after a moment: what failed would fail again."""
        asyncio.get_running_loop().call_later(PATIENCE, self._endings.end, work, None, error)

    def _over(self, work: Work, outcome: Outcome | None) -> None:
        """Note that an operation is not under way any more."""
        with self._idle:
            if work in self._under_way:
                self._under_way.remove(work)
                self._by_run.remove(work)
                self.done += 1
                self.errors += outcome is not None and outcome.state in ERRORS
            if not self._under_way:
                self._idle.notify_all()


def _cut_off(work: Work) -> None:
    """Cancel on the loop's next round: a task that was not begun yet would end without a word to anybody."""
    if work.task is not None:
        asyncio.get_running_loop().call_soon(work.task.cancel)
