"""``omx resume``: take up a run that failed or was cancelled."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast, get_args

import click

from omx_tasks.api import Choice, Run
from omx_tasks.cli.following import followed
from omx_tasks.cli.output import json_option, print_json, results, say
from omx_tasks.cli.present import complain_of_failures, show_run
from omx_tasks.cli.report import read_report, report_option, write_report
from omx_tasks.cli.target import existing_store
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import joins
from omx_tasks.store.client import Store


@click.command()
@click.argument("run")
@click.option(
    "--unknown",
    multiple=True,
    metavar="[OPERATION=]CHOICE",
    help="Operations that may have been done: keep (default), retry, or done: somebody saw to it.",
)
@click.option(
    "--again",
    multiple=True,
    metavar="SERVER",
    help="Do again what succeeded on this server, and all that needs it: the run's session there is lost.",
)
@click.option("--detach", is_flag=True, help="Print the run's id, and return.")
@report_option
@json_option
def resume(
    run: str,
    unknown: tuple[str, ...],
    again: tuple[str, ...],
    detach: bool,
    report: Path | None,
    as_json: bool,
) -> None:
    """Take up a run that did not succeed: do what is not done.

    What succeeded stays, and so does what failed with `on_failure: continue`. An operation that is unknown may have
    been done: see to that, then say what becomes of it. What a stateful server had become for the run is gone with
    its session (`session_lost`): only --again does that, and what needs it, once more.

    Exit code 0: it succeeded. 1: it failed again or was cancelled. 2: there is nothing to resume.
    """
    if detach and report:
        raise click.UsageError("with --detach, ask later: `omx result RUN --report FILE.html`")
    store = existing_store()
    handle = Run(run, store)
    every, choices = _choices(unknown)
    generation = handle.resume(every, choices, again)
    if detach:
        print_json({"run": run}) if as_json else click.echo(run)
        return
    say(f"run {run} goes on")
    view = followed(handle, _calls(store, run), generation=generation)
    if view is None:
        return
    reported = report is None or write_report(read_report(store, run), report)
    complain_of_failures(view)
    if as_json:
        print_json(view.as_json())
    else:
        show_run(results(), view)
    sys.exit(0 if view.succeeded and reported else 1)


def _choices(given: tuple[str, ...]) -> tuple[Choice, dict[str, Choice]]:
    """Read what becomes of unknown operations: of all, and of single ones."""
    choices: dict[str, Choice] = {}
    for word in given:
        name, _, choice = word.rpartition("=")
        if choice not in get_args(Choice):
            raise click.UsageError(f"--unknown {word}: {choice!r} is none of keep, retry, done")
        choices[name] = cast("Choice", choice)
    return choices.pop("", "keep"), choices


def _calls(store: Store, run_id: str) -> dict[str, str]:
    plan = StoredPlan.parse(store.run(joins.read_plan(run_id)))
    return {name: f"{step.server}.{step.target}" for name, step in plan.steps.items()}
