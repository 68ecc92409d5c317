"""Which system a command talks to: the configured cluster, the one that is up here, or one for this run only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omx_tasks import settings
from omx_tasks.agents import templates
from omx_tasks.agents.registry import agents, broken_servers
from omx_tasks.cli.output import brief, say, warn
from omx_tasks.errors import ConfigurationError
from omx_tasks.home import Home, System
from omx_tasks.mcp import config
from omx_tasks.mcp.config import ServerFile
from omx_tasks.store.client import Store

#: Seconds in which a cluster must answer for the first time.
REACH = 3.0


def server_file(given: str | None) -> ServerFile:
    """Read the server file that was named, configured, or is in this folder."""
    return config.load(_file(given))


def system_file(given: str | None) -> Path:
    """Return the server file that was named, else that of the system that is up here, else as `server_file` does."""
    system = None if settings.current().broker_url else running_system()
    if given is None and system is not None:
        return Path(system.mcp_config)
    return _file(given)


def _file(given: str | None) -> Path:
    return config.find(given or settings.current().mcp_config, Path.cwd())


def known_words() -> frozenset[str]:
    """Return every capability word that a template has, shipped or the user's own."""
    return templates.load(settings.current().templates).words


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
    if known_url() is not None:
        store = existing_store()
        _same_servers(store, mcp_config)
        yield store
        return
    from omx_tasks.deploy.system import SHORT_GRACE, LocalSystem
    from omx_tasks.deploy.temporary import temporary_folder

    servers = server_file(mcp_config)
    say(f"no system is up: starting one for this run ({servers.path.name})")
    with temporary_folder("omx-") as folder:
        system = LocalSystem(Home(folder), servers, os.environ, say=say, grace=SHORT_GRACE)
        try:
            system.start()
            yield Store.configured(system.url, settings.current())
        finally:
            say("taking the system down again")
            system.stop()


def warn_of_broken(store: Store, needed: frozenset[str] = frozenset()) -> None:
    """Say which servers no agent could start, but for those that an error is raised for anyway."""
    for name, reason in broken_servers(agents(store)).items():
        if name not in needed:
            warn(brief(reason))


def _reached(url: str) -> Store:
    store = Store.configured(url, settings.current())
    store.ping(REACH)
    return store


def _same_servers(store: Store, mcp_config: str | None) -> None:
    """Refuse a server file that is not the one that the system was started with."""
    system = None if settings.current().broker_url else running_system()
    if mcp_config is None:
        _notice_changes(system)
        return
    asked = server_file(mcp_config)
    used = {system.digest} if system else {agent.config for agent in agents(store)}
    if used and asked.digest not in used:
        theirs = f"{system.mcp_config}, with which the system is up" if system else _THEIRS
        remedy = (
            "restart with `omx down` and `omx up --mcp-config FILE`"
            if system
            else "restart the agents with it"
        )
        raise ConfigurationError(
            f"{asked.path} differs from {theirs}: leave --mcp-config out, or {remedy}"
        )


_THEIRS = "the server file of the agents that are up"


def _notice_changes(system: System | None) -> None:
    """Say that the server file was changed since the system came up."""
    path = Path(system.mcp_config) if system else None
    if system is None or path is None or not path.is_file():
        return
    try:
        changed = config.load(path).digest != system.digest
    except ConfigurationError:
        changed = True
    if changed:
        warn(f"{path} was changed since the system came up: `omx down`, then `omx up`, to use it")
