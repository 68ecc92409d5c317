"""Which system a command talks to: the configured cluster, the one that is up here, or one for this run only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omx_tasks import settings
from omx_tasks.cli.output import say
from omx_tasks.deploy.system import LocalSystem
from omx_tasks.errors import ConfigurationError
from omx_tasks.home import Home, System
from omx_tasks.mcp import config
from omx_tasks.mcp.config import ServerFile
from omx_tasks.store.client import Store


def server_file(given: str | None) -> ServerFile:
    """Read the server file that was named, configured, or is in this folder."""
    return config.load(config.find(given or settings.current().mcp_config, Path.cwd()))


def running_system() -> System | None:
    """Return the system that is up on this machine and ready."""
    system = Home.of(os.environ).read()
    return system if system is not None and system.ready else None


def known_url() -> str | None:
    """Return the address of the cluster to use, or None when there is none yet."""
    if url := settings.current().broker_url:
        return url
    system = running_system()
    return system.broker_url if system else None


def existing_store() -> Store:
    """Return a client of a cluster that is there; raises `ConfigurationError` where none is."""
    url = known_url()
    if url is None:
        raise ConfigurationError(
            "no system is up: start one with `omx up --detach`, or name a cluster in OMX_BROKER_URL"
        )
    return _reached(url)


@contextmanager
def store_for_run(mcp_config: str | None) -> Iterator[Store]:
    """Give a client of the system to run on; where there is none, one is up for as long as this lasts."""
    url = known_url()
    if url is not None:
        _same_servers(mcp_config)
        yield _reached(url)
        return
    servers = server_file(mcp_config)
    say(f"no system is up: starting one for this run ({servers.path.name})")
    with tempfile.TemporaryDirectory(prefix="omx-", ignore_cleanup_errors=True) as folder:
        system = LocalSystem(Home(Path(folder)), servers, os.environ, say=say)
        try:
            system.start()
            yield Store(system.url, timeout=settings.current().request_timeout)
        finally:
            say("taking the system down again")
            system.stop()


def _reached(url: str) -> Store:
    store = Store(url, timeout=settings.current().request_timeout)
    store.ping(3.0)
    return store


def _same_servers(mcp_config: str | None) -> None:
    """Refuse a server file that is not the one that the running system was started with."""
    system = running_system()
    if mcp_config is None or settings.current().broker_url or system is None:
        return
    asked = server_file(mcp_config)
    if asked.digest != system.digest:
        raise ConfigurationError(
            f"{asked.path} differs from {system.mcp_config}, with which the system is up: "
            "leave --mcp-config out, or restart with `omx down` and `omx up --mcp-config FILE`"
        )
