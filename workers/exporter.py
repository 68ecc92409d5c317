"""The exporter: the whole system's metrics for Prometheus. ``python -m workers.exporter``.

One is enough for any number of agents: it reads what is in the cluster. Nothing depends on it.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading

import click

from omx_tasks import settings
from omx_tasks.errors import OmxError
from omx_tasks.logs.begin import begin
from omx_tasks.monitoring.endpoint import Endpoint
from omx_tasks.monitoring.metrics import SystemCollector
from omx_tasks.monitoring.sections.system import sections
from omx_tasks.store.client import Store
from omx_tasks.store.in_use import broker_url
from workers.options import loglevel_option

logger = logging.getLogger("omx.exporter")

#: Seconds in which the cluster must answer for the exporter to be ready, and in which it must answer a request.
READY, ANSWER = 2.0, 3.0


@click.command()
@loglevel_option
def main(loglevel: str | None) -> None:
    """Serve /metrics, /healthz and /readyz until SIGTERM or Ctrl-C."""
    begin("exporter", loglevel)
    try:
        given, url = settings.current(), broker_url()
    except OmxError as error:
        logger.critical("%s", error)
        sys.exit(2)
    stopping = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stopping.set())
    patience = {"request_timeout": min(given.request_timeout, ANSWER)}
    store = Store.configured(url, given.model_copy(update=patience))
    collector = SystemCollector(store, sections(given))
    endpoint = Endpoint(
        given.metrics_host,
        given.metrics_port,
        ready=lambda: store.ping(READY),
        collectors=[collector],
    ).start()
    collector.begin()
    logger.info("metrics of %s at %s/metrics", store.address, endpoint.url)
    stopping.wait()
    endpoint.stop()
    collector.stop()
    store.close()


if __name__ == "__main__":
    main()
