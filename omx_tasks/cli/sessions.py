"""``omx agents sessions``: the connections of agents to their servers."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from omx_tasks import sizes
from omx_tasks.agents.registry import agents
from omx_tasks.cli.output import age, json_option, print_json, print_table, say
from omx_tasks.cli.target import existing_store
from omx_tasks.errors import NotFoundError, did_you_mean

_TITLES = ("agent", "server", "state", "age", "pid", "memory", "calls", "recycled", "protocol")
_STYLES = {"busy": "cyan", "draining": "yellow", "open": "red", "half-open": "red", "none": "red"}


@click.command()
@click.argument("agent", required=False)
@json_option
def sessions(agent: str | None, as_json: bool) -> None:
    """List the sessions of AGENT, or of all agents, with their servers.

    ``recycled`` is how often a server was replaced because it used more than `memory` in its "omx" key.
    """
    found = {one.name: one.sessions for one in agents(existing_store())}
    if agent is not None:
        if agent not in found:
            known = ", ".join(found) or "none"
            hint = did_you_mean(agent, found)
            raise NotFoundError(f"there is no agent {agent!r}.{hint} There are: {known}")
        found = {agent: found[agent]}
    if as_json:
        print_json(found)
    elif not any(found.values()):
        say("no agent has a session")
    else:
        print_table(_TITLES, [_row(name, one) for name, some in found.items() for one in some])


def _row(agent: str, one: dict[str, Any]) -> tuple[str | Text, ...]:
    pid = one["pid"]
    return (
        agent,
        one["server"],
        Text(one["state"], style=_STYLES.get(one["state"], "")),
        age(one["age"]),
        "-" if pid is None else str(pid),
        sizes.shown(one["rss"]) if one["rss"] else "-",
        str(one["calls"]),
        str(one["recycled"]),
        one["protocol"] or "-",
    )
