"""Which queues an agent claims from: one for each capability set that it covers, those asked for later included.

While a server cannot be called from here, its queues are left to others (see `outages`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from celery import bootsteps
from celery.app.utils import filter_hidden_settings

from omx_tasks.agents.capabilities import Capabilities
from omx_tasks.agents.heartbeat import Heartbeat
from omx_tasks.agents.pool import TaskPool
from omx_tasks.broker.routing import PREFIX
from omx_tasks.store.client import Store
from omx_tasks.store.courier import Courier


class Listening:
    """Hears which capability sets are asked for where the consumer's process has no host: with Celery's own pools."""

    def __init__(self, store: Store, name: str, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self._store = store
        self._courier = Courier(store, name="capabilities")
        self.heartbeat = Heartbeat(self._courier, name, capabilities)

    def start(self) -> None:
        """Begin to hear."""
        self._courier.start()
        self.heartbeat.start()

    def stop(self) -> None:
        """Hear no more."""
        self._courier.stop()
        self._store.close()


class CapabilityQueues(bootsteps.StartStopStep):
    """Celery consumer step: consumes the agent's queues, and each new one as soon as the heartbeat brings it."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    #: Makes what listens for a worker with one of Celery's own pools; set by the composition root.
    make_listening: ClassVar[Callable[[Any], Listening]]

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._listening: Listening | None = None

    def start(self, consumer: Any) -> None:
        """Consume what this agent covers; called again after each reconnection."""
        part = TaskPool.host or self._listen(consumer)
        if TaskPool.host is not None:
            TaskPool.host.liveness.attend(consumer.connection.transport)
        capabilities = part.capabilities
        self._consume(consumer, capabilities.own_sets(), capabilities)

        def asked_for(sets: list[str]) -> None:
            consumer.call_soon(self._consume, consumer, sets, capabilities)

        part.heartbeat.on_sets = asked_for

    def _listen(self, consumer: Any) -> Listening:
        if self._listening is None:
            self._listening = CapabilityQueues.make_listening(consumer)
            self._listening.start()
        return self._listening

    def _consume(self, consumer: Any, sets: list[str], capabilities: Capabilities) -> None:
        if consumer.task_consumer is None:
            return
        for queue in [one.name for one in consumer.task_consumer.queues]:
            name = queue.removeprefix(PREFIX)
            if name != queue and not capabilities.covers(name):
                consumer.task_consumer.cancel_by_queue(queue)
        for name in filter(capabilities.covers, [*sets, *capabilities.own_sets()]):
            queue = PREFIX + name
            if not consumer.task_consumer.consuming_from(queue):
                consumer.add_task_queue(
                    queue, exchange="", exchange_type="direct", routing_key=queue
                )

    def info(self, consumer: Any) -> dict[str, Any]:
        """Return what ``inspect stats`` says of the broker: as Celery does, but with no password in its address."""
        connection = consumer.connection
        if connection is None:
            return {}
        shown = filter_hidden_settings(connection.info())
        return {"broker": {**shown, "hostname": connection.as_uri()}}

    def stop(self, _consumer: Any) -> None:
        """Take no more news from the heartbeat."""
        part = TaskPool.host or self._listening
        if part is not None:
            part.heartbeat.on_sets = lambda _sets: None

    def shutdown(self, _consumer: Any) -> None:
        """Hear no more: the worker ends."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.stop()
