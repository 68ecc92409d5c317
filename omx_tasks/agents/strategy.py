"""How an agent takes an operation's message: straight to its runner, past what Celery does for tasks in general.

Celery asks a task's strategy for a function that handles each message. Its own makes a request object, which costs
more than all else between the claim and the call. This one keeps what operators see (``inspect active``, revoke,
events, counts). A message with an ETA, an expiry, time limits or stamps, or one that names no operation, is left
to Celery's own strategy, and so is every message in Celery's other pools.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.worker import state
from celery.worker.strategy import default

from omx_tasks.agents.pool import TaskPool, named
from omx_tasks.agents.runner import Work
from omx_tasks.errors import OmxError
from omx_tasks.results.joins import Outcome

logger = logging.getLogger(__name__)

Handler = Callable[..., Any]
Tell = Callable[..., None]


class OperationRequest:
    """One operation under way, as Celery's worker state and remote control see it."""

    __slots__ = ("__weakref__", "acknowledged", "id", "message", "task", "time_start", "work")

    name = type = "omx.operation"

    def __init__(self, task_id: str, message: Any, task: Any) -> None:
        self.id = task_id
        self.message = message
        self.task = task
        self.acknowledged = False
        self.time_start: float | None = None
        self.work: Work | None = None

    def __repr__(self) -> str:
        return f"<OperationRequest {self.id}>"

    @property
    def worker_pid(self) -> int:
        """The process that does it: this one."""
        return os.getpid()

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: ARG002 - as Celery calls it
        """Return what ``inspect active`` shows."""
        headers = self.message.headers
        return {
            "id": self.id,
            "name": self.name,
            "args": headers.get("argsrepr"),
            "kwargs": headers.get("kwargsrepr"),
            "type": self.name,
            "hostname": self.message.headers.get("origin"),
            "time_start": self.time_start,
            "acknowledged": self.acknowledged,
            "delivery_info": dict(self.message.delivery_info),
            "worker_pid": self.worker_pid,
        }

    def terminate(self, pool: Any, signal: Any = None) -> None:  # noqa: ARG002 - as Celery calls it
        """End the call; the server is told, and the operation is cancelled."""
        if self.work is not None:
            self.work.terminate()

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:  # noqa: ARG002
        """End the call at a cold shutdown; the server is told, and the message goes back to its queue."""
        if self.work is not None:
            self.work.give_up()


def operations(task: Any, app: Any, consumer: Any) -> Handler:
    """Return the handler of operations' messages for this consumer."""
    fallback: Handler = default(task, app, consumer)
    host = TaskPool.host
    if host is None:
        return fallback
    runner, tell, errors = host.runner, _teller(consumer), consumer.connection_errors
    pool = consumer.pool

    def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **_: Any) -> None:
        names = None if _is_special(message.headers) else named(message.body)
        if names is None:
            fallback(message, body, ack, reject, callbacks)
            return
        request = OperationRequest(message.headers["id"], message, task)
        revoked = request.id in state.revoked
        _taken(request, consumer, tell)

        def done(outcome: Outcome | None, error: OmxError | None) -> None:
            _finished(request, outcome, error, errors, tell)

        limit = pool.limit_of(task)
        request.work = runner.submit(*names, done, revoked=revoked, limit=limit)
        for told in callbacks:
            told(request)

    return handle


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
    headers = request.message.headers
    signals.task_received.send(sender=consumer, request=request)
    shown = {"args": headers.get("argsrepr"), "kwargs": headers.get("kwargsrepr")}
    tell("task-received", request, name=request.name, retries=0, **shown)
    state.task_reserved(request)
    state.task_accepted(request)
    request.time_start = time.time()
    tell("task-started", request)


def _finished(
    request: OperationRequest,
    outcome: Outcome | None,
    error: OmxError | None,
    errors: Any,
    tell: Tell,
) -> None:
    """Settle the message, from any thread: acked, or given back when nothing could be stored."""
    state.task_ready(request, successful=error is None)
    if error is not None:
        logger.error("%s goes back to its queue: %s", request.id, error)
        request.message.reject_log_error(logger, errors, requeue=True)
        return
    request.message.ack_log_error(logger, errors)
    request.acknowledged = True
    seconds = time.time() - (request.time_start or time.time())
    if outcome is not None and outcome.state == "cancelled":
        tell("task-revoked", request, terminated=True, signum=None, expired=False)
    elif outcome is not None and outcome.error is not None:
        tell("task-failed", request, exception=outcome.error["message"], traceback=None)
    else:
        tell("task-succeeded", request, result=outcome.state if outcome else None, runtime=seconds)
