"""``omx agents sessions``: the connections of agents to their servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.text import Text

from omx_tasks import sizes
from omx_tasks.agents.registry import AgentRecord, agents
from omx_tasks.cli.output import age, json_option, print_json, print_table, say
from omx_tasks.cli.target import existing_store
from omx_tasks.errors import NotFoundError, UsageError, did_you_mean

TITLES = ("server", "state", "age", "pid", "memory", "calls", "recycled", "protocol", "for")
_STYLES = {"busy": "cyan", "draining": "yellow", "open": "red", "half-open": "red", "none": "red"}


@click.command()
@click.argument("agent", required=False)
@json_option
def sessions(agent: str | None, as_json: bool) -> None:
    """List the sessions of AGENT, or of all agents, with their servers.

    ``recycled`` is how often a server was replaced because it used more than `memory` in its "omx" key.
    ``for`` is who uses its process: the agent, all agents here, or one run.
    """
    records = agents(existing_store())
    chosen = records if agent is None else [one_of(records, agent)]
    found = {one.name: one.sessions for one in chosen}
    if as_json:
        print_json(found)
    elif not any(found.values()):
        say("no agent has a session")
    else:
        rows = [(name, *row(one)) for name, some in found.items() for one in some]
        print_table(("agent", *TITLES), rows)


def one_of(records: Sequence[AgentRecord], name: str) -> AgentRecord:
    """Return the agent of this name, of which what is before the @ is enough where no other one has that."""
    found = [one for one in records if name in (one.name, one.name.partition("@")[0])]
    if len(found) > 1:
        which = ", ".join(one.name for one in found)
        raise UsageError(f"there are several agents {name!r}; say which: {which}")
    if not found:
        names = [one.name for one in records]
        shorts = [one.partition("@")[0] for one in names]
        known, hint = ", ".join(names) or "none", did_you_mean(name.partition("@")[0], shorts)
        raise NotFoundError(f"there is no agent {name!r}.{hint} There are: {known}")
    return found[0]


def row(one: dict[str, Any]) -> tuple[str | Text, ...]:
    """Return the line of one session in the table."""
    pid = one["pid"]
    return (
        one["server"],
        Text(one["state"], style=_STYLES.get(one["state"], "")),
        age(one["age"]),
        "-" if pid is None else str(pid),
        sizes.shown(one["rss"]) if one["rss"] else "-",
        str(one["calls"]),
        str(one["recycled"]),
        one["protocol"] or "-",
        _user(one),
    )


def _user(one: dict[str, Any]) -> str:
    """Return who uses a session's process."""
    if one.get("run"):
        return f"run {one['run']}"
    return "all here" if one.get("shared") else "agent"
