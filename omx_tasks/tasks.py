"""The bodies of the Celery tasks.

In the project's own pool an operation never gets here: it runs on the agent's loop. In Celery's other pools (prefork,
threads, solo) the task's body runs it on a loop of the process's own, and the result backend finishes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore

from omx_tasks.agents.host import Host
from omx_tasks.results.joins import Outcome

_makers: list[Callable[[], Host]] = []
_local: dict[str, Host] = {}
_lock = threading.Lock()


@shared_task(name="omx.operation", ignore_result=True, acks_late=True, reject_on_worker_lost=True)
def operation(run_id: str, operation_id: str) -> Outcome:
    """Run one operation of a run; what it returns is written by `omx_tasks.celery.part_returned`."""
    host = _host()
    outcome = host.loop.run(host.runner.perform(run_id, operation_id))
    if outcome is None:
        raise Ignore()
    return outcome


def _host() -> Host:
    with _lock:
        if "host" not in _local:
            _local["host"] = _makers[-1]()
        return _local["host"]


def make_hosts_with(maker: Callable[[], Host]) -> None:
    """Say how a process of one of Celery's own pools makes and starts its host."""
    _makers.append(maker)


def forget_host(**_: Any) -> None:
    """After a fork: the parent's loop and sessions are not ours."""
    _local.clear()


def lost(state: str, reason: Any) -> Outcome:
    """Return the outcome of an operation whose body returned none: it was revoked, or its worker died."""
    error = {"kind": "lost", "message": f"the task ended as {state}: {reason}"}
    return Outcome("cancelled" if state == "REVOKED" else "unknown", error=error)
