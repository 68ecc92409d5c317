"""``omx status``, ``watch``, ``result``, ``runs`` and ``cancel``: runs that were submitted."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from omx_tasks.api import Run
from omx_tasks.cli.following import SETTLE
from omx_tasks.cli.output import (
    duration,
    json_option,
    print_json,
    print_table,
    results,
    say,
)
from omx_tasks.cli.present import complain_of_failures, how_far, show_run
from omx_tasks.cli.report import read_report, report_option, write_report
from omx_tasks.cli.target import existing_store
from omx_tasks.runs.listing import RunLine, recent
from omx_tasks.runs.turns import waits

_run_argument = click.argument("run")


@click.command()
@_run_argument
@json_option
def status(run: str, as_json: bool) -> None:
    """Show a run as it is now."""
    store = existing_store()
    view = Run(run, store).status()
    if as_json:
        print_json(view.as_json())
    else:
        show_run(results(), view, {} if view.over else waits(store, run))


@click.command()
@_run_argument
@json_option
def watch(run: str, as_json: bool) -> None:
    """Show each change of a run, and progress, until it is over."""
    console = results()
    for change in Run(run, existing_store()).changes():
        if as_json:
            about = {"at": change.at, "operation": change.operation or None, "state": change.state}
            print_json(about | (change.progress._asdict() if change.progress else {}))
        else:
            clock = datetime.fromtimestamp(change.at).astimezone().strftime("%H:%M:%S.%f")[:-3]
            line = f"{clock}  {change.state:9}  {change.operation or 'run'}  {how_far(change)}".rstrip()
            console.print(line, markup=False, soft_wrap=True)


@click.command()
@_run_argument
@report_option
@json_option
def result(run: str, report: Path | None, as_json: bool) -> None:
    """Wait for a run and print its operations.

    Exit code 1: it failed or was cancelled.
    """
    store = existing_store()
    view = Run(run, store).wait()
    reported = report is None or write_report(read_report(store, run), report)
    if as_json:
        print_json(view.as_json())
    else:
        show_run(results(), view)
        complain_of_failures(view)
    sys.exit(0 if view.succeeded and reported else 1)


@click.command()
@click.option(
    "--most",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="How many, the newest first.",
)
@json_option
def runs(most: int, as_json: bool) -> None:
    """List runs, the newest first."""
    found = recent(existing_store(), most)
    if as_json:
        print_json([run._asdict() for run in found])
        return
    if not found:
        say("no runs yet: `omx run GRAPH` makes one")
        return
    titles = ("run", "state", "open", "operations", "took", "submitted", "graph")
    print_table(titles, [_line(run) for run in found])


def _line(run: RunLine) -> tuple[str, ...]:
    when = datetime.fromtimestamp(run.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    numbers = (str(run.open), str(run.total), duration(run.seconds))
    return (run.run, run.state, *numbers, when, run.name)


@click.command()
@_run_argument
@json_option
def cancel(run: str, as_json: bool) -> None:
    """End a run: what waits is dropped, what runs is cut off.

    The servers are told of each call that is cut off.
    """
    handle = Run(run, existing_store())
    before = handle.status()
    handle.cancel(SETTLE)
    view = handle.status()
    if as_json:
        print_json({"run": run, "state": view.state})
    else:
        over = "over already: " if before.over else ""
        click.echo(f"run {run} is {over}{view.state}")
