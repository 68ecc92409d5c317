"""Tells of what happens on an agent, as events: how operations and runs end, and its own beginning and end.

What happens in one round of the loop is published together, and successes of a little longer. Nothing here waits:
publishing puts an event into a buffer, and where that is full, what is to be told is left out, counted, and said once.
An outcome is told after it was stored; when the agent is killed in between, or before its buffer was sent, it is in the
run's own record and was not told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from omx_tasks.agents.waiting import NO_WAIT, Waiting
from omx_tasks.agents.work import about
from omx_tasks.broker.routing import set_name
from omx_tasks.errors import OmxError
from omx_tasks.graph.stored import StoredPlan, StoredStep
from omx_tasks.results.joins import Outcome
from omx_tasks.settings import Told

#: An event: type, data, priority (None: its type's), key.
Happened = tuple[str, dict[str, Any], None, str]
#: Seconds for which beginnings and successes wait for company: to publish each by itself costs several times as much.
GATHER = 0.5
#: Seconds that an agent which stops gives its last events.
LAST = 5.0


class Publisher(Protocol):
    """What takes events."""

    def publish_many(self, drafts: Sequence[Happened]) -> object:
        """Put events into a buffer; raises `OmxError` where there is no room."""

    def flush(self, timeout: float) -> bool:
        """Wait until they are stored; False when time ran out."""


logger = logging.getLogger(__name__)

_set_name = lru_cache(maxsize=1024)(set_name)


class _Ended(NamedTuple):
    """The end of an operation, without its output; it becomes an event when it leaves with many others."""

    run_id: str
    graph: str
    operation: str
    step: StoredStep
    waiting: Waiting
    state: str
    agent: str | None
    attempts: int
    started: float | None
    finished: float | None
    error: dict[str, str] | None

    def told(self, template: str | None) -> Happened:
        """Return the event."""
        step = self.step
        data = {
            "run": self.run_id,
            "graph": self.graph,
            "operation": self.operation,
            "server": step.server,
            "kind": step.kind,
            "target": step.target,
            "priority": step.priority,
            "capabilities": _set_name(step.capabilities),
            "agent": self.agent,
            "template": template,
            "ready": self.waiting.since,
            "waited": self.waiting.seconds,
            "attempts": self.attempts,
            "started": self.started,
            "finished": self.finished,
            "error": self.error,
        }
        return f"operation.{self.state}", data, None, self.run_id


class Telling:
    """Makes events of what happens on the agent ``agent``; without a ``publisher`` of nothing."""

    def __init__(
        self,
        agent: str = "",
        publisher: Publisher | None = None,
        operations: Told = Told.ENDED,
        template: str | None = None,
    ) -> None:
        self.left_out = 0
        self._agent, self._template = agent, template
        self._publisher = publisher
        self._started = publisher is not None and operations is Told.ALL
        self._ended = publisher is not None and operations in (Told.ENDED, Told.ALL)
        self._failed = publisher is not None and operations is not Told.NONE
        self._gathered: list[Happened | _Ended] = []

    def __repr__(self) -> str:
        return f"<Telling {self._agent} left_out={self.left_out}>"

    # --- on the loop --------------------------------------------------------------------------------

    def operation_started(self, run_id: str, operation: str, attempt: int) -> None:
        """An operation's call begins."""
        if self._started:
            data = {"run": run_id, "operation": operation, "agent": self._agent, "attempt": attempt}
            self._gather(("operation.started", data, None, run_id), patient=True)

    def operation_over(
        self,
        run_id: str,
        plan: StoredPlan,
        step: StoredStep,
        operation: str,
        outcome: Outcome,
        waiting: Waiting = NO_WAIT,
    ) -> None:
        """An operation's outcome is stored."""
        if outcome.state in ("failed", "unknown"):
            _log(run_id, step, operation, outcome)
        if not (self._ended if outcome.state == "succeeded" else self._failed):
            return
        times = (outcome.started, outcome.finished)
        said = (outcome.state, outcome.agent, outcome.attempts, *times, outcome.error)
        ended = _Ended(run_id, plan.name, operation, step, waiting, *said)
        self._gather(ended, patient=outcome.state == "succeeded")

    def run_over(self, run_id: str, plan: StoredPlan, state: str) -> None:
        """A run's last operation is over."""
        if self._publisher is not None:
            self._gather((f"run.{state}", {"run": run_id, "name": plan.name}, None, run_id))

    def _gather(self, happened: Happened | _Ended, *, patient: bool = False) -> None:
        if not patient:
            asyncio.get_running_loop().call_soon(self._leave)
        elif not self._gathered:
            asyncio.get_running_loop().call_later(GATHER, self._leave)
        self._gathered.append(happened)

    def _leave(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._say([self._as_told(one) for one in gathered])

    def _as_told(self, happened: Happened | _Ended) -> Happened:
        return happened.told(self._template) if isinstance(happened, _Ended) else happened

    # --- from any thread ----------------------------------------------------------------------------

    def agent(self, what: str) -> None:
        """The agent has ``started`` or ``stopped``."""
        self._say([(f"agent.{what}", {"agent": self._agent}, None, self._agent)])

    def close(self) -> None:
        """Tell what has gathered and that the agent has stopped, and wait until that is stored."""
        self._leave()
        self.agent("stopped")
        if self._publisher is not None and not self._publisher.flush(LAST):
            logger.warning("not all that %s told was stored in %g s", self._agent, LAST)

    def server(self, server: str, error: str | None) -> None:
        """A session with a server is open, or cannot be opened."""
        data: dict[str, Any] = {"server": server, "agent": self._agent, "error": error}
        self._say([("server.failed" if error else "server.started", data, None, self._agent)])

    def recycled(self, server: str, memory: int, limit: int) -> None:
        """A server's process was replaced by another one, for the memory that it used."""
        data = {"server": server, "agent": self._agent, "memory": memory, "limit": limit}
        self._say([("server.recycled", data, None, self._agent)])

    def retires(self, reason: str, memory: int, done: int) -> None:
        """The agent ends for the memory that it uses, or after so many operations; another one takes its place."""
        data = {"agent": self._agent, "reason": reason, "memory": memory, "done": done}
        self._say([("agent.recycled", data, None, self._agent)])

    def _say(self, happened: Sequence[Happened]) -> None:
        if self._publisher is None or not happened:
            return
        try:
            self._publisher.publish_many(happened)
        except OmxError as error:
            if not self.left_out:
                logger.warning("%s cannot tell of all that happens: %s", self._agent, error)
            self.left_out += len(happened)


def _log(run_id: str, step: StoredStep, operation: str, outcome: Outcome) -> None:
    error = outcome.error or {}
    state = "failed" if outcome.state == "failed" else "may have failed"
    logger.warning(
        "operation %s of run %s %s: %s",
        operation,
        run_id,
        state,
        error.get("message"),
        extra={
            **about(run_id, operation, step),
            "attempt": outcome.attempts,
            "kind": error.get("kind"),
        },
    )
