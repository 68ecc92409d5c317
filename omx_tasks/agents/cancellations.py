"""Ends what an agent does of runs that were cancelled, or taken up again without it.

::

    run cancelled ──broadcast──► heard ───────────────────────────┐
         └──(it was lost)──► looked at, once a second ──not ours──┴──► every call of the run is ended, its server told

Each look also cancels a run whose time is over: it needs nobody but the agents that work on it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from omx_tasks.agents.runner import Runner
from omx_tasks.agents.wire import Wire
from omx_tasks.errors import OmxError
from omx_tasks.results import joins
from omx_tasks.store import keys
from omx_tasks.store.courier import Courier, Done
from omx_tasks.store.scripts import Call

logger = logging.getLogger(__name__)

#: Seconds between two looks at the runs that the agent works on.
EVERY = 1.0


class Cancellations:
    """Hears of cancelled runs on the wire, and looks after them with the courier."""

    def __init__(self, runner: Runner, wire: Wire, courier: Courier) -> None:
        self._runner = runner
        self._wire = wire
        self._courier = courier

    def __repr__(self) -> str:
        return f"<Cancellations {self._runner!r}>"

    def start(self) -> None:
        """Look once a second from now on, for as long as the courier goes."""
        self._courier.every(EVERY, self._look)

    async def listen(self) -> None:
        """Hear broadcasts from now on; on the wire's loop."""
        self._wire.listen(keys.cancellations(), self._heard)

    def _heard(self, payload: bytes) -> None:
        self._runner.end_run(payload.decode())

    def _look(self) -> Iterable[tuple[Call, Done | None]]:
        for run_id in self._runner.runs():
            yield joins.look(run_id), partial(self._seen, run_id)

    def _seen(self, run_id: str, answer: Any) -> None:
        if isinstance(answer, OmxError):
            logger.warning(
                "run %s could not be looked at: %s", run_id, answer, extra={"run": run_id}
            )
            return
        state, generation = (word.decode() for word in answer)
        if state == "running":
            self._runner.end_earlier(run_id, generation)
        else:
            self._runner.end_run(run_id)
