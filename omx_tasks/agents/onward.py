"""Goes on with a successor on the agent that made it ready: no message, no bell, no other agent, no wait for a claim.

::

    an operation ended ──► finish: its outcome is stored; the successor that may stay, if it is ready now, is begun
                              ├─begun──► called here, under the message of the one before ──► ended ──► finish …
                              └─not ready, or none may stay ──► what became ready is published

The one that may stay is the one with the longest remaining path, if this agent consumes its queue and has a slot that
nobody waits for. A chain of such operations has one message, which is acknowledged when the last of them is over and
all outcomes are confirmed. When the agent dies, that message comes back, and whoever gets it publishes what it stood
for. To operators each operation is a task of its own.

Before a call that may not be made twice, it is noted by its token, which confirms what came before it as well; should
the outcome before have been lost, and then released another agent's operation instead, it is not made here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from celery.worker import state

from omx_tasks.broker.routing import queue_of
from omx_tasks.errors import OmxError
from omx_tasks.graph.marker import OPERATION, task_id
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results.joins import Following, Start

if TYPE_CHECKING:
    import asyncio

#: Values that one which stays may refer to: a large join is seldom ready, and each of its parts would name all of them.
MOST_REFERENCES = 16


@dataclass(frozen=True)
class Begun:
    """An operation that was begun where the one before it ended."""

    run_id: str
    plan: StoredPlan
    following: Following
    start: Start
    #: Told when the one before is over: why it could not be stored, or None.
    before: asyncio.Future[OmxError | None]
    #: Whether it has a slot.
    placed: bool


class Onward(Protocol):
    """What the runner asks when an operation ends."""

    def may_stay(self, run_id: str, plan: StoredPlan, operation: str) -> bool:
        """Whether a successor may go on here."""

    def go_on(self, begun: Begun) -> None:
        """Run it under the message of the one before."""


class OnRequest:
    """Goes on under the message of one request."""

    def __init__(self, consumer: Any, go_on: Callable[[Begun], None]) -> None:
        self._consumer = consumer
        self.go_on = go_on

    def __repr__(self) -> str:
        return f"<OnRequest {self._consumer!r}>"

    def may_stay(self, run_id: str, plan: StoredPlan, operation: str) -> bool:
        """Whether this agent consumes its queue, at its priority and any rate, and it was not revoked."""
        step = plan.step(operation)
        if len(step.needed(operation)) > MOST_REFERENCES:
            return False
        if self._consumer.task_buckets[OPERATION] is not None:
            return False
        queue, own = queue_of(step.capabilities), self._consumer.task_consumer
        takes = own.consuming_from(queue) and step.priority in own.channel.serves(queue)
        return takes and task_id(run_id, operation) not in state.revoked
