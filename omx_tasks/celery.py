"""The composition root: ``celery -A omx_tasks worker|flower|inspect`` finds the app here.

Importing this module reads no environment and opens nothing: Celery asks for the configuration when it is first
needed, and an agent's parts are made when its pool starts. What the layers below must not import from each
other is handed to them here: the runs' ``advance`` to the agents and to the result backend.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path
from typing import IO, Any

import click
from celery import Celery, states
from celery.concurrency import prefork
from celery.signals import (
    import_modules,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_shutdown,
)
from click.core import ParameterSource

from omx_tasks import settings, tasks
from omx_tasks.agents import profile, readiness
from omx_tasks.agents.capabilities import Capabilities
from omx_tasks.agents.host import Host
from omx_tasks.agents.pool import USAGE, TaskPool
from omx_tasks.agents.process import ProcessHost
from omx_tasks.agents.queues import CapabilityQueues, Listening
from omx_tasks.broker.transport import register
from omx_tasks.errors import ConfigurationError, OmxError
from omx_tasks.events.bus import Bus, Draft
from omx_tasks.graph.marker import OPERATION, names_of
from omx_tasks.logs import begin, of_celery
from omx_tasks.logs.formats import line_of
from omx_tasks.mcp import config as server_files
from omx_tasks.mcp.config import ServerFile
from omx_tasks.priorities import Priority
from omx_tasks.results import joins
from omx_tasks.results.backend import Backend
from omx_tasks.results.joins import Outcome
from omx_tasks.runs.advance import finish_and_advance, plans
from omx_tasks.runs.dispatch import publish_ready
from omx_tasks.store.client import Store
from omx_tasks.store.in_use import broker_url, make_store

logger = logging.getLogger(__name__)

OWN_POOL = "omx_tasks.agents.pool:TaskPool"


class _RefusedError(ConfigurationError, click.ClickException):
    """A mistake that Celery's own commands show as one message instead of a traceback."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Say it in the format of the log, which has not begun yet."""
        if begin.is_json():
            click.echo(line_of(of_celery.PROCESS, "CRITICAL", self.message), err=True)
        else:
            super().show(file)


def _configuration() -> dict[str, Any]:
    try:
        return configuration()
    except OmxError as error:
        raise _RefusedError(str(error)) from error


def configuration() -> dict[str, Any]:
    """Return Celery's configuration, from the settings."""
    given = settings.current()
    url = broker_url()
    return {
        "broker_url": url,
        "result_backend": given.result_url or url,
        "broker_transport_options": {
            "lease": round(given.lease * 1000),
            "most_deliveries": given.most_deliveries,
            "most_losses": given.most_losses,
            "aging": round(given.aging * 1000),
            "batch": given.batch,
            "partitions": given.partitions,
            "priorities": [int(priority) for priority in profile.priorities_of(given)],
            "timeout": given.request_timeout,
            **given.promise.options(),
        },
        "result_backend_transport_options": {
            "timeout": given.request_timeout,
            **given.promise.options(),
        },
        "broker_connection_retry_on_startup": True,
        "result_expires": given.result_expires,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_default_priority": int(Priority.P2),
        # A worker of the user's choice (`-P`) has Celery's defaults: as many processes as there are processors.
        "worker_pool": "prefork" if _pool_was_asked_for() else OWN_POOL,
        "worker_concurrency": None if _pool_was_asked_for() else profile.slots_of(given),
        "worker_prefetch_multiplier": 1,
        "worker_proc_alive_timeout": given.server_start_timeout + 10.0,
    }


def _pool_was_asked_for() -> bool:
    """Whether a pool was named on the command line that is being read: Celery takes ``-P prefork`` for none."""
    context = click.get_current_context(silent=True)
    asked = None if context is None else context.get_parameter_source("pool")
    return asked is ParameterSource.COMMANDLINE


@cache
def shared_store() -> Store:
    """Return the one client of this process, for calls that wait."""
    return make_store()


@cache
def agent_bus() -> Bus:
    """Return what agents publish events with: it never waits, and says when there is no room."""
    return Bus.configured(settings.current(), make_store, timeout=0.0)


def server_file() -> ServerFile:
    """Read the agent's own file: what it says may be launched, and nothing else."""
    return server_files.load(server_files.find(settings.current().mcp_config, Path.cwd()))


