"""Puts ready operations into their queues: the messages, and nothing that grows with the graph.

A message is an ordinary Celery message (protocol 2) for the task ``omx.operation`` with two arguments, the run's id
and the operation's. It is filled into a form, since signing each one through Celery costs ten times as much.
Its id is made from the run, the operation (which carries the run's generation) and nothing else, so that publishing
twice stores once, and what is resumed is no repetition. Its header ``ready`` says since when it waits (Unix
seconds).
"""

from __future__ import annotations

import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from omx_tasks.broker import queues
from omx_tasks.broker.form import Form, blank, quoted
from omx_tasks.broker.partitions import partition_of
from omx_tasks.broker.queues import Posting
from omx_tasks.broker.routing import queue_of
from omx_tasks.graph.marker import MARKER, OPERATION, shown, task_id
from omx_tasks.graph.stored import StoredPlan, StoredStep
from omx_tasks.priorities import Priority
from omx_tasks.store.scripts import Call

_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": MARKER}
_MOST = 500


def publish_ready(run_id: str, plan: StoredPlan, operations: Iterable[str]) -> list[Call]:
    """Make the calls that publish these operations: one script for up to 500 messages of a queue, or partition."""
    by_queue: dict[str, list[Posting]] = defaultdict(list)
    for operation in operations:
        queue, posting = message_of(run_id, plan, operation)
        by_queue[queue].append(posting)
    return [
        queues.publish(queue, postings[first : first + _MOST])
        for queue, postings in by_queue.items()
        for first in range(0, len(postings), _MOST)
    ]


def message_of(run_id: str, plan: StoredPlan, operation: str) -> tuple[str, Posting]:
    """Return the partition of the queue of an operation, and its message."""
    step = plan.step(operation)
    queue = quoted(queue_of(step.capabilities))
    posting = _posting(run_id, operation, step, queue, _origin(os.getpid()))
    return place_of(run_id, plan, operation), posting


def place_of(run_id: str, plan: StoredPlan, operation: str) -> str:
    """Return the partition of its queue that an operation's message goes to."""
    queue = queue_of(plan.step(operation).capabilities)
    return partition_of(queue, task_id(run_id, operation), plan.partitions)


@cache
def _origin(process: int) -> str:
    return quoted(f"{process}@{socket.gethostname()}")


def _posting(run_id: str, operation: str, step: StoredStep, queue: str, origin: str) -> Posting:
    name = task_id(run_id, operation)
    values = {
        "name": quoted(name),
        "body": quoted(_BODY.filled({"run": quoted(run_id), "operation": quoted(operation)})),
        "args": quoted(shown(run_id, operation)),
        "kwargs": quoted(step.shown),
        "origin": origin,
        "ready": f"{time.time():.6f}",
        "queue": queue,
        "priority": str(step.priority),
    }
    return Posting(name, _MESSAGE.filled(values), Priority(step.priority), step.rank)


_BODY = Form([[blank("run"), blank("operation")], {}, _EMBED])
_MESSAGE = Form(
    {
        "body": blank("body"),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": OPERATION,
            "id": blank("name"),
            "root_id": blank("name"),
            "parent_id": None,
            "group": None,
            "retries": 0,
            "timelimit": [None, None],
            "eta": None,
            "expires": None,
            "ignore_result": True,
            "argsrepr": blank("args"),
            "kwargsrepr": blank("kwargs"),
            "origin": blank("origin"),
            "ready": blank("ready"),
        },
        "properties": {
            "correlation_id": blank("name"),
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": blank("queue")},
            "priority": blank("priority"),
            "body_encoding": None,
            "delivery_tag": blank("name"),
        },
    }
)
