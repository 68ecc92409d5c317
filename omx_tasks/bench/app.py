"""The Celery app that is measured: plain Celery with one task that does nothing but count itself.

Workers are told by the environment which broker to use (`CONFIGURATION`, Celery settings as JSON) and where to
count (`TALLY`, a file); the bench makes its own apps with `make_app`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_ready

from omx_tasks.bench.tally import Tally
from omx_tasks.broker.transport import register

CONFIGURATION, TALLY = "BENCH_CONFIGURATION", "BENCH_TALLY"
#: Tells an agent not to write the state of runs (`agent`).
STATELESS = "BENCH_STATELESS"
NOTHING, LATE = "bench.nothing", "bench.late"
#: What a worker writes to its log when it consumes.
READY = b"worker is ready.\n"


def configuration() -> dict[str, Any]:
    """Return the settings that this process was started with."""
    settings: dict[str, Any] = json.loads(os.environ[CONFIGURATION])
    return settings


@cache
def tally() -> Tally:
    """Return the tally of this process."""
    return Tally(Path(os.environ[TALLY]))


def nothing() -> None:
    """Count that this task ran."""
    tally().add()


def late(sent: float) -> None:
    """Note how long after it was sent (Unix seconds) this task ran."""
    with lateness(tally().path).open("a") as file:
        file.write(f"{time.time() - sent}\n")
    tally().add()


def lateness(tally: Path) -> Path:
    """Return the file in which tasks note how late they ran, a line each, beside that of the tally."""
    return tally.with_suffix(".late")


def make_app(settings: Mapping[str, Any]) -> Celery:
    """Return an app of its own for a process that publishes; its tasks are ``app.tasks[NOTHING]`` and ``LATE``."""
    app = Celery("bench", set_as_current=False)
    app.conf.update(settings)
    app.task(nothing, name=NOTHING)
    app.task(late, name=LATE)
    app.finalize()
    return app


def announce(**_kwargs: Any) -> None:
    """Say that this worker consumes."""
    os.write(1, READY)


register()
app = Celery("bench", set_as_current=False)
app.add_defaults(configuration)
app.task(nothing, name=NOTHING)
app.task(late, name=LATE)
worker_ready.connect(announce)
