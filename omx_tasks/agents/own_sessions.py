"""What is different for an operation on a stateful server, where each run has a session of its own (see `affinity`)."""

from __future__ import annotations

import contextlib
from contextlib import AbstractAsyncContextManager
from functools import partial

from omx_tasks.agents.affinity import Affinity
from omx_tasks.agents.caller import Caller, OwnSession
from omx_tasks.agents.run_state import RunState
from omx_tasks.agents.work import Work
from omx_tasks.errors import OperationError
from omx_tasks.graph.stored import StoredPlan, StoredStep, item_of


class OwnSessions:
    """The sessions of runs, as operations ask for them. Lives on one loop; without an ``affinity`` there are none."""

    def __init__(self, affinity: Affinity | None, caller: Caller, state: RunState) -> None:
        self._affinity = affinity
        self._caller = caller
        self._state = state

    def __repr__(self) -> str:
        return f"<OwnSessions {self._affinity!r}>"

    def needed_by(self, plan: StoredPlan, operation: str) -> bool:
        """Whether an operation is a call on a stateful server."""
        step = plan.step(operation)
        calls = step.foreach is None or item_of(operation)[1] is not None
        return self._affinity is not None and calls and self._affinity.holds(step.server)

    async def goes_elsewhere(self, work: Work) -> bool:
        """Send an operation to the agent that has the session of its run, if that is another one."""
        assert self._affinity is not None
        plan, step = work.known()
        if work.onward is None:
            server = step.server
            raise OperationError(
                "server", f"server {server!r} is stateful: that needs the agents' own pool, not -P"
            )
        moved = await self._affinity.elsewhere(work.run_id, plan, work.operation, self._state.ask)
        if moved is None:
            return False
        work.turn = None  # whatever place it has in the line of its server stays its own
        await self._state.published(work.run_id, moved, [work.operation])
        return True

    def of(self, work: Work, step: StoredStep) -> OwnSession | None:
        """Return what gives the session of the operation's run, where each run has its own."""
        if self._affinity is None or not self._affinity.holds(step.server):
            return None
        names = work.run_id, work.operation, step.server
        return partial(self._affinity.session, *names, self._state.ask)

    def alone(self, work: Work, step: StoredStep) -> AbstractAsyncContextManager[None]:
        """Return what has the writes of a run to its own session made one after the other."""
        own = self._affinity is not None and self._affinity.holds(step.server)
        if self._affinity is None or not own or self._caller.only_reads(step):
            return contextlib.nullcontext()
        return self._affinity.turn(work.run_id, work.operation, step.server)
