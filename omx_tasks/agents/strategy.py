"""How an agent takes an operation's message: straight to its runner, past what Celery does for tasks in general.

Celery asks a task's strategy for a function that handles each message. Its own makes a request object, which costs
more than all else between the claim and the call. This one keeps what operators see (``inspect active``, revoke,
events, counts). A message with an ETA, an expiry, time limits or stamps, or one that names no operation, is left
to Celery's own strategy, and so is every message while operations have a rate limit, and in Celery's other pools.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import signals
from celery.worker import state
from celery.worker.strategy import default

from omx_tasks.agents.back import way_back
from omx_tasks.agents.host import Host
from omx_tasks.agents.onward import Begun, OnRequest
from omx_tasks.agents.pool import TaskPool, named
from omx_tasks.agents.request import OperationRequest
from omx_tasks.broker.leases import Back
from omx_tasks.errors import OmxError
from omx_tasks.graph.marker import shown, task_id
from omx_tasks.results.joins import Outcome

logger = logging.getLogger(__name__)

Handler = Callable[..., Any]
Tell = Callable[..., None]


def operations(task: Any, app: Any, consumer: Any) -> Handler:
    """Return the handler of operations' messages for this consumer."""
    fallback: Handler = default(task, app, consumer)
    host = TaskPool.host
    if host is None:
        return fallback
    taker = Taker(task, consumer, host)

    def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **_: Any) -> None:
        slow = consumer.task_buckets[task.name] is not None
        if slow or _is_special(message.headers) or not taker.take(message):
            fallback(message, body, ack, reject, callbacks)

    return handle


class Taker:
    """Hands the messages of one consumer to the runner."""

    def __init__(self, task: Any, consumer: Any, host: Host) -> None:
        self._task = task
        self._consumer = consumer
        self._runner = host.runner
        self._tell = _teller(consumer)

    def __repr__(self) -> str:
        return f"<Taker {self._consumer!r}>"

    def take(self, message: Any) -> bool:
        """Run the operation that a message names; False when it names none."""
        names = named(message.body)
        if names is None:
            return False
        headers = message.headers
        shown = headers.get("argsrepr"), headers.get("kwargsrepr")
        self._run(OperationRequest(headers["id"], message, self._task, *shown), *names)
        return True

    def _go_on(self, before: OperationRequest, begun: Begun) -> None:
        """Run an operation under the message of the one before it."""
        run_id, operation = begun.run_id, begun.following.operation
        name, args = task_id(run_id, operation), shown(run_id, operation)
        kwargs = begun.plan.step(operation).shown
        request = OperationRequest(name, before.message, self._task, args, kwargs)
        self._run(request, run_id, operation, begun)
        before.following = request

    def _run(
        self, request: OperationRequest, run_id: str, operation: str, begun: Begun | None = None
    ) -> None:
        _taken(request, self._consumer, self._tell)
        request.work = self._runner.submit(
            run_id,
            operation,
            partial(_finished, request, self._consumer.connection_errors, self._tell),
            revoked=request.id in state.revoked,
            redelivered=bool(request.message.headers.get("redelivered")),
            limit=self._consumer.pool.limit_of(self._task),
            onward=OnRequest(self._consumer, partial(self._go_on, request)),
            begun=begun,
            ready=request.message.headers.get("ready") if begun is None else time.time(),
        )
        for told in self._consumer.on_task_message:
            told(request)


def _is_special(headers: dict[str, Any]) -> bool:
    limits = headers.get("timelimit") or (None, None)
    special = (headers.get(name) for name in ("eta", "expires", "stamped_headers"))
    return any(limits) or any(special)


def _teller(consumer: Any) -> Tell:
    """Return what sends an event when somebody listens to events."""
    eventer = consumer.event_dispatcher

    def tell(kind: str, request: OperationRequest, **fields: Any) -> None:
        if eventer and eventer.enabled:
            eventer.send(kind, uuid=request.id, **fields)

    return tell


def _taken(request: OperationRequest, consumer: Any, tell: Tell) -> None:
    signals.task_received.send(sender=consumer, request=request)
    arguments = {"args": request.args, "kwargs": request.kwargs}
    tell("task-received", request, name=request.name, retries=0, **arguments)
    state.task_reserved(request)
    state.task_accepted(request)
    request.time_start = time.time()
    tell("task-started", request)


def _settle(request: OperationRequest, errors: Any, error: OmxError | None) -> None:
    """Acknowledge the message, park it, or give it back when nothing could be stored, or it was too early."""
    if error is None:
        request.message.ack_log_error(logger, errors)
        request.acknowledged = True
        return
    back = way_back(error)
    if back is not Back.PARKED:
        about = {"task": request.id} | (request.work.about() if request.work else {})
        tag = request.message.delivery_tag
        logger.error("%s goes back to its queue: %s", tag, error, extra=about)
    request.message.reject_log_error(logger, errors, requeue=back)


def _finished(
    request: OperationRequest,
    errors: Any,
    tell: Tell,
    outcome: Outcome | None,
    error: OmxError | None,
) -> None:
    """Settle the message, from any thread, unless it stands for another one by now."""
    state.task_ready(request, successful=error is None)
    if request.following is None:
        _settle(request, errors, error)
    if error is not None:
        return
    seconds = time.time() - (request.time_start or time.time())
    if outcome is not None and outcome.state == "cancelled":
        tell("task-revoked", request, terminated=True, signum=None, expired=False)
    elif outcome is not None and outcome.error is not None:
        tell("task-failed", request, exception=outcome.error["message"], traceback=None)
    else:
        tell("task-succeeded", request, result=outcome.state if outcome else None, runtime=seconds)
