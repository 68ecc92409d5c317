"""What Celery's result API tells of an operation: its outcome is the run's, and no result of a task is stored for it.

Flower's ``/api/task/result`` and ``AsyncResult(…).state`` ask by the id of the operation's task::

    waiting ─► PENDING    running ─► STARTED    succeeded ─► SUCCESS
    failed, unknown ─► FAILURE                  skipped, cancelled ─► REVOKED
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from celery import states

from omx_tasks.graph.marker import names_of
from omx_tasks.results import outputs
from omx_tasks.store import keys
from omx_tasks.store.client import Store

_STATES = {
    "running": states.STARTED,
    "succeeded": states.SUCCESS,
    "failed": states.FAILURE,
    "unknown": states.FAILURE,
    "skipped": states.REVOKED,
    "cancelled": states.REVOKED,
}


def meta(store: Store, task_id: str) -> dict[str, Any] | None:
    """Return the meta data of an operation's task as a backend stores them; None where it is none, or waits."""
    run_id, operation = names_of(task_id)
    name = operation.partition(":")[0]  # what follows is how often the run was resumed
    if not name:
        return None
    run, told = keys.run(run_id), [keys.states(run_id), keys.records(run_id), keys.outputs(run_id)]
    of_run, *found = store.commands(
        [(run, ("HGET", run, "state")), *((key, ("HGET", key, name)) for key in told)]
    )
    state, record, output = found
    if state is None:
        state = b"cancelled" if of_run == b"cancelled" else b""
    status = _STATES.get(state.decode())
    if status is None:
        return None
    about = json.loads(record) if record else {}
    finished = about.get("finished")
    return {
        "status": status,
        "result": _result(status, about.get("error"), output),
        "traceback": None,
        "children": [],
        "date_done": finished and datetime.fromtimestamp(finished, UTC).isoformat(),
        "task_id": task_id,
        "worker": about.get("agent"),
    }


def _result(status: str, error: dict[str, str] | None, output: bytes | None) -> Any:
    """Return an operation's value, or its error in the form in which Celery stores one."""
    if status == states.REVOKED:
        return _exception("celery.exceptions", "TaskRevokedError", "skipped or cancelled")
    if status == states.FAILURE:
        words = (error or {}).get("kind", ""), (error or {}).get("message", "")
        return _exception("omx_tasks.errors", "OperationError", *words)
    return outputs.parsed(output) if output else None


def _exception(module: str, name: str, *words: str) -> dict[str, Any]:
    return {"exc_module": module, "exc_type": name, "exc_message": words}
