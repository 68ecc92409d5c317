"""``omx queues``: what waits where, whether it adds up, and the messages that nobody could finish."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click

from omx_tasks.broker import audit
from omx_tasks.broker.audit import QueueReport
from omx_tasks.cli.output import complain, json_option, print_json, print_table, say
from omx_tasks.cli.target import existing_store
from omx_tasks.errors import NotFoundError

_COUNTERS = ("published", "acked", "failed", "purged", "dropped", "returned", "fenced")
_queue_argument = click.argument("queue")
_ids_argument = click.argument("ids", nargs=-1, metavar="[ID]…")


@click.group(invoke_without_command=True)
@click.option(
    "--audit", "audited", is_flag=True, help="Exit 1 unless every message is accounted for."
)
@json_option
@click.pass_context
def queues(context: click.Context, audited: bool, as_json: bool) -> None:
    """List the queues and what waits in them.

    With --audit also what became of every message that was ever published.
    """
    if context.invoked_subcommand is not None:
        return
    found = audit.reports(existing_store())
    if as_json:
        print_json([_as_json(report) for report in found])
    elif not found:
        say("no queues yet")
    else:
        _print(found, audited)
    wrong = [report for report in found if report.missing] if audited else []
    for report in wrong:
        complain(f"queue {report.name!r}: {report.missing} messages are unaccounted for")
    sys.exit(1 if wrong else 0)


def _print(found: list[QueueReport], audited: bool) -> None:
    titles: tuple[str, ...]
    if audited:
        titles = ("queue", *_COUNTERS, "waiting", "leased", "delayed", "dead", "missing")
        print_table(titles, [_audit_line(report) for report in found])
    else:
        titles = ("queue", "P0", "P1", "P2", "P3", "leased", "delayed", "dead", "slot", "node")
        print_table(titles, [_line(report) for report in found])


def _line(report: QueueReport) -> tuple[str, ...]:
    stats = report.stats
    numbers = (*stats.waiting, stats.leased, stats.delayed, stats.dead, report.slot)
    return (report.name, *map(str, numbers), str(report.node))


def _audit_line(report: QueueReport) -> tuple[str, ...]:
    stats = report.stats
    counted = (stats.counters.get(name, 0) for name in _COUNTERS)
    numbers = (
        *counted,
        sum(stats.waiting),
        stats.leased,
        stats.delayed,
        stats.dead,
        report.missing,
    )
    return (report.name, *map(str, numbers))


def _as_json(report: QueueReport) -> dict[str, Any]:
    stats = report.stats
    return {
        "queue": report.name,
        "waiting": {f"P{number}": count for number, count in enumerate(stats.waiting)},
        "leased": stats.leased,
        "delayed": stats.delayed,
        "dead": stats.dead,
        "counters": {name: stats.counters.get(name, 0) for name in _COUNTERS},
        "missing": report.missing,
        "slot": report.slot,
        "node": str(report.node),
    }


@queues.group()
def dead() -> None:
    """Messages that were delivered too often: look at them, put them back, or drop them."""


@dead.command("list")
@_queue_argument
@json_option
def list_dead(queue: str, as_json: bool) -> None:
    """List a queue's dead messages, the longest dead first."""
    found = list(audit.dead(existing_store(), queue))
    if as_json:
        print_json([{**message._asdict(), "body": message.body.decode()} for message in found])
    elif not found:
        say(f"nothing is dead in {queue}")
    else:
        rows = [
            (
                message.id,
                datetime.fromtimestamp(message.died).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
                message.priority.name,
                str(message.deliveries),
            )
            for message in found
        ]
        print_table(("message", "died", "priority", "deliveries"), rows)


@dead.command()
@_queue_argument
@_ids_argument
def replay(queue: str, ids: tuple[str, ...]) -> None:
    """Put dead messages back to their places, counted anew; without ids, all of them."""
    store = existing_store()
    say(f"{audit.replay(store, queue, _chosen(queue, ids))} messages are back in {queue}")


@dead.command()
@_queue_argument
@_ids_argument
def drop(queue: str, ids: tuple[str, ...]) -> None:
    """Remove dead messages for good; without ids, all of them."""
    store = existing_store()
    say(f"{audit.drop(store, queue, _chosen(queue, ids))} messages of {queue} are gone")


def _chosen(queue: str, ids: tuple[str, ...]) -> list[str]:
    """Return the ids that were named, all of them dead, or all that are dead."""
    known = [message.id for message in audit.dead(existing_store(), queue)]
    for name in ids:
        if name not in known:
            raise NotFoundError(
                f"no dead message {name!r} in {queue}: `omx queues dead list {queue}`"
            )
    return list(ids) or known