def make_host(node: str, slots: int) -> Host:
    """Make an agent's parts from the settings and the server file."""
    return Host(
        name=node,
        slots=slots,
        store=make_store(),
        servers=server_file(),
        settings=settings.current(),
        advance=publish_ready,
        environ=os.environ,
        publisher=agent_bus(),
    )


# --- producers that have only Celery ------------------------------------------------------------------


def place(order_id: str, asked: dict[str, Any]) -> str:
    """Submit what a producer ordered."""
    from omx_tasks import ordering  # most workers never need it

    return ordering.place(shared_store(), order_id, asked)


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Say how a run is."""
    from omx_tasks import ordering  # as above

    return ordering.answer(shared_store(), asked)


# --- Celery's own pools -----------------------------------------------------------------------------

hosts = ProcessHost(make_host)


def make_listening(consumer: Any) -> Listening:
    """Make what a worker with one of Celery's own pools listens with; threads and solo are warm after it."""
    if not isinstance(consumer.pool, prefork.TaskPool):
        hosts.get(consumer.hostname, consumer.pool.num_processes)
    # Not the host's name: what only listens is in no list of agents.
    name = f"{consumer.hostname} listening"
    offered = profile.of_settings(settings.current(), server_file())
    return Listening(make_store(), name, Capabilities(offered.servers, offered.words))


def modules_imported(**_: Any) -> None:
    """A program of Celery's begins: Flower, which works with the current app, is taught what a cluster is."""
    context = click.get_current_context(silent=True)
    if context is not None and context.info_name == "flower":
        from omx_tasks.monitoring import flower

        begin.begin("flower")
        app.set_current()
        flower.install(broker_url)


def worker_begins(sender: Any, **_: Any) -> None:
    """A worker begins: answer probes, where it has a port for them."""
    given = settings.current()
    if not given.health_port:
        return
    from omx_tasks.monitoring.endpoint import Endpoint

    try:
        Endpoint(given.metrics_host, given.health_port, lambda: readiness.check(sender)).start()
    except ConfigurationError as error:
        logger.critical("%s (OMX_HEALTH_PORT)", error)
        raise SystemExit(USAGE) from error


def process_started(sender: str | None = None, **_: Any) -> None:
    """A process that runs tasks begins (prefork: after its fork): warm it."""
    hosts.get(f"{os.getpid()}.{sender}" if sender else "")


def process_ended(**_: Any) -> None:
    """A process that ran tasks ends."""
    hosts.stop()


def part_returned(request: Any, state: str, result: Any) -> None:
    """Write the outcome of an operation whose task did not come to its end; never raises.

    One that did has written its outcome itself.
    """
    if state == states.SUCCESS:
        return
    try:
        run_id, operation = request.args
        store = shared_store()
        plan = plans(store)(run_id)
        note = store.run(joins.read_note(run_id, operation))
        outcome = tasks.lost(state, result, note.decode() if note else None)
        over = finish_and_advance(store, run_id, operation, plan, outcome)
        agent_bus().publish_many(events_of(run_id, operation, plan.name, outcome, over))
    except Exception:  # Celery would take an error of this hook for one of the task's
        logger.exception("the end of task %s as %s could not be written", request.id, state)


def events_of(
    run_id: str, operation: str, name: str, outcome: Outcome, over: str | None
) -> list[Draft]:
    """Return the events that tell of an outcome, and of the run's end if it was that."""
    said = {"run": run_id, "operation": operation, "error": outcome.error}
    drafts = [Draft(f"operation.{outcome.state}", said, key=run_id)]
    if over is not None:
        drafts.append(Draft(f"run.{over}", {"run": run_id, "name": name}, key=run_id))
    return drafts


register()
of_celery.connect({OPERATION: names_of})
app = Celery("omx_tasks", set_as_current=False)
app.add_defaults(_configuration)
app.steps["consumer"].add(CapabilityQueues)
TaskPool.make_host = make_host
CapabilityQueues.make_listening = make_listening
tasks.OperationTask.hosts = hosts
tasks.OrderTask.place = staticmethod(place)
tasks.OrderTask.answer = staticmethod(answer)
Backend.part_returned = staticmethod(part_returned)
import_modules.connect(modules_imported, sender=app)
worker_init.connect(worker_begins)
worker_process_init.connect(process_started)
worker_process_shutdown.connect(process_ended)
worker_shutdown.connect(process_ended)
