"""Ordinary Celery tasks that tests have an agent run: ``celery -A omx_tasks worker -I agent_tasks``."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

from celery import shared_task
from celery.worker.control import control_command


@shared_task(acks_late=True)  # type: ignore[untyped-decorator]
def hold(seconds: float) -> str:
    """Nothing is awaited here: the event is never set."""
    threading.Event().wait(seconds)
    return "done"


@shared_task(acks_late=True)  # type: ignore[untyped-decorator]
def pass_gate(gate: str) -> str:
    """Wait until there is such a file."""
    pause = threading.Event()
    while not Path(gate).exists():
        pause.wait(0.01)
    return "through"


@shared_task(acks_late=True)  # type: ignore[untyped-decorator]
def touch(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("touched\n")


@shared_task(acks_late=True, reject_on_worker_lost=True)  # type: ignore[untyped-decorator]
def die(path: str) -> None:
    """End the process as a crash would, after a line that says so."""
    touch(path)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(acks_late=True)  # type: ignore[untyped-decorator]
def note_and_pass(path: str, gate: str) -> str:
    """Write down that it runs, then wait until there is a file ``gate``."""
    touch(path)
    return str(pass_gate(gate))


@control_command()  # type: ignore[untyped-decorator]
def lose_connection(state: Any) -> dict[str, str]:
    """Have the worker's event loop meet an error of its connection to the broker."""

    def lose() -> None:
        raise ConnectionError("the connection is lost, as asked")

    state.consumer.call_soon(lose)
    return {"ok": "it will be lost"}
