"""Celery's worker pool of an agent (``-P custom``, the default of ``celery -A omx_tasks worker``).

::

    consumer thread ──on_apply──► operation?  ──► loop thread (sessions, many at once) ──► courier ──► ack
                                  other task? ──► a thread ──────────────────────────────────────────► ack

Operations run as coroutines beside the live sessions; other people's tasks run on threads, as in Celery's threads
pool. The sessions are warm before `start` returns, and Celery starts its consumer after its pool: the first
message is taken by a warm agent. At a warm shutdown `close` is called before the connection to the broker is given
up, so what runs can end and be acknowledged.

What can be ended early: an operation is revoked or given up, or meets its time limit (the shorter of the soft and
the hard one: nothing in it could clean up in between), and its server is told each time. A thread cannot be ended:
a task that was revoked before it began is not begun, one that runs goes on to its end, and has no time limits.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool, apply_target
from celery.exceptions import Reject
from celery.worker import state

from omx_tasks.agents import collector
from omx_tasks.agents.back import rejection
from omx_tasks.agents.host import Host
from omx_tasks.agents.threads import Threads
from omx_tasks.agents.work import Work
from omx_tasks.errors import OmxError, UsageError
from omx_tasks.results.joins import Outcome

logger = logging.getLogger(__name__)

OPERATION = "omx.operation"
#: The exit code of a worker whose server file or template is wrong.
USAGE = 2
#: Seconds that a warm shutdown waits for what is under way.
DRAIN = 60.0
#: Seconds between two looks whether the shutdown became a cold one meanwhile.
MOMENT = 0.1
#: Seconds that the end of the pool waits for what is still under way then.
LAST_CALLS = 1.0
NO_LIMITS = (
    "time limits end operations; other tasks run on threads here, which cannot be ended: they run without limits "
    "(`-P prefork` has them)"
)


class Handle:
    """What Celery's request may do with an operation under way; it is held by whoever works on it."""

    def __init__(self, task_id: str) -> None:
        self.work: Work | None = None
        self._task_id = task_id

    def terminate(self, _signal: int | None = None) -> None:
        """Cancel an operation that was revoked; give one up that a cold shutdown ends."""
        if self.work is None:
            return
        if self._task_id in state.revoked:
            self.work.terminate()
        else:
            self.work.give_up()


