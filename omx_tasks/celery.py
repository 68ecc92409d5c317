"""The composition root: ``celery -A omx_tasks worker|flower|inspect`` finds the app here.

Importing this module reads no environment and opens nothing: Celery asks for the configuration when it is first
needed, and an agent's parts are made when its pool starts. What the layers below must not import from each
other is handed to them here: the runs' ``advance`` to the agents and to the result backend.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_process_init

from omx_tasks import settings, tasks
from omx_tasks.agents.host import Host
from omx_tasks.agents.pool import TaskPool
from omx_tasks.agents.queues import CapabilityQueues
from omx_tasks.broker.transport import register
from omx_tasks.errors import ConfigurationError
from omx_tasks.home import Home
from omx_tasks.mcp import config as server_files
from omx_tasks.priorities import Priority
from omx_tasks.results.backend import Backend
from omx_tasks.results.joins import Outcome
from omx_tasks.runs.advance import finish_and_advance, plans
from omx_tasks.runs.dispatch import publish_ready
from omx_tasks.store.client import Store

NO_BROKER = (
    "no broker: start a system on this machine with `omx up --detach`, or name a cluster in OMX_BROKER_URL "
    "(rediscluster://host:port[,host:port…])"
)


def broker_url() -> str:
    """Return the cluster to use: the one configured, else the one that is up on this machine."""
    if url := settings.current().broker_url:
        return url
    system = Home.of(os.environ).read()
    if system is None:
        raise ConfigurationError(NO_BROKER)
    return system.broker_url


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
            "timeout": given.request_timeout,
        },
        "broker_connection_retry_on_startup": True,
        "result_expires": given.result_expires,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_default_priority": int(Priority.P2),
        "worker_pool": "omx_tasks.agents.pool:TaskPool",
        "worker_concurrency": given.slots,
        "worker_prefetch_multiplier": 1,
    }


def make_store() -> Store:
    """Return a client of the cluster in use."""
    return Store(broker_url(), timeout=settings.current().request_timeout)


def make_host(node: str, slots: int) -> Host:
    """Make an agent's parts from the settings and the server file."""
    given = settings.current()
    path = server_files.find(given.mcp_config, Path.cwd())
    return Host(
        name=node,
        slots=slots,
        store=make_store(),
        servers=server_files.load(path),
        settings=given,
        advance=publish_ready,
        environ=os.environ,
    )


def start_host() -> Host:
    """Make and start the parts of a process of one of Celery's own pools."""
    given = settings.current()
    host = make_host(f"{socket.gethostname()}-{os.getpid()}", given.slots)
    host.start()
    return host


def part_returned(request: Any, state: str, result: Any) -> None:
    """Write the outcome of an operation that ran through Celery's tracer, and publish what it made ready."""
    run_id, operation = request.args
    store = make_store()
    outcome = result if isinstance(result, Outcome) else tasks.lost(state, result)
    finish_and_advance(store, run_id, operation, plans(store)(run_id), outcome)
    store.close()


register()
app = Celery("omx_tasks", set_as_current=False)
app.add_defaults(configuration)
app.steps["consumer"].add(CapabilityQueues)
TaskPool.make_host = make_host
tasks.make_hosts_with(start_host)
Backend.part_returned = staticmethod(part_returned)
worker_process_init.connect(tasks.forget_host)
