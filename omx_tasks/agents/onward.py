"""Goes on with a successor on the agent that made it ready: no bell, no other agent, no wait for a claim.

::

    an operation ended ──► one of those that became ready may stay?
                             ├─► its message is stored and leased to this agent, in one script ─► ours? ──┐
                             └─► it is begun here ─► its references are read ─────────────────────────────┴─► called
                                                                        somebody has it already: his matter ┴► dropped

Both go at the same time, and nothing is called before the message is ours.

The one that stays is the one with the longest remaining path, if this agent consumes its queue and has a slot that
nobody waits for. It has a message, a lease, an ack and events of its own like any other: when this agent dies, it comes
back to its queue.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from omx_tasks.broker import queues
from omx_tasks.broker.poller import readable
from omx_tasks.broker.queues import Delivery, Held, Posting
from omx_tasks.broker.routing import queue_of
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.store.scripts import Call

#: Makes an operation's message: run id, plan, operation; returns the partition of its queue, and it.
MessageOf = Callable[[str, StoredPlan, str], tuple[str, Posting]]
#: Begins the operation of a message that is about to be this agent's; the future says whether it is.
Take = Callable[[Any, asyncio.Future[bool]], object]
#: Begins an operation; the future says whether its message is this agent's.
Begin = Callable[[asyncio.Future[bool]], None]


class Onward(Protocol):
    """What the runner asks when operations became ready."""

    def choose(self, plan: StoredPlan, ready: Sequence[str]) -> str | None:
        """Return the one that may go on here."""

    def keep(self, run_id: str, plan: StoredPlan, operation: str) -> tuple[Call, Begin]:
        """Return the call that publishes it for this agent, and what begins it."""


class OnChannel:
    """Keeps messages on a consumer's channel."""

    def __init__(self, consumer: Any, message_of: MessageOf, take: Take) -> None:
        self._consumer = consumer
        self._message_of = message_of
        self._take = take

    def __repr__(self) -> str:
        return f"<OnChannel {self._consumer!r}>"

    def choose(self, plan: StoredPlan, ready: Sequence[str]) -> str | None:
        """Return the operation with the longest remaining path, if this agent consumes its queue."""
        first = max(ready, key=lambda operation: plan.step(operation).rank)
        queue = queue_of(plan.step(first).capabilities)
        consumes = self._consumer.task_consumer.consuming_from(queue)
        return first if consumes else None

    def keep(self, run_id: str, plan: StoredPlan, operation: str) -> tuple[Call, Begin]:
        """Return the call that publishes it for this agent, and what begins it."""
        queue, posting = self._message_of(run_id, plan, operation)
        token, channel = secrets.token_hex(16), self._consumer.task_consumer.channel

        def begin(kept: asyncio.Future[bool]) -> None:
            body = posting.body if isinstance(posting.body, bytes) else posting.body.encode()
            channel.qos.hold(queue, Held(posting.id, token))
            message = channel.message_to_python(readable(Delivery(posting.id, 1, body)))
            channel.qos.append(message, message.delivery_tag)
            self._take(message, kept)

        return queues.keep(queue, posting, token, lease=channel.lease), begin
