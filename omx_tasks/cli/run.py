"""``omx run``: one graph, from the file to its answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import click

from omx_tasks.agents.matcher import check_words
from omx_tasks.api import Run, submit_graph
from omx_tasks.cli.following import followed
from omx_tasks.cli.output import complain, config_option, print_json, results, say
from omx_tasks.cli.present import complain_of_failures, show_answer
from omx_tasks.cli.progress import calls_of
from omx_tasks.cli.report import (
    against_ideal,
    read_ideal,
    read_report,
    report_option,
    write_report,
)
from omx_tasks.cli.target import known_url, known_words, server_file, store_for_run, warn_of_broken
from omx_tasks.deploy.interrupts import held_back
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.events import refusals
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
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Cancel the run after so long, wherever this command is then.",
)
@click.option(
    "--wait-for-agents",
    "wait",
    is_flag=True,
    help="Queue it also where no agent that is up could take an operation.",
)
@report_option
@config_option
def run(
    graph: str,
    inputs: tuple[str, ...],
    as_json: bool,
    detach: bool,
    timeout: float | None,
    wait: bool,
    report: Path | None,
    mcp_config: str | None,
) -> None:
    """Run a graph and print its answer.

    Ctrl-C asks whether to cancel it; without a terminal to ask on it cancels.

    Exit code 0: it succeeded. 1: it failed or was cancelled. 2: the graph or the configuration is wrong.
    """
    if detach and report:
        raise click.UsageError("with --detach, ask later: `omx result RUN --report FILE.html`")
    given = pairs(inputs)
    stays = known_url() is not None
    with refusals.told(None, "", graph) if stays else nullcontext():
        model = Graph.load(graph)
    with refusals.told(None, model.name, graph) if stays else nullcontext():
        plan = _checked(model, given, graph, mcp_config)
    if detach and not stays:
        raise ConfigurationError("--detach needs a system that stays up: `omx up --detach` first")
    submit = partial(_submitted, plan, given, source=graph, timeout=timeout, wait=wait)
    with store_for_run(mcp_config) as store:
        if detach:
            submitted = submit(store)
            print_json({"run": submitted.id}) if as_json else click.echo(submitted.id)
            return
        submitted, interrupted = _begun(partial(submit, store))
        view = followed(submitted, calls_of(plan), may_leave=stays, interrupted=interrupted)
        if view is None:
            return
        reported = _reported(store, view, report)
    _print(plan, view, as_json)
    if stays and not view.succeeded:
        say(f"to do what is not done: omx resume {view.run}")
    sys.exit(0 if view.succeeded and reported else 1)


def _checked(model: Graph, given: dict[str, str], source: str, mcp_config: str | None) -> Plan:
    """Find what is wrong before anything is started."""
    known = None if known_url() else server_file(mcp_config).servers
    check_graph(model, servers=known, source=source)
    if known is not None:
        check_words(model, known_words(), source)
    bind_inputs(model, given, source)
    return compile_checked(model)


def _submitted(
    plan: Plan,
    given: dict[str, str],
    store: Store,
    *,
    source: str,
    timeout: float | None,
    wait: bool,
) -> Run:
    submitted = submit_graph(
        store, plan.graph, given, source=source, timeout=timeout, wait_for_agents=wait
    )
    warn_of_broken(store, frozenset(plan.servers))
    return submitted


def _begun(submit: Callable[[], Run]) -> tuple[Run, KeyboardInterrupt | None]:
    """Submit the run; return also the interrupt that came meanwhile."""
    submitted: Run | None = None
    try:
        with held_back():
            submitted = submit()
            say(f"run {submitted.id}")
    except KeyboardInterrupt as interrupt:
        if submitted is None:
            raise
        return submitted, interrupt
    return submitted, None


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


def _print(plan: Plan, view: RunView, as_json: bool) -> None:
    complain_of_failures(view)
    if as_json:
        print_json(view.as_json())
    elif view.succeeded:
        show_answer(results(), plan, view)
