"""``omx run``: one graph, from the file to its answer."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from omx_tasks.api import Run, submit_graph
from omx_tasks.cli.output import notices, print_json, results, say
from omx_tasks.cli.present import failures, show_answer
from omx_tasks.cli.progress import show_all
from omx_tasks.cli.target import known_url, server_file, store_for_run
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.graph.checks import check as check_graph
from omx_tasks.graph.model import Graph, bind_inputs
from omx_tasks.graph.plan import Plan, compile_plan
from omx_tasks.runs.view import RunView


def pairs(given: tuple[str, ...]) -> dict[str, str]:
    """Read ``K=V`` words."""
    found = {}
    for word in given:
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise click.UsageError(f"{word!r} is not of the form NAME=VALUE")
        found[name] = value
    return found


@click.command()
@click.argument("graph", type=click.Path(dir_okay=False))
@click.option("--input", "-i", "inputs", multiple=True, metavar="K=V", help="A value for an input.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one line of JSON.")
@click.option("--detach", is_flag=True, help="Submit, print the run's id, and return.")
@click.option(
    "--mcp-config", metavar="FILE", help="MCP server file.  [default: .mcp.json, mcp.json]"
)
def run(
    graph: str, inputs: tuple[str, ...], as_json: bool, detach: bool, mcp_config: str | None
) -> None:
    """Run a graph and print its answer.

    Exit code 0: it succeeded. 1: it failed or was cancelled. 2: the graph or the configuration is wrong.
    """
    model = Graph.load(graph)
    given = pairs(inputs)
    plan = _checked(model, given, graph, mcp_config)
    if detach and known_url() is None:
        raise ConfigurationError("--detach needs a system that stays up: `omx up --detach` first")
    with store_for_run(mcp_config) as store:
        submitted = submit_graph(store, model, given, source=Path(graph).name)
        if detach:
            print_json({"run": submitted.id}) if as_json else click.echo(submitted.id)
            return
        view = _followed(submitted, plan)
    _print(plan, view, as_json)
    sys.exit(0 if view.succeeded else 1)


def _checked(model: Graph, given: dict[str, str], source: str, mcp_config: str | None) -> Plan:
    """Find what is wrong before anything is started."""
    name = Path(source).name
    if known_url() is None:
        check_graph(model, servers=server_file(mcp_config).servers, source=name)
    else:
        check_graph(model, source=name)
    bind_inputs(model, given)
    return compile_plan(model)


def _followed(submitted: Run, plan: Plan) -> RunView:
    """Show the run until it is over; Ctrl-C cancels it."""
    say(f"run {submitted.id}")
    try:
        show_all(plan, submitted.changes())
    except KeyboardInterrupt:
        submitted.cancel()
        say(f"run {submitted.id} is cancelled")
    except UnavailableError as error:
        notices.print(f"omx: {error}", style="red", markup=False)
        sys.exit(1)
    return submitted.status()


def _print(plan: Plan, view: RunView, as_json: bool) -> None:
    if as_json:
        print_json(view.as_json())
        return
    for sentence in failures(view):
        notices.print(f"omx: {sentence}", style="red", markup=False, soft_wrap=True)
    if view.succeeded:
        show_answer(results(), plan, view)
