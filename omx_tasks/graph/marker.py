"""What the message of an operation is to Celery, however large the graph is; no Celery is needed to say it."""

from __future__ import annotations

from typing import Any

OPERATION = "omx.operation"
"""The Celery task that runs one operation; its arguments are the run's and the operation's id."""

MARKER: dict[str, Any] = {
    "task": "omx.join",
    "args": [],
    "kwargs": {},
    "options": {},
    "chord_size": 0,
}
"""What each operation has as its chord: it says "count me in", the run's data say where."""


def task_id(run_id: str, operation: str) -> str:
    """Return the Celery task id, which is also the message's id, of an operation."""
    return f"{run_id}.{operation}"


def names_of(task_id: str) -> tuple[str, str]:
    """Return the run and the operation of a task id."""
    run_id, _, operation = task_id.partition(".")
    return run_id, operation


def shown(run_id: str, operation: str) -> str:
    """Return the arguments of an operation's task as operators see them."""
    return f"({run_id!r}, {operation!r})"
