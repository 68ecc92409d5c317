"""What an agent tells the state of a run about an operation, and asks of it: one method for each thing that is said.

::

    plan ──► started ──go──► note (before a call that must not be made twice) ──► finish ──► publish what became ready
                └─early─► the message must come back later

Those of one run that come together are said together (see `steps`), and nothing here blocks the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from omx_tasks.agents.plans import Plans
from omx_tasks.agents.settling import Settling
from omx_tasks.agents.steps import Steps
from omx_tasks.agents.wire import Wire, awaited
from omx_tasks.agents.work import Work
from omx_tasks.errors import OmxError
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import joins
from omx_tasks.results.joins import Beginning, Ending, Start
from omx_tasks.store.scripts import Call

#: Makes the calls that publish operations which became ready: run id, plan, ids.
Advance = Callable[[str, StoredPlan, Sequence[str]], list[Call]]


class EarlyError(OmxError):
    """It is not this operation's turn yet: its message must come back later."""


class RunOverError(OmxError):
    """The run was ended before a call of it was made."""


class RunState:
    """The state of runs, as an agent's operations speak with it. Lives on the wire's loop."""

    def __init__(self, agent: str, wire: Wire, advance: Advance) -> None:
        self._wire = wire
        self._advance = advance
        self._steps = Steps(agent, wire)
        self._plans = Plans(lambda run_id: self.ask(joins.read_plan(run_id)))

    def __repr__(self) -> str:
        return f"<RunState {self._plans!r}>"

    def ask(self, request: Call) -> asyncio.Future[Any]:
        """Make a call to the cluster."""
        answer, told = awaited()
        self._wire.send(request, told)
        return answer

    async def plan(self, run_id: str) -> StoredPlan | None:
        """Return a run's plan, or None where there is no such run."""
        return await self._plans.get(run_id)

    async def started(self, work: Work, token: str, *, confirmed: bool = False) -> Start:
        """Say that an operation begins, or without a token only look at it; raises `EarlyError`."""
        _, step = work.known()
        needed = step.needed(work.operation)
        answer, told = awaited()
        beginning = Beginning(work.operation, token, needed)
        self._steps.start(work.run_id, beginning, told, confirmed=confirmed)
        start = joins.started(await answer, needed)
        if start.verdict == "early":
            raise EarlyError(f"{work!r} is not ready: its release was lost, and will be made again")
        return start

    async def note(self, work: Work, note: str) -> str:
        """Note that a call is about to be made which must not be made twice; returns the note of an earlier one."""
        earlier = await self.earlier_note(work, note)
        if not earlier:
            work.call.began = time.time()
        return earlier

    async def earlier_note(self, work: Work, note: str) -> str:
        """Return what was noted of a call before, or note this one; raises `RunOverError`."""
        request = joins.sent(work.run_id, work.operation, work.token, note)
        answer = str((await self.ask(request)).decode())
        if answer == "gone":
            raise OmxError("its beginning is not known any more")
        if answer == "over":
            raise RunOverError
        return "" if answer == "go" else answer

    async def set_free(self, work: Work, carried: str) -> None:
        """Give the operation that a message stood for one of its own: whoever did it is gone."""
        plan, _ = work.known()
        await self.started(work, work.token, confirmed=True)
        await self.published(work.run_id, plan, [carried])

    def finish(self, work: Work, ending: Ending, settling: Settling) -> None:
        """Write an outcome; ``settling`` hears when it is stored, and when that is confirmed."""
        self._steps.finish(work.run_id, ending, settling.confirmed, settling.stored)

    def publish(
        self,
        run_id: str,
        plan: StoredPlan,
        ready: Sequence[str],
        told: Callable[[Any], None],
    ) -> int:
        """Publish what became ready; ``told`` hears of each part, as many as are returned."""
        calls = self._advance(run_id, plan, ready)
        for call in calls:
            self._wire.send(call, told)
        return len(calls)

    def published(
        self, run_id: str, plan: StoredPlan, ready: Sequence[str]
    ) -> Awaitable[list[Any]]:
        """Publish what became ready; what is returned ends when that is confirmed."""
        return asyncio.gather(*map(self.ask, self._advance(run_id, plan, ready)))
