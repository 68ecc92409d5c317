"""Which queues an agent claims from: one for each capability set that it covers, those asked for later included."""

from __future__ import annotations

from typing import Any

from celery import bootsteps

from omx_tasks.agents.pool import TaskPool
from omx_tasks.broker.routing import PREFIX


class CapabilityQueues(bootsteps.StartStopStep):
    """Celery consumer step: consumes the agent's queues, and each new one as soon as the heartbeat brings it."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Consume what this agent covers; called again after each reconnection."""
        host = TaskPool.host
        if host is None:
            return
        self._consume(consumer, host.own_sets())

        def asked_for(sets: frozenset[str]) -> None:
            consumer.call_soon(self._consume, consumer, sorted(sets))

        host.on_capability_sets = asked_for

    def _consume(self, consumer: Any, sets: list[str]) -> None:
        if consumer.task_consumer is None:
            return
        for name in sets:
            queue = PREFIX + name
            if not consumer.task_consumer.consuming_from(queue):
                consumer.add_task_queue(
                    queue, exchange="", exchange_type="direct", routing_key=queue
                )

    def stop(self, consumer: Any) -> None:
        """Take no more news from the heartbeat."""
        if TaskPool.host is not None:
            TaskPool.host.on_capability_sets = lambda _sets: None
