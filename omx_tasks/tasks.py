"""The bodies of the Celery tasks.

In the project's own pool an operation never gets here: it runs on the agent's loop. In Celery's other pools (prefork,
threads, solo) the task's body hands it to the runner of its process and waits until all that follows from it is stored.
``omx.run`` and ``omx.result`` are for producers that have only Celery (see `omx_tasks.ordering`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from celery import Task, shared_task

from omx_tasks.agents.back import rejection
from omx_tasks.agents.cutoff import in_doubt
from omx_tasks.agents.process import ProcessHost
from omx_tasks.agents.work import CallMade
from omx_tasks.errors import OmxError, OperationError, UnavailableError, UsageError
from omx_tasks.results.joins import Outcome


class OperationTask(Task):
    """The task ``omx.operation``: ``hosts`` is set by the composition root."""

    abstract = True
    Strategy = "omx_tasks.agents.strategy:operations"
    hosts: ClassVar[ProcessHost]


@shared_task(
    name="omx.operation",
    base=OperationTask,
    bind=True,
    ignore_result=True,
    acks_late=True,
    reject_on_worker_lost=True,
)
def operation(task: Task, run_id: str, operation_id: str) -> str:
    """Run one operation of a run and return its state."""
    again = bool((task.request.delivery_info or {}).get("redelivered"))
    ready = task.request.get("ready")
    runner = OperationTask.hosts.get().runner
    try:
        outcome = runner.run(run_id, operation_id, redelivered=again, ready=ready)
    except OmxError as error:
        raise rejection(error) from error
    return outcome.state if outcome else "nothing to do"


class OrderTask(Task):
    """The tasks for producers: ``place`` and ``answer`` are set by the composition root."""

    abstract = True
    throws = (UsageError,)
    place: ClassVar[Callable[[str, dict[str, Any]], str]]
    answer: ClassVar[Callable[[dict[str, Any]], dict[str, Any]]]


@shared_task(name="omx.run", base=OrderTask, bind=True, acks_late=True, reject_on_worker_lost=True)
def run(task: Task, **asked: Any) -> str:
    """Submit a graph and return the run's id; delivered again, it is the same run."""
    try:
        return OrderTask.place(task.request.id, asked)
    except UnavailableError as error:
        raise rejection(error) from error


@shared_task(name="omx.result", base=OrderTask, acks_late=True, reject_on_worker_lost=True)
def result(**asked: Any) -> dict[str, Any]:
    """Return how a run is."""
    return OrderTask.answer(asked)


def lost(state: str, reason: Any, note: str | None) -> Outcome:
    """Return the outcome of an operation whose body did not come to its end: it was revoked, or its process ended.

    With the ``note`` of a call that may not be made twice nobody knows whether that was carried out.
    """
    error = OperationError("lost", f"the task ended as {state}: {reason}")
    if note is None:
        return Outcome("cancelled" if state == "REVOKED" else "failed", error=error.as_json())
    call = CallMade.noted(note)
    return Outcome(
        "unknown", call.attempts, call.agent, call.began, error=in_doubt(error).as_json()
    )
