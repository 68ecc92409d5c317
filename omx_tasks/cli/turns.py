"""``omx turns``: who may write to which server now, and who waits for it."""

from __future__ import annotations

from typing import Any

import click

from omx_tasks.broker.turns import Turn
from omx_tasks.cli.output import duration, json_option, print_json, print_table, say
from omx_tasks.cli.target import existing_store
from omx_tasks.runs.turns import read

NOTHING = "no turns are taken: nothing writes to a server now"


@click.command()
@json_option
def turns(as_json: bool) -> None:
    """List which servers are written to now, by whom, and who waits.

    Tools that are not read-only take turns per server, or per resource where the server file names one.
    """
    found = [(turn, one.time) for one in read(existing_store()) for turn in one.turns]
    if as_json:
        print_json([_as_json(turn, now) for turn, now in found])
    elif found:
        titles = ("server", "resource", "for", "waiting", "oldest", "has it")
        print_table(titles, [_row(turn, now) for turn, now in found])
    else:
        say(NOTHING)


def _row(turn: Turn, now: float) -> tuple[str, ...]:
    since, oldest = duration(now - turn.since), _age(turn.oldest, now)
    told = turn.id if turn.told else f"{turn.id} (next)"
    waited = "-" if oldest is None else duration(oldest)
    return turn.server, turn.resource or "-", since, str(turn.waiting), waited, told


def _as_json(turn: Turn, now: float) -> dict[str, Any]:
    return {
        "server": turn.server,
        "resource": turn.resource or None,
        "operation": turn.id,
        "told": turn.told,
        "seconds": now - turn.since,
        "waiting": turn.waiting,
        "oldest": _age(turn.oldest, now),
    }


def _age(since: float | None, now: float) -> float | None:
    return None if since is None else now - since