class TaskPool(BasePool):
    """Runs operations on the host's loop and everything else on threads."""

    body_can_be_buffer = True
    signal_safe = False
    task_join_will_block = False
    limit: int

    #: Makes the host of this process from the node's name and its slots; set by the composition root.
    make_host: ClassVar[Callable[[str, int], Host]]
    #: The host of this process, once started: the consumer's bootstep asks it for its queues.
    host: ClassVar[Host | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._threads = Threads(self.limit)
        self._handles: set[Handle] = set()
        self._warned = False

    def on_start(self) -> None:
        """Warm up: when this returns, every server that can be is up; end the worker where its settings are wrong."""
        if self._limits(None, None):
            self._warn_of_limits()
        _, node = self.options["initargs"]
        try:
            host = TaskPool.make_host(node, self.limit)
        except UsageError as error:
            logger.critical("%s", error)
            raise SystemExit(USAGE) from error
        host.tenure.end = _end_in_good_order
        host.start()
        collector.settle()
        TaskPool.host = host

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Callable[[Any], None] | None = None,
        accept_callback: Callable[[int, float], None] | None = None,
        timeout: float | None = None,
        soft_timeout: float | None = None,
        **_options: Any,
    ) -> Handle | None:
        """Start a task; ``args`` is what Celery's tracer takes: name, id, request, body, type, encoding."""
        limits = self._limits(timeout, soft_timeout)
        if args and args[0] == OPERATION and self.host is not None:
            names = named(args[3])
            if names is not None:
                limit, again = min(limits, default=None), bool(args[2].get("redelivered"))
                return self._apply_operation(
                    args[1], names, limit, again, callback, accept_callback
                )
        if limits:
            self._warn_of_limits()
        self._threads.submit(
            lambda: _run_task(target, args, kwargs or {}, callback, accept_callback)
        )
        return None

    def limit_of(self, task: Any) -> float | None:
        """Return how many seconds an operation may take whose message has no limits of its own."""
        return min(self._limits(task.time_limit, task.soft_time_limit), default=None)

    def _limits(self, hard: float | None, soft: float | None) -> list[float]:
        """Return the time limits that hold: a task's own, else those that the worker was started with."""
        own = (hard or self.options.get("timeout"), soft or self.options.get("soft_timeout"))
        return [limit for limit in own if limit]

    def _warn_of_limits(self) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(NO_LIMITS)

    def _apply_operation(
        self,
        task_id: str,
        names: tuple[str, str],
        limit: float | None,
        redelivered: bool,
        callback: Any,
        accept_callback: Any,
    ) -> Handle:
        """Run an operation that came through Celery's strategy; its request holds what is returned weakly."""
        assert self.host is not None
        began, handle = time.monotonic(), Handle(task_id)
        if accept_callback is not None:
            accept_callback(os.getpid(), began)

        def done(outcome: Outcome | None, error: OmxError | None) -> None:
            self._handles.discard(handle)
            if callback is not None:
                callback(_answer(outcome, error, time.monotonic() - began))

        self._handles.add(handle)
        handle.work = self.host.runner.submit(*names, done, redelivered=redelivered, limit=limit)
        return handle

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Nothing to do: what can be ended is ended through its handle, and its process is ours."""

    def on_close(self) -> None:
        """A warm shutdown begins: let what is under way end, while its leases and acks still work.

        Tasks that still wait for a thread are not begun any more: they go back to their queues with the channel.
        """
        self._threads.stop()
        if not self._rests():
            logger.info("what is under way ends first: %s", self._get_info())
        end = time.monotonic() + DRAIN
        while not self._rests() and state.should_terminate in (None, False):
            if time.monotonic() >= end:
                logger.error("tasks still run after %s s; they go back to their queues", DRAIN)
                break

    def _rests(self) -> bool:
        """Wait a moment for what is under way; True when nothing is."""
        return self._threads.drain(MOMENT) and (self.host is None or self.host.runner.drain(MOMENT))

    def on_stop(self) -> None:
        """Close the sessions; what could end has ended in `on_close`."""
        self._end(LAST_CALLS)

    def on_terminate(self) -> None:
        """A cold shutdown: what is under way is given up and goes back to its queue."""
        self._end(0.0)

    def _end(self, drain: float) -> None:
        self._threads.stop()
        host, TaskPool.host = self.host, None
        if host is not None:
            host.stop(drain)

    def grow(self, n: int = 1) -> None:
        """Run ``n`` more operations, and ``n`` more ordinary tasks, at once."""
        self._resize(self.limit + n)

    def shrink(self, n: int = 1) -> None:
        """Run ``n`` fewer operations and ordinary tasks at once; what runs is not disturbed."""
        self._resize(max(1, self.limit - n))

    def _resize(self, limit: int) -> None:
        self.limit = limit
        self._threads.resize(limit)
        if self.host is not None:
            self.host.resize(limit)

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()
        info |= {
            "threads": self._threads.busy,
            "operations": self.host.runner.busy if self.host else 0,
        }
        return info


def _end_in_good_order() -> None:
    """Begin a warm shutdown of this worker."""
    os.kill(os.getpid(), signal.SIGTERM)


def _run_task(
    target: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    callback: Any,
    accept_callback: Any,
) -> None:
    """Run an ordinary task on this thread, unless it was revoked while it waited for one."""
    request = state.requests.get(args[1]) if args else None
    if request is not None and request.revoked():
        return
    began = time.monotonic()
    try:
        apply_target(target, args, kwargs, callback, accept_callback, getpid=os.getpid)
    except Exception as error:  # nobody else would answer for the message
        logger.exception("task %s could not be traced", args[1] if args else target)
        lost = OmxError(f"internal error: {error}")
        callback(_answer(None, lost, time.monotonic() - began))


def named(body: str | bytes) -> tuple[str, str] | None:
    """Return the run and the operation that a message names; None where it is malformed."""
    try:
        run_id, operation = json.loads(bytes(body) if isinstance(body, memoryview) else body)[0]
    except (ValueError, TypeError, LookupError):
        return None
    return (run_id, operation) if isinstance(run_id, str) and isinstance(operation, str) else None


def _answer(
    outcome: Outcome | None, error: OmxError | None, seconds: float
) -> tuple[Any, Any, float]:
    """Return what Celery's request takes: (failed, value, seconds). An outcome that was not stored is rejected."""
    if error is None:
        return False, outcome.state if outcome else "nothing to do", seconds
    try:
        raise rejection(error)
    except Reject:
        return True, ExceptionInfo(sys.exc_info()), seconds
