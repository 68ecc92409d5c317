"""An operation under way, as Celery's worker state and remote control see it."""

from __future__ import annotations

import os
from typing import Any

from omx_tasks.agents.work import Work


class OperationRequest:
    """Stands for one operation: what ``inspect active``, revoke and the counts need of it."""

    __slots__ = (
        "__weakref__", "acknowledged", "args", "following", "id", "kwargs", "message", "task",
        "time_start", "work",
    )  # fmt: skip

    name = type = "omx.operation"

    def __init__(self, task_id: str, message: Any, task: Any, args: str, kwargs: str) -> None:
        self.id = task_id
        #: The message that stands for it; of those that follow each other without one, the first one's.
        self.message = message
        #: What has taken the message over.
        self.following: OperationRequest | None = None
        self.args = args
        self.kwargs = kwargs
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
        return {
            "id": self.id,
            "name": self.name,
            "args": self.args,
            "kwargs": self.kwargs,
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
