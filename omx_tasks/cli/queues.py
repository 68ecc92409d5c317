"""``omx queues``: what waits where, who takes it, and whether it adds up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click
from rich.text import Text

from omx_tasks import settings
from omx_tasks.agents.registry import accepted_alone, agents
from omx_tasks.broker import audit
from omx_tasks.broker.audit import GONE, TIMES, QueueReport, Spot
from omx_tasks.cli.dead import dead
from omx_tasks.cli.output import (
    age,
    complain,
    json_option,
    mark,
    print_json,
    print_table,
    results,
    say,
    warn,
)
from omx_tasks.cli.target import existing_store
from omx_tasks.runs.advance import plans
from omx_tasks.runs.reconcile import reconcile
from omx_tasks.store import shards
from omx_tasks.store.client import Store

#: Seconds over which rates are measured, and the width of a terminal from which on all columns are shown.
MEASURE, WIDE = 0.5, 110
NOTHING = (
    "no queues yet: agents make theirs (`omx up --detach`), and so does the first `omx run GRAPH`"
)

_COUNTERS = ("published", *GONE, *TIMES)


@click.group(invoke_without_command=True)
@click.option(
    "--audit", "audited", is_flag=True, help="Exit 1 unless every message is accounted for."
)
@click.option("--all", "everything", is_flag=True, help="Also Celery's own, of remote control.")
@click.option("--repair", is_flag=True, help="Publish operations again whose message got lost.")
@json_option
@click.pass_context
def queues(
    context: click.Context, audited: bool, everything: bool, repair: bool, as_json: bool
) -> None:
    """List the queues and what waits in them.

    With --audit also what became of every message that was ever published. With --repair nothing is listed: what
    crashed steps left behind is found and mended, once, as the coordinator does all the time.
    """
    if context.invoked_subcommand is not None:
        return
    store = existing_store()
    if repair:
        _repair(store, as_json)
        return
    found = audit.reports(store) if audited else audit.measured(store, MEASURE)
    found = [report for report in found if everything or not report.is_internal]
    if as_json:
        print_json([_as_json(report) for report in found])
    elif not found:
        say(NOTHING)
    elif audited:
        _print_audit(found)
    else:
        _print(found)
    wrong = [report for report in found if report.missing] if audited else []
    for report in wrong:
        complain(f"queue {report.name!r}: {_missing(report.missing)}")
    _warn_of_shards(store)
    sys.exit(1 if wrong else 0)


queues.add_command(dead)


def _warn_of_shards(store: Store) -> None:
    found = shards.count(store)
    if told := found.told(store.confirmer.promise):
        warn(told)
        for line in found.told_each(accepted_alone(agents(store))):
            warn(line)


def _repair(store: Store, as_json: bool) -> None:
    found = reconcile(store, plans(store), age=settings.current().overdue)
    if as_json:
        print_json(found._asdict())
    else:
        say(
            f"looked at {found.runs} open runs ({found.over} of them over): {found.published} overdue operations "
            f"published again where their message was lost, {found.given_up} given up"
        )


def _print(found: list[QueueReport]) -> None:
    console = results()
    wide = not console.is_terminal or console.width >= WIDE
    rows = [_row(report, wide) for report in found]
    if console.is_terminal:
        _fit(rows, console.width)
    print_table(list(rows[0]), [list(row.values()) for row in rows])
    for line in _hints(found):
        say(line)


def _hints(found: list[QueueReport]) -> Iterator[str]:
    for report in found:
        if count := report.stats.suspects:
            yield (
                f"{report.name}: {count} suspects, in hand each time when two agents or more ended; "
                "an agent gets one of them at a time"
            )
    if any(report.stats.dead for report in found):
        yield "`omx queues dead` says why messages are dead, and puts them back"


def _row(report: QueueReport, wide: bool) -> dict[str, str]:
    """Return a line of the table: title and cell of each column."""
    stats, rates = report.stats, report.rates
    waiting = {f"P{number}": str(count) for number, count in enumerate(stats.waiting)}
    row = {
        "queue": report.name,
        **(waiting if wide else {"waiting": str(sum(stats.waiting))}),
        "leased": str(stats.leased),
        "delayed": str(stats.delayed),
        "dead": str(stats.dead),
        "oldest": age(report.oldest),
        "in/s": f"{rates.published:.0f}" if rates else "-",
        "out/s": f"{rates.acked:.0f}" if rates else "-",
        "workers": str(report.consumers),
    }
    return {**row, **_place(report.spots)} if wide else row


def _place(spots: tuple[Spot, ...]) -> dict[str, str]:
    """Return where a queue is: its slot and node, or how many it has of them."""
    if len(spots) == 1:
        return {"slot": str(spots[0].slot), "node": str(spots[0].node)}
    return {"slot": f"{len(spots)} slots", "node": f"{len({s.node for s in spots})} nodes"}


def _fit(rows: list[dict[str, str]], width: int) -> None:
    """Shorten the names of queues in their middle until a line has room."""
    others = [title for title in rows[0] if title != "queue"]
    taken = sum(2 + max(len(title), *(len(row[title]) for row in rows)) for title in others)
    room = max(12, width - taken)
    for row in rows:
        name = row["queue"]
        if len(name) > room:
            row["queue"] = f"{name[: room // 2]}…{name[len(name) - (room - 1) // 2 :]}"


def _print_audit(found: list[QueueReport]) -> None:
    """Print for each queue what became of its messages: only what there is."""
    console = results()
    for report in found:
        stats, counters = report.stats, report.stats.counters
        places = {
            **{name: counters.get(name, 0) for name in GONE},
            "waiting": sum(stats.waiting),
            "leased": stats.leased,
            "delayed": stats.delayed,
            "dead": stats.dead,
        }
        sums = " + ".join(f"{count:,} {name}" for name, count in places.items() if count) or "0"
        published = f"{counters.get('published', 0):,} published = {sums}"
        line = Text.assemble(mark("failed" if report.missing else "succeeded"), " ", report.name)
        line.append(f"  {published}", style="dim")
        if report.missing:
            line.append(f"; {_missing(report.missing)}", style="red")
        console.print(line, soft_wrap=True)


def _missing(count: int) -> str:
    return f"{abs(count):,} {'unaccounted for' if count > 0 else 'more than were published'}"


def _as_json(report: QueueReport) -> dict[str, Any]:
    stats, rates = report.stats, report.rates
    oldest = {f"P{number}": age for number, age in enumerate(stats.oldest)}
    return {
        "queue": report.name,
        "waiting": {f"P{number}": count for number, count in enumerate(stats.waiting)},
        "leased": stats.leased,
        "delayed": stats.delayed,
        "suspects": stats.suspects,
        "dead": stats.dead,
        "oldest": {**oldest, "all": report.oldest},
        "rates": rates._asdict() if rates else None,
        "consumers": report.consumers,
        "counters": {name: stats.counters.get(name, 0) for name in _COUNTERS},
        "missing": report.missing,
        "slot": report.spots[0].slot,
        "node": str(report.spots[0].node),
        "partitions": [{"slot": spot.slot, "node": str(spot.node)} for spot in report.spots],
    }
