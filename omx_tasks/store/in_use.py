"""Which cluster this process works with: the one of ``OMX_BROKER_URL``, else the one that is up on this machine."""

from __future__ import annotations

import os

from omx_tasks import settings
from omx_tasks.errors import ConfigurationError
from omx_tasks.home import Home
from omx_tasks.store.client import Store

NO_BROKER = (
    "no broker: start a system on this machine with `omx up --detach`, or name a cluster in OMX_BROKER_URL "
    "(rediscluster://host:port[,host:port…])"
)


def broker_url() -> str:
    """Return the address of the cluster; raises `ConfigurationError` where there is none."""
    if url := settings.current().broker_url:
        return url
    system = Home.of(os.environ).read()
    if system is None:
        raise ConfigurationError(NO_BROKER)
    return system.broker_url


def make_store() -> Store:
    """Return a client of the cluster."""
    return Store.configured(broker_url(), settings.current())
