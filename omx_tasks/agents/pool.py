"""Celery's worker pool of an agent (``-P custom``, the default of ``celery -A omx_tasks worker``).

::

    consumer thread ──on_apply──► operation?  ──► loop thread (sessions, many at once) ──► courier ──► ack
                                  other task? ──► a thread of the executor ─────────────────────────► ack

Operations run as coroutines beside the live sessions; other people's tasks run on threads, as in Celery's threads
pool. The sessions are warm before `start` returns, and Celery starts its consumer after its pool: the first
message is taken by a warm agent. At a warm shutdown `close` is called before the connection to the broker is given
up, so what runs can end and be acknowledged.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, ClassVar

from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool, apply_target
from celery.exceptions import Reject

from omx_tasks.agents.host import Host
from omx_tasks.agents.runner import Work
from omx_tasks.errors import OmxError
from omx_tasks.results.joins import Outcome

logger = logging.getLogger(__name__)

OPERATION = "omx.operation"
#: Seconds that a warm shutdown waits for what is under way.
DRAIN = 60.0
#: Seconds that the end of the pool waits for what is still under way then.
LAST_CALLS = 1.0


class ApplyResult:
    """What Celery keeps of an ordinary task under way."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it ended."""
        wait([self._future], timeout)

    def terminate(self, _signal: int | None = None) -> None:
        """Keep a task from starting; a thread that runs cannot be ended."""
        self._future.cancel()


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
        self._executor: ThreadPoolExecutor | None = None
        self._futures: set[Future[Any]] = set()

    def on_start(self) -> None:
        """Warm up: when this returns, every server that can be is up."""
        self._executor = ThreadPoolExecutor(self.limit, thread_name_prefix="task")
        _, node = self.options["initargs"]
        host = TaskPool.make_host(node, self.limit)
        host.start()
        TaskPool.host = host

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Callable[[Any], None] | None = None,
        accept_callback: Callable[[int, float], None] | None = None,
        **_options: Any,
    ) -> ApplyResult | Work:
        """Start a task; ``args`` is what Celery's tracer takes: name, id, request, body, type, encoding."""
        if args and args[0] == OPERATION and self.host is not None:
            names = named(args[3])
            if names is not None:
                return self._apply_operation(self.host, names, callback, accept_callback)
        return self._apply_task(target, args, kwargs or {}, callback, accept_callback)

    def _apply_task(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        callback: Any,
        accept_callback: Any,
    ) -> ApplyResult:
        assert self._executor is not None
        future = self._executor.submit(
            apply_target, target, args, kwargs, callback, accept_callback, getpid=os.getpid
        )
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return ApplyResult(future)

    def _apply_operation(
        self, host: Host, names: tuple[str, str], callback: Any, accept_callback: Any
    ) -> Work:
        """Run an operation that came through Celery's strategy; its request holds what is returned weakly."""
        began = time.monotonic()
        if accept_callback is not None:
            accept_callback(os.getpid(), began)

        def done(outcome: Outcome | None, error: OmxError | None) -> None:
            if callback is not None:
                callback(_answer(outcome, error, time.monotonic() - began))

        return host.runner.submit(*names, done)

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Nothing to do: what can be ended is ended through its result, and its process is ours."""

    def on_close(self) -> None:
        """A warm shutdown begins: let what is under way end, while its leases and acks still work."""
        if self._futures:
            wait(list(self._futures), DRAIN)
        if self.host is not None and not self.host.runner.drain(DRAIN):
            logger.error("operations still run after %s s; they go back to their queues", DRAIN)

    def on_stop(self) -> None:
        """Close the sessions; what could end has ended in `on_close`."""
        self._end(LAST_CALLS)

    def on_terminate(self) -> None:
        """A cold shutdown: what is under way is given up and comes back by its lease."""
        self._end(0.0)

    def _end(self, drain: float) -> None:
        host, TaskPool.host = self.host, None
        if host is not None:
            host.stop(drain)
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None

    def grow(self, n: int = 1) -> None:
        """Run ``n`` more ordinary tasks at once."""
        self._resize(self.limit + n)

    def shrink(self, n: int = 1) -> None:
        """Run ``n`` fewer ordinary tasks at once; what runs is not disturbed."""
        self._resize(max(1, self.limit - n))

    def _resize(self, limit: int) -> None:
        old, self.limit = self._executor, limit
        self._executor = ThreadPoolExecutor(limit, thread_name_prefix="task")
        if old is not None:
            old.shutdown(wait=False)

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()
        info |= {
            "max-concurrency": self.limit,
            "threads": len(self._futures),
            "operations": self.host.runner.busy if self.host else 0,
        }
        return info


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
        raise Reject(str(error), requeue=True)
    except Reject:
        return True, ExceptionInfo(sys.exc_info()), seconds
