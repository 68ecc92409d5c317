"""The Celery app of the ledger's workers: tasks that write down that they ran.

A process is told by its environment which settings to use (`CONFIGURATION`, JSON) and which file is the ledger.
"""

from __future__ import annotations

import json
import os
import select
from functools import cache
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_ready
from ledger_file import Ledger

from omx_tasks.broker.transport import register

CONFIGURATION, LEDGER = "LEDGER_CONFIGURATION", "LEDGER_FILE"
#: Messages are acknowledged when their task is done; a lost process does not acknowledge.
LATE = {"task_acks_late": True, "task_reject_on_worker_lost": True}
NOTE, HOLD, ECHO, NOTHING = "ledger.note", "ledger.hold", "ledger.echo", "ledger.nothing"


def configuration() -> dict[str, Any]:
    """Return the settings that this process was started with."""
    return {**json.loads(os.environ[CONFIGURATION]), **LATE}


@cache
def ledger() -> Ledger:
    """Return the ledger of this process."""
    return Ledger(Path(os.environ[LEDGER]))


def note(number: int) -> None:
    """Write down that this message was worked on."""
    ledger().note(number)


def hold(number: int, seconds: float) -> None:
    """Work on a message for a long time; write down the beginning and the end."""
    ledger().note(number, "began")
    select.select([], [], [], seconds)
    ledger().note(number, "ended")


def echo(number: int) -> int:
    """Write down that this message was worked on, and return it."""
    ledger().note(number)
    return number


def nothing() -> None:
    """Do nothing."""


def _announce(**_kwargs: Any) -> None:
    os.write(1, b"worker is ready.\n")


register()
app = Celery("ledger", set_as_current=False)
app.add_defaults(configuration)
app.task(note, name=NOTE)
app.task(hold, name=HOLD)
app.task(echo, name=ECHO)
app.task(nothing, name=NOTHING)
worker_ready.connect(_announce)
