"""``omx up``, ``down`` and ``agents``: the whole system on this machine."""

from __future__ import annotations

import os
from dataclasses import asdict

import click
import psutil
from rich.text import Text

from omx_tasks import settings
from omx_tasks.agents.registry import AgentRecord
from omx_tasks.agents.registry import agents as read_agents
from omx_tasks.cli.coordinators import print_coordinators
from omx_tasks.cli.output import (
    config_option,
    json_option,
    print_json,
    print_table,
    say,
    warn,
)
from omx_tasks.cli.sessions import sessions
from omx_tasks.cli.target import existing_store, server_file, warn_of_broken
from omx_tasks.cli.templates import templates
from omx_tasks.coordination.registry import coordinators
from omx_tasks.deploy.interrupts import wait_for_one
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.home import Home, System
from omx_tasks.mcp.config import ServerFile, check_variables
from omx_tasks.store.client import Store

#: Seconds in which `omx down` expects the supervisor to have stopped everything.
DOWN = 60.0


@click.command()
@click.option("--agents", default=2, show_default=True, type=click.IntRange(1, 64), help="Agents.")
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
def up(agents: int, slots: int, mcp_config: str | None, detach: bool, as_json: bool) -> None:
    """Start a system: a Redis Cluster, agents, a coordinator.

    Runs until Ctrl-C, or with --detach in the background until `omx down`.
    """
    home = Home.of(os.environ)
    servers = server_file(mcp_config)
    check_variables(servers.servers.values(), os.environ)
    if settings.current().broker_url:
        warn("OMX_BROKER_URL is set: commands use that cluster, not the system started here")
    if settings.current().template:
        warn("OMX_TEMPLATE is for single agents: those of a system offer everything")
    if detach:
        from omx_tasks.deploy.detached import start

        system = start(home, agents, slots, servers.path)
        _greet(system, as_json)
        say("stop it: omx down")
    else:
        _supervise(home, servers, agents, slots, as_json)


def _supervise(home: Home, servers: ServerFile, agents: int, slots: int, as_json: bool) -> None:
    """Be the supervisor, until the first SIGINT or SIGTERM."""
    from omx_tasks.deploy.system import LocalSystem

    system = LocalSystem(home, servers, os.environ, agents, slots, say)
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
    warn_of_broken(store)
    store.close()
    if as_json:
        print_json(asdict(system))
    say(f"ready: {system.broker_url}\nrun a graph: omx run GRAPH")


@click.command()
@json_option
def down(as_json: bool) -> None:
    """Stop the system; its data stays for the next `omx up`."""
    home = Home.of(os.environ)
    system = home.read()
    if system is None:
        raise ConfigurationError(f"no system is up in {home.folder}: there is nothing to stop")
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
    if as_json:
        print_json({"folder": str(home.folder), "pid": system.pid})
    say(f"stopped the system in {home.folder}")


@click.group(invoke_without_command=True)
@click.option("--duties", is_flag=True, help="Also what the leading coordinator does, and when.")
@json_option
@click.pass_context
def agents(context: click.Context, duties: bool, as_json: bool) -> None:
    """List the agents that are up, and the coordinators.

    ``silence`` is for how long the queue that has waited longest has not answered: more than half a minute means
    that the agent does not consume. With --json also how many writes were accepted without a replica (``alone``).
    """
    if context.invoked_subcommand is not None:
        return
    store = existing_store()
    found, coordinating = read_agents(store), coordinators(store)
    if as_json:
        said = {
            "agents": [asdict(one) for one in found],
            "coordinators": [asdict(one) for one in coordinating],
        }
        print_json(said)
        return
    if not found:
        say("no agent is up")
    else:
        titles = ("agent", "template", "host", "pid", "busy", "slots", "done", "silence", "servers")
        print_table(titles, [_row(agent) for agent in found])
    print_coordinators(coordinating, duties=duties)


agents.add_command(templates)
agents.add_command(sessions)


def _row(agent: AgentRecord) -> tuple[str | Text, ...]:
    numbers = (str(agent.pid), str(agent.busy), str(agent.slots), str(agent.done))
    servers = Text(" ".join(agent.servers))
    for role in agent.unfilled:
        servers.append(f" {role} (no server)", style="yellow")
    for name in agent.failed:
        servers.append(f" {name} (broken)", style="red")
    for name, circuit in agent.circuits.items():
        servers.append(f" {name} (circuit {circuit['state']})", style="red")
    return agent.name, agent.template, agent.host, *numbers, _silence(agent), servers


def _silence(agent: AgentRecord) -> str:
    """Return since when the slowest of its queues has not answered, and how often that was mended."""
    if agent.silence is None:
        return "-"
    mended = f" (repaired {agent.repaired})" if agent.repaired else ""
    return f"{agent.silence:.0f} s{mended}"
