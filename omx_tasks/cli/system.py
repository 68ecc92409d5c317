"""``omx up``, ``down`` and ``agents``: the whole system on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import click
import psutil
from rich.table import Table

from omx_tasks.agents.registry import agents as read_agents
from omx_tasks.cli.output import print_json, results, say
from omx_tasks.cli.target import existing_store, server_file
from omx_tasks.deploy.system import WARM, LocalSystem
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.home import Home, System

_json_option = click.option("--json", "as_json", is_flag=True, help="One line with one object.")
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
@click.option(
    "--mcp-config", metavar="FILE", help="MCP server file.  [default: .mcp.json, mcp.json]"
)
@click.option("--detach", is_flag=True, help="Return when everything is warm.")
def up(agents: int, slots: int, mcp_config: str | None, detach: bool) -> None:
    """Start a system on this machine: a Redis Cluster, agents, a coordinator.

    Runs until Ctrl-C, or with --detach in the background until `omx down`.
    """
    home = Home.of(os.environ)
    servers = server_file(mcp_config)
    if detach:
        _detached(home, agents, slots, servers.path)
        return
    system = LocalSystem(home, servers, os.environ, agents, slots, say)
    asked = threading.Event()
    system.start()
    try:
        say(f"ready: {system.url}\nCtrl-C stops it; in another shell: omx run GRAPH")
        signal.signal(signal.SIGTERM, lambda *_: asked.set())
        signal.signal(signal.SIGINT, lambda *_: asked.set())
        asked.wait()
    finally:
        say("stopping")
        system.stop()


def _detached(home: Home, agents: int, slots: int, servers: Path) -> None:
    if home.read() is not None:
        raise ConfigurationError(
            f"a system is up already in {home.folder}: use it, or end it with `omx down`"
        )
    home.logs.mkdir(parents=True, exist_ok=True)
    log = home.logs / "up.log"
    options = [
        "--agents",
        str(agents),
        "--slots",
        str(slots),
        "--mcp-config",
        str(servers.resolve()),
    ]
    with log.open("wb") as stream:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "omx_tasks.cli.main", "up", *options],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        system = _wait_until_ready(home, supervisor, log)
    except BaseException:
        supervisor.send_signal(signal.SIGTERM)
        raise
    say(
        f"{system.agents} agents warm on {system.broker_url}\nrun a graph: omx run GRAPH\nstop it: omx down"
    )


def _wait_until_ready(home: Home, supervisor: subprocess.Popen[bytes], log: Path) -> System:
    deadline = time.monotonic() + WARM + 30
    while time.monotonic() < deadline:
        system = home.read()
        if system is not None and system.ready:
            return system
        if supervisor.poll() is not None:
            raise UnavailableError(
                f"the system did not come up:\n{log.read_text()[-2000:].strip()}"
            )
        time.sleep(0.05)
    raise UnavailableError(f"the system did not come up in time; see {log}")


@click.command()
def down() -> None:
    """Stop the system on this machine; the cluster's data stays for the next `omx up`."""
    home = Home.of(os.environ)
    system = home.read()
    if system is None:
        raise ConfigurationError(f"no system is up in {home.folder}")
    supervisor = psutil.Process(system.pid)
    supervisor.terminate()
    try:
        supervisor.wait(DOWN)
    except psutil.TimeoutExpired:
        raise UnavailableError(
            f"the supervisor (pid {system.pid}) did not stop in {DOWN:.0f} s; see {home.logs}"
        ) from None
    say("stopped")


@click.command()
@_json_option
def agents(as_json: bool) -> None:
    """List the agents that are up."""
    found = read_agents(existing_store())
    if as_json:
        print_json([vars(agent) for agent in found])
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("agent", "host", "pid", "busy", "slots", "done", "servers"):
        table.add_column(title)
    for agent in found:
        broken = [f"[red]{name}[/]" for name in agent.failed]
        numbers = (str(agent.pid), str(agent.busy), str(agent.slots), str(agent.done))
        table.add_row(agent.name, agent.host, *numbers, " ".join([*agent.servers, *broken]))
    results().print(table if found else "no agent is up")
