"""``omx agent``: more agents on this machine, of one kind, kept up by a nursery of their own."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Mapping
from dataclasses import asdict

import click
import psutil

from omx_tasks import settings
from omx_tasks.agents import templates
from omx_tasks.agents.scaling.nurseries import NurseryRecord, nurseries
from omx_tasks.agents.templates import EVERYTHING, Warm
from omx_tasks.cli.output import config_option, json_option, print_json, say
from omx_tasks.cli.target import existing_store, running_system, server_file
from omx_tasks.deploy.interrupts import SIGNALS
from omx_tasks.errors import ConfigurationError, UnavailableError, did_you_mean
from omx_tasks.home import Home
from omx_tasks.mcp.config import ServerFile
from omx_tasks.store.client import Store

#: Seconds for what is under way when agents are to stop, and in which `omx agent stop` expects them to have stopped.
GRACE, STOP = 60.0, 90.0
#: Seconds between two looks at the agents.
LOOK = 0.2
_NAME = re.compile(r"[a-z][a-z_-]*")


@click.group()
def agent() -> None:
    """Start and stop agents beside those of `omx up`."""


@agent.command()
@click.argument("template", required=False)
@click.option("--count", type=click.IntRange(0, 64), help="Agents; alone, always so many.")
@click.option("--min", "least", type=click.IntRange(0, 64), help="Agents at least.")
@click.option("--max", "most", type=click.IntRange(1, 64), help="Agents at most, when scaled.")
@click.option(
    "--idle", type=click.FloatRange(1.0), help="Seconds after which one too many is drained."
)
@click.option("--name", help="Name of all of them; each has a number behind it.")
@click.option("--slots", type=click.IntRange(1, 10_000), help="Operations an agent runs at once.")
@config_option
@click.option("--detach", is_flag=True, help="Return when all are warm.")
@json_option
def start(
    template: str | None,
    count: int | None,
    least: int | None,
    most: int | None,
    idle: float | None,
    name: str | None,
    slots: int | None,
    mcp_config: str | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Start agents of a TEMPLATE, or such that offer every server of the server file.

    How many is decided by the coordinator, from --min to --max, by what waits and comes; what is not said is as the
    template has it (`omx agents templates TEMPLATE`). Without a template it is one agent.

    They work for OMX_BROKER_URL, or for the system that is up here. Runs until Ctrl-C, which lets what is under way
    end; a second one does not. With --detach in the background until `omx agent stop`.
    """
    template = template or settings.current().template or EVERYTHING
    catalogue = templates.load(settings.current().templates)
    kind = None if template == EVERYTHING else catalogue.find(template)
    from omx_tasks.deploy.nursery import Nursery

    first, lowest, highest = _numbers(count, least, most, kind.warm if kind else None)
    idle = idle or (kind.warm.idle if kind else Nursery.idle)
    store = existing_store()
    known = nurseries(store)
    name = _name(known, name, "agent" if kind is None else template)
    servers = _servers(mcp_config)
    environ = _environ(store, servers, template, slots)
    if detach:
        from omx_tasks.deploy.detached import start_agents

        words = [
            "--name",
            name,
            "--count",
            first,
            "--min",
            lowest,
            "--max",
            highest,
            "--idle",
            idle,
        ]
        log = _home().logs / f"{name}.log"
        pid = start_agents(store, [template, *words], environ, log, first)
        started = next((one for one in nurseries(store) if one.pid == pid), None)
        if as_json:
            print_json(asdict(started) if started else None)
        say(f"{_agents(first)} warm; stop: omx agent stop {name}")
        return
    _supervise(store, name, environ, (first, lowest, highest), idle)


def _supervise(
    store: Store,
    name: str,
    environ: Mapping[str, str],
    numbers: tuple[int, int, int],
    idle: float,
) -> None:
    """Keep agents up, until the first SIGINT or SIGTERM; the second one hurries."""
    from omx_tasks.deploy.forkserver import ForkServer
    from omx_tasks.deploy.nursery import Nursery
    from omx_tasks.events.bus import Bus

    given = settings.current()
    url = store.address.uri(include_password=True)
    logs = _home().logs
    first, lowest, highest = numbers
    stopping, hurried = threading.Event(), threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: hurried.set() if stopping.is_set() else stopping.set())
    nursery = Nursery(
        name=name,
        forks=ForkServer(logs / f"{name}-forkserver.log", environ),
        logs=logs,
        environ=environ,
        store=store,
        least=lowest,
        most=highest,
        idle=idle,
        silence=given.agent_silence,
        say=say,
        publisher=Bus.configured(given, lambda: Store.configured(url, given), timeout=0.0),
    )
    try:
        nursery.start(first)
        nursery.await_warm(stopping)
        say(f"{_agents(first)} warm; Ctrl-C stops")
        while not stopping.wait(LOOK):
            nursery.look()
        say("stopping: what is under way ends first; once more, and it does not")
    except UnavailableError:
        if not stopping.is_set():
            raise
    finally:
        stopping.set()
        nursery.stop(GRACE, hurried)


