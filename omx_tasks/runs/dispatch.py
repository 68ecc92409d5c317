"""Puts ready operations into their queues: the messages, and nothing that grows with the graph.

A message is an ordinary Celery message (protocol 2) for the task ``omx.operation`` with two arguments, the run's id
and the operation's. It is written from a template, since signing each one through Celery costs ten times as much.
Its id is made from the run, the operation and nothing else, so that publishing twice stores once.
"""

from __future__ import annotations

import json
import os
import socket
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.broker.routing import queue_of
from omx_tasks.graph.stored import StoredPlan, StoredStep
from omx_tasks.priorities import Priority
from omx_tasks.results.backend import MARKER
from omx_tasks.store.scripts import Call

TASK = "omx.operation"
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": MARKER}
_MOST = 500


def publish_ready(run_id: str, plan: StoredPlan, operations: Iterable[str]) -> list[Call]:
    """Make the calls that publish these operations: one script for up to 500 messages of a queue."""
    by_queue: dict[str, list[Posting]] = defaultdict(list)
    origin = f"{os.getpid()}@{socket.gethostname()}"
    for operation in operations:
        step = plan.step(operation)
        queue = queue_of(step.capabilities)
        by_queue[queue].append(_posting(run_id, operation, step, queue, origin))
    return [
        queues.publish(queue, postings[first : first + _MOST])
        for queue, postings in by_queue.items()
        for first in range(0, len(postings), _MOST)
    ]


def task_id(run_id: str, operation: str) -> str:
    """Return the Celery task id, which is also the message's id, of an operation."""
    return f"{run_id}.{operation}"


def _posting(run_id: str, operation: str, step: StoredStep, queue: str, origin: str) -> Posting:
    message = _message(run_id, operation, step, queue, origin)
    return Posting(
        message["properties"]["delivery_tag"],
        json.dumps(message),
        Priority(step.priority),
        step.rank,
    )


def _message(
    run_id: str, operation: str, step: StoredStep, queue: str, origin: str
) -> dict[str, Any]:
    name = task_id(run_id, operation)
    return {
        "body": json.dumps([[run_id, operation], {}, _EMBED]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": TASK,
            "id": name,
            "root_id": name,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "timelimit": [None, None],
            "eta": None,
            "expires": None,
            "ignore_result": True,
            "argsrepr": f"({run_id!r}, {operation!r})",
            "kwargsrepr": f"{{{step.server}: {step.target}}}",
            "origin": origin,
        },
        "properties": {
            "correlation_id": name,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": step.priority,
            "body_encoding": None,
            "delivery_tag": name,
        },
    }
