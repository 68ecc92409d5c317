"""``omx agents``: what is up, what it holds, how it does; once or live."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from omx_tasks import sizes
from omx_tasks.agents.profile import ALL_WORDS
from omx_tasks.agents.registry import AgentRecord
from omx_tasks.agents.registry import agents as read_agents
from omx_tasks.agents.scaling.nurseries import nurseries
from omx_tasks.cli.coordinators import TITLES as COORDINATORS
from omx_tasks.cli.coordinators import print_coordinators
from omx_tasks.cli.coordinators import rows as coordinator_rows
from omx_tasks.cli.listing import Listing
from omx_tasks.cli.output import (
    age,
    brief,
    json_option,
    print_json,
    print_table,
    results,
    say,
    table_lines,
    width_of,
)
from omx_tasks.cli.sessions import TITLES as SESSIONS
from omx_tasks.cli.sessions import one_of, sessions
from omx_tasks.cli.sessions import row as session_row
from omx_tasks.cli.target import existing_store
from omx_tasks.cli.templates import templates
from omx_tasks.cli.unwell import unwell
from omx_tasks.coordination.registry import coordinators
from omx_tasks.deploy.interrupts import held_back
from omx_tasks.errors import UnavailableError, UsageError
from omx_tasks.store.client import Store

#: Seconds between two pictures.
EVERY = 1.0
#: Seconds from which on an age is told in minutes.
MINUTES = 120
#: Seconds without an answer from one of its queues after which an agent does not consume.
SILENT = 30.0
_TITLES = ("agent", "template", "host", "pid", "busy", "done", "errors", "PSS", "state")
#: Which columns are cut where a terminal is narrow, and how narrow they may become.
_ELASTIC = {0: 6, 1: 6, 2: 4, 8: 8}
_INDENT, _BETWEEN = 2, " · "


@click.group(cls=Listing)
def agents() -> None:
    """List the agents that are up, or show one.

    \b
    omx agents              all of them with their sessions, and the coordinators
    omx agents --watch      the same, live, until Ctrl-C
    omx agents --duties     also what the leading coordinator does
    omx agents NAME         all that is known of one

    Each of them takes --json but the live one.
    """


@agents.command("list")
@click.argument("name", required=False)
@click.option("--watch", is_flag=True, help="Go on, until Ctrl-C.")
@click.option("--duties", is_flag=True, help="Also what the leading coordinator does, and when.")
@json_option
def list_agents(name: str | None, watch: bool, duties: bool, as_json: bool) -> None:
    """List all, or show the agent NAME.

    ``busy`` are the slots in use, of all; PSS is the memory of the agent's process, where forks of one parent share
    their part of it. An agent is warm that can call each of its servers at once. One with a queue that has not answered
    for half a minute is silent: it does not consume.
    """
    if watch and (as_json or duties or name is not None):
        raise UsageError("--watch shows all agents: leave NAME, --duties and --json out")
    store = existing_store()
    if watch:
        _watch(store)
        return
    found = read_agents(store)
    if name is not None:
        one = one_of(found, name)
        if as_json:
            print_json(one.as_json())
        else:
            _show(one)
    elif as_json:
        print_json([one.as_json() for one in found])
    else:
        console = results()
        if not found:
            say("no agent is up")
        for line in _lines(found, width_of(console)):
            console.print(line, soft_wrap=True)
        for line in unwell(nurseries(store), found):
            console.print(line, soft_wrap=True)
        print_coordinators(coordinators(store), duties=duties)


agents.add_command(templates)
agents.add_command(sessions)


# --- all of them ------------------------------------------------------------------------------------


def _watch(store: Store) -> None:
    """Draw them anew all the time; where the cluster does not answer, say so and go on."""
    console = results()
    if not console.is_terminal:
        raise UsageError("--watch needs a terminal: leave it out, or read `omx agents --json`")
    picture: list[Text] = []
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                picture, trouble = _picture(store, console), []
            except UnavailableError as error:
                trouble = [Text(str(error), style="red")]
            with held_back():  # a picture is drawn to its end
                live.update(Group(*picture, *trouble), refresh=True)
            time.sleep(EVERY)


def _picture(store: Store, console: Console) -> list[Text]:
    found, coordinating = read_agents(store), coordinators(store)
    lines = _lines(found, console.width) if found else [Text("no agent is up", style="dim")]
    lines += unwell(nurseries(store), found)
    if coordinating:
        last = {len(COORDINATORS) - 1: 1}
        lines += table_lines(COORDINATORS, coordinator_rows(coordinating), console.width, last)
    return lines


def _lines(found: Sequence[AgentRecord], width: int | None) -> list[Text]:
    """Return a line of each agent, and below it its sessions."""
    if not found:
        return []
    named = Counter(_short(one) for one in found)
    rows = [_row(one, _short(one) if named[_short(one)] == 1 else one.name) for one in found]
    title, *figures = table_lines(_TITLES, rows, width, _ELASTIC)
    below = [_packed(_sessions(one), width) for one in found]
    return [
        title,
        *(line for pair in zip(figures, below, strict=True) for line in (pair[0], *pair[1])),
    ]


def _short(agent: AgentRecord) -> str:
    return agent.name.partition("@")[0]


def _row(agent: AgentRecord, name: str) -> tuple[str | Text, ...]:
    return (
        name,
        agent.template,
        agent.host,
        str(agent.pid),
        f"{agent.busy}/{agent.slots}",
        str(agent.done),
        Text(str(agent.errors), style="red" if agent.errors else ""),
        sizes.shown(agent.pss) if agent.pss else "-",
        _state(agent),
    )


def _state(agent: AgentRecord) -> Text:
    """Say whether it consumes and can call its servers at once."""
    if agent.silence is not None and agent.silence > SILENT:
        return Text(f"silent {age(agent.silence)}", style="red")
    if agent.warm:
        return Text("warm", style="green")
    if not agent.open:
        return Text("cold", style="cyan")
    servers = {one["server"] for one in agent.sessions}
    return Text(f"{len(agent.open)}/{len(servers)} warm", style="yellow")


def _sessions(agent: AgentRecord) -> Iterable[Text]:
    """Yield what is said of each session and of what is missing."""
    for one in agent.sessions:
        yield _session(one, broken=one["server"] in agent.failed)
    for role in agent.unfilled:
        yield Text(f"{role} (no server)", style="yellow")


def _session(one: dict[str, Any], *, broken: bool) -> Text:
    words = [word for word in (one["server"], one["protocol"]) if word]
    if one["age"] is not None:
        words.append(age(one["age"]) if one["age"] >= MINUTES else f"{one['age']:.0f} s")
    if one.get("shared"):
        words.append("shared")
    if one["state"] in ("idle", "busy"):
        return Text(" ".join(words), style="dim" if one["state"] == "idle" else "")
    said = {"none": "opening", "open": "circuit open", "half-open": "circuit half-open"}
    state = "broken" if broken else said.get(one["state"], one["state"])
    return Text(f"{one['server']} ({state})", style="red" if broken or "open" in state else "cyan")


def _packed(items: Iterable[Text], width: int | None) -> list[Text]:
    """Return lines with as many items each as fit."""
    lines: list[Text] = []
    for item in items:
        if lines and (width is None or lines[-1].cell_len + len(_BETWEEN) + item.cell_len <= width):
            lines[-1].append(_BETWEEN, style="dim").append_text(item)
        else:
            lines.append(Text(" " * _INDENT).append_text(item))
            if width is not None:
                lines[-1].truncate(width, overflow="ellipsis")
    return lines


# --- one of them ------------------------------------------------------------------------------------


def _show(agent: AgentRecord) -> None:
    """Print all that is known of one."""
    console = results()
    state = Text(agent.name, style="bold").append("  ").append_text(_state(agent))
    console.print(state, soft_wrap=True)
    for title, said in _about(agent):
        console.print(Text(f"{title:12}", style="dim").append_text(Text(said)), soft_wrap=True)
    if agent.sessions:
        print_table(SESSIONS, [session_row(one) for one in agent.sessions])
    for server, why in _troubles(agent):
        console.print(Text(f"{server}: {why}", style="red"), soft_wrap=True)


def _about(agent: AgentRecord) -> Iterable[tuple[str, str]]:
    words = ["all of the catalogue" if word == ALL_WORDS else word for word in agent.capabilities]
    yield "template", agent.template
    yield "process", f"pid {agent.pid} on {agent.host}"
    yield "memory", f"{sizes.shown(agent.pss)} (PSS), without its servers" if agent.pss else "-"
    yield "slots", f"{agent.busy} of {agent.slots} busy"
    yield "operations", f"{agent.done} done, {agent.errors} of them failed"
    yield "offers", " ".join(words) or "no capability but its servers"
    yield "priorities", " ".join(agent.priorities)
    if agent.warmth:
        yield "sessions", _warmth(agent.warmth)
    if agent.unfilled:
        yield "goes without", " ".join(agent.unfilled)
    if agent.silence is not None:
        mended = f"; attended to anew {agent.repaired} times" if agent.repaired else ""
        yield "queues", f"the slowest answered {age(agent.silence)} ago{mended}"
    if agent.alone:
        alone = ", ".join(f"{count} at {node}" for node, count in agent.alone.items())
        yield "unreplicated", f"writes accepted without a replica: {alone}"


def _warmth(warmth: dict[str, Any]) -> str:
    counts = [f"{warmth[what]} {what}" for what in ("opened", "evicted")]
    wasted = age(warmth["wasted"])
    return f"{', '.join(counts)}, {warmth['cold_starts']} cold starts, open {wasted} before a call"


def _troubles(agent: AgentRecord) -> Iterable[tuple[str, str]]:
    for server, why in agent.failed.items():
        yield server, brief(why)
    for server, circuit in agent.circuits.items():
        if server not in agent.failed:
            since = age(circuit["seconds"])
            yield server, f"circuit {circuit['state']} for {since}: {brief(circuit['reason'])}"
