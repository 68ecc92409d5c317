"""The coordinator: looks after runs, queues, agents and the cluster. ``python -m workers.coordinator``.

Several may run: one leads and does what is in `duties`; when it dies another one does, a few seconds later. Handlers of
events are served by all of them. Runs go on without any.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading

import click

from omx_tasks import settings
from omx_tasks.coordination.agents import AgentsDuty
from omx_tasks.coordination.cluster import ClusterDuty
from omx_tasks.coordination.coordinator import Coordinator
from omx_tasks.coordination.duties import Duty
from omx_tasks.coordination.queues import QueuesDuty, RetireDuty
from omx_tasks.coordination.runs import EndingsDuty, ReconcileDuty, forget_runs
from omx_tasks.coordination.scaling import ScalingDuty
from omx_tasks.errors import OmxError
from omx_tasks.events.handlers import Handler, discover
from omx_tasks.logs.begin import begin
from omx_tasks.monitoring.endpoint import Endpoint
from omx_tasks.monitoring.expected import expect
from omx_tasks.monitoring.flows import Expected
from omx_tasks.monitoring.tracker import Tracker
from omx_tasks.settings import Settings
from omx_tasks.store.in_use import broker_url, make_store
from workers.options import loglevel_option

logger = logging.getLogger("omx.coordinator")


def duties(given: Settings) -> list[Duty]:
    """Return what the leader does, and how often (seconds)."""
    return [
        Duty("runs", 2.0, ReconcileDuty(given)),
        Duty("endings", 2.0, EndingsDuty(given)),
        Duty("forget", 30.0, forget_runs),
        Duty("queues", 2.0, QueuesDuty(given)),
        Duty("retire", 300.0, RetireDuty(given)),
        Duty("agents", 1.0, AgentsDuty(given)),
        Duty("scaling", 1.0, ScalingDuty(given, Expected(given))),
        Duty("cluster", 1.0, ClusterDuty(given)),
        Duty("expected", 20.0, expect),
    ]


def handlers(given: Settings) -> list[Handler]:
    """Return the handlers of events that every coordinator serves: the tracker, and the user's."""
    return [Tracker(make_store(), given).handler(), *discover(given.handlers)]


@click.command()
@loglevel_option
def main(loglevel: str | None) -> None:
    """Run until SIGTERM or Ctrl-C."""
    begin("coordinator", loglevel)
    stopping = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stopping.set())
    try:
        given, url = settings.current(), broker_url()
        served = handlers(given)
    except OmxError as error:
        logger.critical("%s", error)
        sys.exit(2)
    coordinator = Coordinator(
        make_store, duties(given), served, partitions=given.events_partitions
    ).start()
    endpoint = _endpoint(given, coordinator)
    logger.info("looking after the runs of %s", url.rpartition("@")[2])
    stopping.wait()
    coordinator.stop()
    if endpoint is not None:
        endpoint.stop()


def _endpoint(given: Settings, coordinator: Coordinator) -> Endpoint | None:
    """Answer probes, where there is a port for them."""
    if not given.health_port:
        return None
    try:
        return Endpoint(given.metrics_host, given.health_port, coordinator.check).start()
    except OmxError as error:
        coordinator.stop()
        logger.critical("%s (OMX_HEALTH_PORT)", error)
        sys.exit(2)


if __name__ == "__main__":
    main()
