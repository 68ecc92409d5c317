"""Whether a worker can be given work: it is warm, its broker answers it, and it was not told to stop."""

from __future__ import annotations

from typing import Any

from celery.worker import state

from omx_tasks.agents.pool import TaskPool
from omx_tasks.errors import UnavailableError

#: Seconds after which a queue that was not answered means that the worker does not consume.
SILENT = 30.0


def check(worker: Any) -> None:
    """Raise `UnavailableError` with the reason where Celery's ``worker`` is not ready (from any thread)."""
    if _is_set(state.should_stop) or _is_set(state.should_terminate):
        raise UnavailableError("it is stopping: what is under way ends first")
    consumer = getattr(worker, "consumer", None)
    if consumer is None or getattr(consumer, "task_consumer", None) is None:
        raise UnavailableError("it does not consume yet")
    silence = None if TaskPool.host is None else TaskPool.host.liveness.silence
    if silence is not None and silence > SILENT:
        raise UnavailableError(f"a queue has not answered for {silence:.0f} s")


def _is_set(exit_code: int | bool | None) -> bool:
    """Whether Celery was told to stop: with an exit code, which may be 0."""
    return exit_code is not None and exit_code is not False
