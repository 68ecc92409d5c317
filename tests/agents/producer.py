"""A producer that has Celery and the transport, and nothing else of the project: it cannot import the rest.

Reads one JSON object from standard input, ``{"task", "kwargs", "id"}``, sends it as a task, and prints what came of it.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.abc import MetaPathFinder
from typing import Any

ABSENT = ("mcp", "omx_tasks.mcp", "omx_tasks.agents", "omx_tasks.runs", "omx_tasks.cli")
ABSENT += ("omx_tasks.api", "omx_tasks.celery", "omx_tasks.tasks", "omx_tasks.events")


class Absent(MetaPathFinder):
    """Finds that what a producer is not to need is not there."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name.startswith(ABSENT):
            raise ModuleNotFoundError(f"a producer has no {name}")


def main() -> None:
    sys.meta_path.insert(0, Absent())
    from celery import Celery

    import omx_tasks.broker.transport  # noqa: F401

    url = os.environ["OMX_BROKER_URL"]
    app = Celery("producer", broker=url, backend=url, set_as_current=False)
    asked = json.load(sys.stdin)
    sent = app.send_task(asked["task"], kwargs=asked["kwargs"], task_id=asked.get("id"))
    try:
        answer: Any = {"result": sent.get(timeout=60)}
    except Exception as error:  # whatever it is, it is what a producer sees
        answer = {"error": type(error).__name__, "message": str(error)}
    assert not any(name.startswith(ABSENT) for name in sys.modules)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
