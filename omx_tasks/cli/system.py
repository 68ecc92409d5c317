"""``omx up`` and ``down``: the whole system on this machine."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
import psutil

from omx_tasks import settings
from omx_tasks.cli.output import config_option, json_option, print_json, say, warn
from omx_tasks.cli.target import server_file, warn_of_broken
from omx_tasks.coordination.registry import coordinators
from omx_tasks.deploy.detached import GREETING, start
from omx_tasks.deploy.interrupts import wait_for_one
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.home import Home, System
from omx_tasks.mcp import reaper
from omx_tasks.mcp.config import check_variables
from omx_tasks.store import shards
from omx_tasks.store.client import Store

if TYPE_CHECKING:
    from omx_tasks.deploy.system import LocalSystem

#: Seconds in which `omx down` expects the supervisor to have stopped everything.
DOWN = 60.0
#: Seconds in which all is in order once every agent is warm, and between two looks.
SETTLED, LOOK = 20.0, 0.1


@click.command()
@click.option("--agents", default=2, show_default=True, type=click.IntRange(1, 64), help="Agents.")
@click.option(
    "--most-agents", "most", type=click.IntRange(1, 64), help="Agents when much is to be done."
)
@click.option(
    "--slots",
    default=32,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Operations an agent runs at once.",
)
@config_option
@click.option("--detach", is_flag=True, help="Return when everything is warm.")
@json_option
def up(
    agents: int,
    most: int | None,
    slots: int,
    mcp_config: str | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Start a system: a Redis Cluster, agents, and what they need.

    That is a coordinator, and an exporter of metrics. Runs until Ctrl-C, or with --detach in the background until
    `omx down`. With --most-agents there are more agents than --agents while operations would wait long, and again
    fewer a while after.
    """
    most = agents if most is None else most
    if most < agents:
        raise ConfigurationError(f"--most-agents {most} is less than --agents {agents}")
    home = Home.of(os.environ)
    servers = server_file(mcp_config)
    check_variables(servers.servers.values(), os.environ)
    if settings.current().broker_url:
        warn("OMX_BROKER_URL is set: commands use that cluster, not the system started here")
    if settings.current().template:
        warn("OMX_TEMPLATE is for single agents: those of a system offer everything")
    if detach:
        options = ["--agents", agents, "--most-agents", most, "--slots", slots]
        found = start(home, [*options, "--mcp-config", servers.path.resolve()], os.environ, say)
        _greet(found, as_json)
        say("stop it: omx down")
    else:
        from omx_tasks.deploy.system import LocalSystem

        system = LocalSystem(home, servers, os.environ, agents, slots, say, exports=True, most=most)
        _supervise(home, system, as_json)


def _supervise(home: Home, system: LocalSystem, as_json: bool) -> None:
    """Be the supervisor, until the first SIGINT or SIGTERM."""
    try:
        system.start()
        found = home.read()
        assert found is not None
        _greet(found, as_json)
        say("Ctrl-C stops it")
        wait_for_one()
        say("stopping")
    finally:
        system.stop()


def _greet(system: System, as_json: bool) -> None:
    store = Store(system.broker_url)
    if not _is_settled(store, time.monotonic() + SETTLED):
        warn(f"not all of it is in order after {SETTLED:.0f} s: `omx doctor` says what")
    warn_of_broken(store)
    store.close()
    if as_json:
        print_json(asdict(system))
    say(f"{GREETING}{system.broker_url}\nmetrics: {system.metrics}\nrun a graph: omx run GRAPH")


def _is_settled(store: Store, deadline: float) -> bool:
    """Wait until a coordinator leads and every replica confirms, so that the next command finds all in order."""
    while not any(one.leads for one in coordinators(store)) or shards.count(store).alone:
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK)
    return True


@click.command()
@json_option
def down(as_json: bool) -> None:
    """Stop the system; its data stays for the next `omx up`.

    MCP servers that dead agents have left behind on this machine are ended, too.
    """
    home = Home.of(os.environ)
    system = home.read()
    if system is not None:
        _stop(home, system)
    left_behind = reaper.reap_orphans()
    if left_behind:
        say(f"ended {left_behind} processes of MCP servers that dead agents had left behind")
    if system is None:
        raise ConfigurationError(f"no system is up in {home.folder}: there is nothing to stop")
    if as_json:
        found = {"folder": str(home.folder), "pid": system.pid, "left_behind": left_behind}
        print_json(found)
    say(f"stopped the system in {home.folder}")


def _stop(home: Home, system: System) -> None:
    """End the supervisor, and with it all that it keeps."""
    try:
        supervisor = psutil.Process(system.pid)
        supervisor.terminate()
        supervisor.wait(DOWN)
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        raise ConfigurationError(
            f"the system in {home.folder} belongs to somebody else (pid {system.pid}): stop it as its owner"
        ) from None
    except psutil.TimeoutExpired:
        raise UnavailableError(
            f"the supervisor (pid {system.pid}) did not stop in {DOWN:.0f} s; see {home.logs}"
        ) from None