@agent.command()
@click.argument("name", required=False)
@click.option(
    "--all", "everything", is_flag=True, help="All on this machine but those of `omx up`."
)
@json_option
def stop(name: str | None, everything: bool, as_json: bool) -> None:
    """Stop the agents NAME of `omx agent start`; what is under way on them ends first."""
    if (name is None) != everything:
        raise ConfigurationError("say which: `omx agent stop NAME`, or `omx agent stop --all`")
    known = nurseries(existing_store())
    chosen = _own(known) if everything else [_chosen(known, str(name))]
    processes = [process for one in chosen if (process := _process(one))]
    for process in processes:
        process.terminate()
    _, alive = psutil.wait_procs(processes, STOP)
    if alive:
        raise UnavailableError(
            f"pid {alive[0].pid} did not stop in {STOP:.0f} s: what is under way takes long; "
            f"`kill {alive[0].pid}` hurries it"
        )
    if as_json:
        print_json([one.name for one in chosen])
    say(f"stopped {', '.join(one.name for one in chosen)}" if chosen else "there is none to stop")


# --- what is meant ----------------------------------------------------------------------------------


def _numbers(
    count: int | None, least: int | None, most: int | None, warm: Warm | None
) -> tuple[int, int, int]:
    """Return how many agents to begin with, at least and at most; where nothing is said, as the template has it."""
    if warm is not None and (count, least, most) == (None, None, None):
        return max(1, warm.min), warm.min, warm.max
    first = count if count is not None else (least if least is not None else 1)
    lowest = least if least is not None else (first if most is None else min(first, most))
    highest = most if most is not None else max(first, lowest, 1)
    if not lowest <= first <= highest:
        raise ConfigurationError(
            f"--count {first} is not within --min {lowest} and --max {highest}"
        )
    return first, lowest, highest


def _name(known: list[NurseryRecord], name: str | None, usual: str) -> str:
    """Return the name of the new ones, which no others on this machine have."""
    taken = {one.name.partition("@")[0] for one in known if one.host == socket.gethostname()}
    if name is None:
        letters = ("", *(f"-{letter}" for letter in "bcdefghijklmnopqrstuvwxyz"))
        return next(f"{usual}{tail}" for tail in letters if f"{usual}{tail}" not in taken)
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"--name {name!r}: write small letters, - and _; each agent gets a number behind it"
        )
    if name in taken:
        raise ConfigurationError(
            f"agents named {name!r} are up on this machine already: choose another --name, or end them with "
            f"`omx agent stop {name}`"
        )
    return name


def _servers(mcp_config: str | None) -> ServerFile:
    """Return the server file: that of the system that is up, where none is named."""
    system = None if settings.current().broker_url else running_system()
    named = mcp_config or settings.current().mcp_config
    return server_file(system.mcp_config if system and not named else mcp_config)


def _environ(store: Store, servers: ServerFile, template: str, slots: int | None) -> dict[str, str]:
    url = store.address.uri(include_password=True)
    ours = {
        "OMX_BROKER_URL": url,
        "OMX_RESULT_URL": settings.current().result_url or url,
        "OMX_MCP_CONFIG": str(servers.path.resolve()),
        "OMX_TEMPLATE": template,
        "OMX_HEALTH_PORT": "0",  # it is one agent's; these have a supervisor
        "OMX_LOG_DIR": str(settings.current().log_dir or _home().logs),
    }
    if slots is not None:
        ours["OMX_SLOTS"] = str(slots)
    return {**os.environ, **ours}


def _home() -> Home:
    home = Home.of(os.environ)
    home.prepare()
    return home


def _own(known: list[NurseryRecord]) -> list[NurseryRecord]:
    """Return the nurseries on this machine that `omx agent start` began."""
    system = running_system()
    ours = None if system is None else system.pid
    return [one for one in known if one.host == socket.gethostname() and one.pid != ours]


def _chosen(known: list[NurseryRecord], name: str) -> NurseryRecord:
    """Return the nursery that is meant; raises `ConfigurationError` where it cannot be stopped from here."""
    found = [one for one in known if name in (one.name, one.name.partition("@")[0])]
    here = [one for one in found if one.host == socket.gethostname()]
    if not found:
        names = [one.name.partition("@")[0] for one in _own(known)]
        there = f"There are: {', '.join(names)}." if names else "There are none."
        raise ConfigurationError(
            f"no agents named {name!r} are up.{did_you_mean(name, names)} {there}"
        )
    if not here:
        raise ConfigurationError(f"the agents {name!r} are on {found[0].host}: stop them there")
    own = [one for one in here if one in _own(known)]
    if not own:
        raise ConfigurationError(
            f"the agents {name!r} are those of the system: `omx down` stops it"
        )
    return own[0]


def _process(nursery: NurseryRecord) -> psutil.Process | None:
    try:
        return psutil.Process(nursery.pid)
    except psutil.NoSuchProcess:
        return None


def _agents(count: int) -> str:
    return f"{count} agent" if count == 1 else f"{count} agents"
