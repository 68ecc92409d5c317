"""``omx events handlers`` and ``omx events dead``: how handlers stand, and what they have given up."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click
from rich.text import Text

from omx_tasks import settings
from omx_tasks.cli.listing import Listing
from omx_tasks.cli.output import age, first_line, json_option, print_json, print_table, results, say
from omx_tasks.cli.target import existing_store
from omx_tasks.errors import NotFoundError, UsageError, did_you_mean
from omx_tasks.events import dead as dead_events
from omx_tasks.events import groups
from omx_tasks.events.dead import DeadEvent
from omx_tasks.events.groups import Standing
from omx_tasks.priorities import Priority
from omx_tasks.store.client import Store

Act = Callable[[Store, list[DeadEvent]], int]

_handler_option = click.option("--handler", metavar="HANDLER", help="Only those of this handler.")
_ids_argument = click.argument("ids", nargs=-1, metavar="[ID]…")


@click.command()
@json_option
def handlers(as_json: bool) -> None:
    """Show how each handler stands: who serves it, and what it is behind by.

    \b
    served      partitions that a process serves now; the rest wait for one
    processes   that share them (--json names them)
    P0 … P3     events that it has not been through yet (of any type: it knows when it looks)
    oldest      how long the oldest of these has been there
    retrying    events that failed and are tried again, and what waits behind them for its key
    failed      how often events failed, ever
    dead        events that failed too often: `omx events dead HANDLER`
    last        when it last said that it had handled something

    A handler that hangs is behind, served, and its last word is old. One whose process was killed is served again
    by another one within seconds, or by none: 0 served. One that is no more is listed until `omx events forget`.
    """
    found = groups.standings(existing_store(), settings.current().events_partitions)
    if as_json:
        print_json([one.as_json() for one in found])
    elif not found:
        say("no handler was ever served: `omx handle MODULE` does")
    else:
        priorities = [one.name for one in Priority]
        rest = ("oldest", "retrying", "failed", "dead", "dropped", "last")
        titles = ("handler", "served", "processes", *priorities, *rest)
        print_table(titles, [_row(one) for one in found])


@click.command()
@click.argument("handler")
@json_option
def forget(handler: str, as_json: bool) -> None:
    """Forget a handler that is no more, with all that it has left to do.

    What it is behind by, tries again and has given up goes with it. Served again it begins as a new one.
    """
    store, partitions = existing_store(), settings.current().events_partitions
    standing = {one.handler: one for one in groups.standings(store, partitions)}.get(handler)
    if standing is None:
        raise _unknown(handler, groups.handlers(store, partitions))
    if standing.processes or not groups.forget(store, partitions, handler):
        raise UsageError(f"{handler!r} is served: stop `omx handle`, or whoever serves it, first")
    if as_json:
        print_json({"forgotten": handler})
    say(f"forgot {handler}")


def _unknown(handler: str, known: list[str]) -> NotFoundError:
    return NotFoundError(
        f"no handler {handler!r}.{did_you_mean(handler, known)} `omx events handlers` lists them"
    )


def _row(one: Standing) -> list[str | Text]:
    served, there = one.partitions
    behind = [str(one.behind.get(priority, "-")) for priority in Priority]
    return [
        one.handler,
        Text(f"{served}/{there}", "default" if served == there else "red"),
        str(len(one.processes)),
        *behind,
        age(one.oldest),
        str(one.retrying),
        str(one.failed),
        Text(str(one.dead), "red" if one.dead else "default"),
        Text(str(one.dropped), "red" if one.dropped else "default"),
        "never" if one.told is None else f"{age(one.told)} ago",
    ]


@click.group(cls=Listing)
def dead() -> None:
    """Events that a handler failed on too often: list [HANDLER], show, replay, drop."""


@dead.command("list")
@click.argument("handler", required=False)
@json_option
def list_dead(handler: str | None, as_json: bool) -> None:
    """List dead events, of one handler or all.

    The longest dead come first.
    """
    found = _find(existing_store(), handler)
    if as_json:
        print_json([_as_json(event) for event in found])
    elif not found:
        say(f"nothing is dead in {handler}" if handler else "nothing is dead")
    else:
        titles = ("event", "handler", "died", "type", "key", "deliveries", "error")
        print_table(titles, [_dead_row(event) for event in found])


@dead.command()
@click.argument("event_id", metavar="ID")
@_handler_option
@json_option
def show(event_id: str, handler: str | None, as_json: bool) -> None:
    """Show one dead event with all that it carries, for each handler that failed on it."""
    found = _chosen(existing_store(), handler, (event_id,))
    if as_json:
        print_json([_as_json(event) for event in found])
        return
    console = results()
    for event in found:
        said = f"{event.handler}  died {_died(event)} after {event.deliveries} deliveries: {event.error}"
        console.print(said, markup=False, soft_wrap=True)
    text = json.dumps(found[0].event, indent=2, ensure_ascii=False)
    console.print(text, markup=False, soft_wrap=True)


@dead.command()
@_ids_argument
@_handler_option
@json_option
def replay(ids: tuple[str, ...], handler: str | None, as_json: bool) -> None:
    """Have dead events handled again, each before what follows with its key.

    Their deliveries are counted anew. Without an ID, with --handler: all of that handler.
    """
    _act(dead_events.replay, "put back", ids, handler, as_json)


@dead.command()
@_ids_argument
@_handler_option
@json_option
def drop(ids: tuple[str, ...], handler: str | None, as_json: bool) -> None:
    """Remove dead events for good.

    Without an ID, with --handler: all of that handler.
    """
    _act(dead_events.drop, "dropped", ids, handler, as_json)


def _act(act: Act, done: str, ids: tuple[str, ...], handler: str | None, as_json: bool) -> None:
    if not ids and handler is None:
        raise UsageError(
            "name the events (`omx events dead` lists them), or say --handler for all of one handler"
        )
    store = existing_store()
    chosen = _chosen(store, handler, ids)
    names = sorted({event.handler for event in chosen})
    counts = {name: act(store, [e for e in chosen if e.handler == name]) for name in names}
    if as_json:
        print_json(counts)
    elif not counts:
        say(f"nothing is dead in {handler}")
    for name, count in counts.items():
        say(f"{done}: {count} of {name}")


def _chosen(store: Store, handler: str | None, ids: tuple[str, ...]) -> list[DeadEvent]:
    """Return the dead events that were named, of each handler, or all there are; an unknown id is an error."""
    found = _find(store, handler)
    known = {event.id for event in found}
    for name in ids:
        if name not in known:
            where = f" in {handler}" if handler else ""
            raise NotFoundError(f"no dead event {name!r}{where}: `omx events dead` lists them")
    return [event for event in found if event.id in ids] if ids else found


def _find(store: Store, handler: str | None) -> list[DeadEvent]:
    partitions = settings.current().events_partitions
    if handler is not None:
        known = groups.handlers(store, partitions)
        if handler not in known:
            raise _unknown(handler, [*known, *dead.commands])
    return dead_events.dead(store, partitions, handler)


def _died(event: DeadEvent) -> str:
    return datetime.fromtimestamp(event.died).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _dead_row(event: DeadEvent) -> tuple[str, ...]:
    said = (str(event.event.get(name, "")) for name in ("type", "key"))
    error = first_line(event.error)
    return event.id, event.handler, _died(event), *said, str(event.deliveries), error


def _as_json(event: DeadEvent) -> dict[str, Any]:
    names = ("handler", "died", "deliveries", "error", "event")
    return {"id": event.id, **{name: getattr(event, name) for name in names}}
