"""The Celery app of the worker tests; its addresses come from the environment."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from celery import Celery

from omx_tasks.broker.transport import register

register()
URL, QUEUE = os.environ.get("SAMPLE_URL", ""), os.environ.get("SAMPLE_QUEUE", "sample")
app = Celery("sample", broker=URL, backend=URL, set_as_current=False)
app.conf.update(
    task_default_queue=QUEUE,
    broker_transport_options={"lease": 1500},
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=4,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
)


@app.task  # type: ignore[untyped-decorator]
def add(a: int, b: int) -> int:
    return a + b


@app.task  # type: ignore[untyped-decorator]
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(bind=True, max_retries=2)  # type: ignore[untyped-decorator]
def third_time(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0.05)
    return int(self.request.retries)


@app.task  # type: ignore[untyped-decorator]
def fail() -> None:
    raise ValueError("as asked")


@app.task  # type: ignore[untyped-decorator]
def long(seconds: float) -> str:
    """Nothing is awaited here: the event is never set."""
    threading.Event().wait(seconds)
    return "done"


@app.task(bind=True)  # type: ignore[untyped-decorator]
def whole(self: Any) -> bool:
    """Say whether this is the first delivery."""
    return not self.request.delivery_info["redelivered"]


@app.task(acks_late=False)  # type: ignore[untyped-decorator]
def early(number: int) -> int:
    """Be acknowledged before it runs."""
    return number


@app.task(acks_late=False)  # type: ignore[untyped-decorator]
def die() -> None:
    """Take the process along."""
    os.kill(os.getpid(), signal.SIGKILL)
