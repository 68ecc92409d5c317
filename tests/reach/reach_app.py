"""A Celery app whose whole configuration comes from the environment, as JSON."""

from __future__ import annotations

import json
import os

from celery import Celery

from omx_tasks.broker.transport import register

register()
app = Celery("reach", set_as_current=False)
app.conf.update(json.loads(os.environ["REACH_CONF"]))


@app.task  # type: ignore[untyped-decorator]
def add(a: int, b: int) -> int:
    return a + b


@app.task  # type: ignore[untyped-decorator]
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task  # type: ignore[untyped-decorator]
def letters(count: int) -> str:
    return "x" * count


@app.task  # type: ignore[untyped-decorator]
def fail_with(count: int) -> None:
    raise ValueError("x" * count)
