"""The fork server: imports once what an agent needs, and forks agents that share it. ``python -m workers.forkserver``.

Started by whoever keeps agents (`omx_tasks.deploy.forkserver`), which asks over standard input for one agent after the
other. Each is a whole Celery worker, the same that ``python -m workers.agent`` is; what was imported before the fork is
in memory once for all of them, and an agent is there in a few hundredths of a second. Its sessions, loop, threads and
connections are its own, made after the fork.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from importlib import import_module

from celery.app import backends, trace
from celery.apps.worker import Worker
from celery.worker.consumer import Consumer
from click import ClickException
from jsonschema import Draft202012Validator
from kombu.utils.imports import symbol_by_name

from omx_tasks import settings
from omx_tasks.agents.warming import ready
from omx_tasks.celery import app, configuration
from omx_tasks.deploy.forking import Forking
from omx_tasks.errors import OmxError
from omx_tasks.logs.begin import begin
from workers import agent
from workers.rehearsal import rehearse

#: What a worker imports only when it starts, beside the steps of which it is made.
LATER = (
    "anyio._backends._asyncio",
    "celery.app.amqp",
    "celery.app.control",
    "celery.app.events",
    "celery.app.log",
    "celery.loaders.app",
    "celery.worker.control",
    "celery.worker.loops",
    "celery.worker.pidbox",
    "celery.worker.strategy",
    "encodings.idna",
    "kombu.asynchronous.semaphore",
    "omx_tasks.agents.strategy",
)


def preload() -> None:
    """Import all that an agent needs."""
    gc.disable()
    for name in LATER:
        import_module(name)
    for step in (*Worker.Blueprint.default_steps, *Consumer.Blueprint.default_steps):
        symbol_by_name(step)


def prepare() -> None:
    """Do once what each agent would do at its beginning, and leave all that is there now to no collector.

    What only a beginning needs is then never written to in a fork, not even its count of references. Where the settings
    are wrong, nothing is prepared: an agent says that itself, in its own log.
    """
    settings.current.cache_clear()  # the log of this process has read those of another environment
    with suppress(OmxError):
        configuration()
        app.finalize()
        app.loader.init_worker()
        backends.by_url(app.conf.result_backend, app.loader)
        trace.setup_worker_optimizations(app)
        for made_once in ("Worker", "AsyncResult", "amqp", "control", "log", "tasks"):
            getattr(app, made_once)
        app.events.Receiver, app.events.Dispatcher, app.amqp.queues  # noqa: B018
        Draft202012Validator.check_schema({"type": "object"})
        ready.build()
        rehearse()
    gc.freeze()


def main() -> None:
    """Fork agents until nobody asks any more; in a fork, be the agent."""
    asks, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # what is printed goes to the log
    begin("forkserver", usual="WARNING")
    preload()
    job = Forking(asks, answers, prepare).serve()
    if job is not None:
        sys.argv = ["workers.agent", *job.arguments]
        try:
            agent.run(*job.arguments)
        except ClickException as error:  # as click itself does it
            error.show()
            sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
