"""``omx run``: one graph, from the file to its answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from omx_tasks.api import Run, submit_graph
from omx_tasks.cli.output import complain, config_option, duration, print_json, results, say
from omx_tasks.cli.present import complain_of_failures, shared, show_answer
from omx_tasks.cli.progress import show_all
from omx_tasks.cli.report import (
    against_ideal,
    read_ideal,
    read_report,
    report_option,
    write_report,
)
from omx_tasks.cli.target import known_url, server_file, store_for_run, warn_of_broken
from omx_tasks.deploy.interrupts import held_back
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.graph.checks import check as check_graph
from omx_tasks.graph.model import Graph, bind_inputs
from omx_tasks.graph.plan import Plan, compile_checked
from omx_tasks.runs.view import RunView
from omx_tasks.store.client import Store


def pairs(given: tuple[str, ...]) -> dict[str, str]:
    """Read ``K=V`` words."""
    found: dict[str, str] = {}
    for word in given:
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise click.UsageError(f"{word!r} is not of the form NAME=VALUE")
        if name in found:
            raise click.UsageError(f"{name!r} is given twice; give it once")
        found[name] = value
    return found


@click.command()
@click.argument("graph", type=click.Path(dir_okay=False))
@click.option("--input", "-i", "inputs", multiple=True, metavar="K=V", help="A value for an input.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one line of JSON.")
@click.option("--detach", is_flag=True, help="Submit, print the run's id, and return.")
@report_option
@config_option
def run(
    graph: str,
    inputs: tuple[str, ...],
    as_json: bool,
    detach: bool,
    report: Path | None,
    mcp_config: str | None,
) -> None:
    """Run a graph and print its answer.

    Exit code 0: it succeeded. 1: it failed or was cancelled. 2: the graph or the configuration is wrong.
    """
    if detach and report:
        raise click.UsageError("with --detach, ask later: `omx result RUN --report FILE.html`")
    model = Graph.load(graph)
    given = pairs(inputs)
    plan = _checked(model, given, graph, mcp_config)
    if detach and known_url() is None:
        raise ConfigurationError("--detach needs a system that stays up: `omx up --detach` first")
    with store_for_run(mcp_config) as store:
        if detach:
            submitted = _submitted(store, plan, given, graph)
            print_json({"run": submitted.id}) if as_json else click.echo(submitted.id)
            return
        view = _followed(store, plan, given, graph)
        reported = _reported(store, view, report)
    _print(plan, view, as_json)
    sys.exit(0 if view.succeeded and reported else 1)


def _checked(model: Graph, given: dict[str, str], source: str, mcp_config: str | None) -> Plan:
    """Find what is wrong before anything is started."""
    known = None if known_url() else server_file(mcp_config).servers
    check_graph(model, servers=known, source=source)
    bind_inputs(model, given, source)
    return compile_checked(model)


def _submitted(store: Store, plan: Plan, given: dict[str, str], source: str) -> Run:
    submitted = submit_graph(store, plan.graph, given, source=source)
    warn_of_broken(store, frozenset(plan.servers))
    return submitted


def _followed(store: Store, plan: Plan, given: dict[str, str], source: str) -> RunView:
    """Submit the run and show it until it is over; Ctrl-C cancels it."""
    submitted: Run | None = None
    try:
        with held_back():
            submitted = _submitted(store, plan, given, source)
            say(f"run {submitted.id}")
        show_all(plan, submitted.changes())
    except KeyboardInterrupt:
        if submitted is None:
            raise
        return _ended(submitted, cancel=True)
    except UnavailableError as error:
        if submitted is None:
            raise
        _lost(error)
    return _ended(submitted)


def _ended(submitted: Run, *, cancel: bool = False) -> RunView:
    try:
        if cancel:
            submitted.cancel()
        view = submitted.status()
    except UnavailableError as error:
        _lost(error)
    say(f"run {submitted.id} {view.state} in {duration(view.seconds)}{shared(view)}")
    return view


def _reported(store: Store, view: RunView, path: Path | None) -> bool:
    """Say how the run went against what was possible, and write the page; False when it could not be written."""
    try:
        report = None if path is None else read_report(store, view.run)
        ideal = read_ideal(store, view.run) if report is None else report.ideal
    except UnavailableError as error:
        complain(f"there is no report: {error}")
        return path is None
    if view.succeeded and (line := against_ideal(view.seconds, ideal)):
        say(line)
    return report is None or path is None or write_report(report, path)


def _lost(error: UnavailableError) -> NoReturn:
    """End with the code of a run that did not succeed: it was queued, and nobody knows how it goes on."""
    complain(str(error))
    sys.exit(1)


def _print(plan: Plan, view: RunView, as_json: bool) -> None:
    complain_of_failures(view)
    if as_json:
        print_json(view.as_json())
    elif view.succeeded:
        show_answer(results(), plan, view)
