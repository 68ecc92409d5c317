"""Stock Celery as one would use it: a plain task that makes its call on the one session of its worker."""

from __future__ import annotations

from functools import cache
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_ready
from mcp import Client

from omx_tasks.bench import sleeper
from omx_tasks.bench.app import announce, configuration
from omx_tasks.bench.direct import connect
from omx_tasks.bench.ways import CALL
from omx_tasks.mcp.loop import LoopThread

loop = LoopThread("session")


@cache
def session() -> Client:
    """Return the one session of this worker; its threads share it."""
    loop.start()
    client = connect()
    loop.run(client.__aenter__())
    return client


def open_session(**_kwargs: Any) -> None:
    """Be warm before the first task, as an agent is."""
    session()


app = Celery("bench", set_as_current=False)
app.add_defaults(configuration)


def call(seconds: float, task: str) -> Any:
    """Call the tool and return the text that it gave."""
    arguments = {"seconds": seconds, "task": task}
    answer = loop.run(session().call_tool(sleeper.TOOL, arguments))
    return [content.model_dump(mode="json") for content in answer.content]


app.task(call, name=CALL)
worker_init.connect(open_session)
worker_ready.connect(announce)
