"""``omx check`` and ``omx plan``: a graph looked at before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from omx_tasks.agents.matcher import check_words
from omx_tasks.agents.registry import catalogue
from omx_tasks.api import check_against_agents
from omx_tasks.cli.output import config_option, json_option, mark, print_json, results
from omx_tasks.cli.target import existing_store, known_url, known_words, server_file
from omx_tasks.errors import UnavailableError
from omx_tasks.graph import canvas, draw
from omx_tasks.graph.checks import check as check_graph
from omx_tasks.graph.durations import Durations
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import Plan, compile_checked
from omx_tasks.results import durations

_graph_argument = click.argument("graph", type=click.Path(dir_okay=False))


@click.command()
@_graph_argument
@config_option
@json_option
def check(graph: str, mcp_config: str | None, as_json: bool) -> None:
    """Check a graph against its servers; nothing runs.

    Uses what the agents of the system that is up know, else starts each server that the graph names and asks it.
    """
    model = Graph.load(graph)
    if known_url() is not None and mcp_config is None:
        check_against_agents(existing_store(), model, source=graph)
    else:
        _check_against_servers(model, mcp_config, graph)
    plan = compile_checked(model)
    servers = sorted(plan.servers)
    if as_json:
        print_json({"graph": model.name, "operations": len(plan.steps), "servers": servers})
    else:
        count = f"{len(plan.steps)} operation{'s' if len(plan.steps) > 1 else ''}"
        text = f" {graph}: {count} on {', '.join(servers)}, nothing wrong"
        results().print(mark("succeeded").append(text, style="default"), soft_wrap=True)


def _check_against_servers(model: Graph, mcp_config: str | None, source: str) -> None:
    """Ask the servers that a graph names, and check it against what they say."""
    from omx_tasks.cli.direct import probe_all

    check_graph(model, source=source)
    check_words(model, known_words(), source)
    configs = server_file(mcp_config).servers
    check_graph(model, servers=configs, source=source)
    named = {operation.server for operation in model.operations}
    offered, broken = probe_all({name: configs[name] for name in named})
    for operation in model.operations:
        if operation.server in broken:
            raise UnavailableError(
                f"{source}: operation {operation.id!r}: {broken[operation.server]}"
            )
    check_graph(model, servers=configs, catalogue=offered, source=source)


@click.command()
@_graph_argument
@click.option("--canvas", "as_canvas", is_flag=True, help="The Celery groups and chords.")
@click.option("--mermaid", is_flag=True, help="A Mermaid diagram, for up to 500 arrows.")
@click.option("--dot", is_flag=True, help="A Graphviz diagram, for any size.")
@json_option
def plan(graph: str, as_canvas: bool, mermaid: bool, dot: bool, as_json: bool) -> None:
    """Show what a graph compiles to: order, ranks, groups.

    With a system that is up, it is checked against that, and durations are those measured there.
    """
    if sum((as_canvas, mermaid, dot, as_json)) > 1:
        raise click.UsageError("give one of --canvas, --mermaid, --dot and --json")
    model = Graph.load(graph)
    compiled = compile_checked(model, _checked_durations(model, graph))
    takes_turns = {} if known_url() is None else _turns(compiled)
    if as_json:
        print_json(_as_json(compiled, takes_turns))
    elif as_canvas:
        click.echo(canvas.describe(compiled))
    elif dot:
        click.echo(draw.dot(compiled))
    elif mermaid:
        click.echo(draw.mermaid(compiled))
    else:
        click.echo(draw.text(compiled))
        for where, names in _by_place(takes_turns).items():
            click.echo(f"\nThese take turns at {where}: {', '.join(names)}")


def _turns(plan: Plan) -> dict[str, str]:
    """Return where operations take turns, as the agents that are up see it: a server, or each value of a resource."""
    offered = catalogue(existing_store())
    places = {}
    for name, step in plan.steps.items():
        operation = step.operation
        declared = (offered.get(operation.server) or {}).get("turns")
        if declared and operation.kind == "tool" and operation.target in declared["tools"]:
            each = f", each {declared['resource']}" if declared["resource"] else ""
            places[name] = f"{operation.server}{each}"
    return places


def _by_place(places: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, where in places.items():
        found.setdefault(where, []).append(name)
    return found


def _checked_durations(graph: Graph, source: str) -> Durations:
    """Check a graph, with what a system that is up knows; return what was measured there."""
    if known_url() is None:
        check_graph(graph, source=source)
        check_words(graph, known_words(), source)
        return Durations()
    store = existing_store()
    check_against_agents(store, graph, source=source)
    return durations.read(store, graph)


def _as_json(plan: Plan, takes_turns: Mapping[str, str]) -> dict[str, Any]:
    steps = {
        name: {
            "needs": step.needs,
            "fallback": step.fallback,
            "capabilities": step.capabilities,
            "rank": step.rank,
            "seconds": step.seconds,
            "seconds_from": step.source,
            "turns": takes_turns.get(name),
        }
        for name, step in plan.steps.items()
    }
    groups = [{"after": needs, "release": ids} for needs, ids in plan.releases.items()]
    batches = [
        {"after": needs, "capabilities": capabilities, "operations": ids}
        for (needs, capabilities), ids in plan.batches.items()
    ]
    return {
        "graph": plan.graph.name,
        "operations": steps,
        "groups": groups,
        "joins": plan.joins,
        "batches": batches,
    }
