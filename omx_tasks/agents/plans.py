"""The plans of the runs that an agent works on: each read once, the least lately used ones forgotten."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from omx_tasks.graph.stored import StoredPlan

#: Steps, of all plans together, that an agent keeps (about a kilobyte each).
KEPT_STEPS = 100_000

Read = Callable[[str], Awaitable[bytes | None]]


class Plans:
    """Reads plans with ``read``, which returns a run's document or None. Lives on one loop."""

    def __init__(self, read: Read, kept_steps: int = KEPT_STEPS) -> None:
        self._read = read
        self._kept_steps = kept_steps
        self._plans: OrderedDict[str, StoredPlan] = OrderedDict()
        self._reading: dict[str, asyncio.Task[StoredPlan | None]] = {}
        self._steps = 0

    def __repr__(self) -> str:
        return f"<Plans runs={len(self._plans)} steps={self._steps}>"

    async def get(self, run_id: str) -> StoredPlan | None:
        """Return a run's plan, or None where there is no such run."""
        plan = self._plans.get(run_id)
        if plan is not None:
            self._plans.move_to_end(run_id)
            return plan
        reading = self._reading.get(run_id)
        if reading is None:
            reading = self._reading[run_id] = asyncio.create_task(self._fetch(run_id))
            reading.add_done_callback(lambda task: self._over(run_id, task))
        # Shielded: reading goes on for the others when one who waits is cancelled.
        return await asyncio.shield(reading)

    async def _fetch(self, run_id: str) -> StoredPlan | None:
        document = await self._read(run_id)
        return None if document is None else StoredPlan.parse(document)

    def _over(self, run_id: str, task: asyncio.Task[StoredPlan | None]) -> None:
        del self._reading[run_id]
        if task.cancelled() or task.exception() is not None:
            return
        if (plan := task.result()) is not None:
            self._keep(run_id, plan)

    def _keep(self, run_id: str, plan: StoredPlan) -> None:
        self._plans[run_id] = plan
        self._steps += len(plan.steps)
        while self._steps > self._kept_steps and len(self._plans) > 1:
            _, old = self._plans.popitem(last=False)
            self._steps -= len(old.steps)
