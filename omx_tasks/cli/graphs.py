"""``omx check`` and ``omx plan``: a graph looked at before it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from omx_tasks.agents.registry import catalogue
from omx_tasks.cli.output import print_json, results
from omx_tasks.cli.target import known_url, server_file
from omx_tasks.graph import canvas, draw
from omx_tasks.graph.checks import check as check_graph
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import Plan, compile_plan
from omx_tasks.mcp.catalogue import probe
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.settings import current
from omx_tasks.store.client import Store

_graph_argument = click.argument("graph", type=click.Path(dir_okay=False))
_config_option = click.option("--mcp-config", metavar="FILE", help="MCP server file.")
_json_option = click.option("--json", "as_json", is_flag=True, help="One line with one object.")


@click.command()
@_graph_argument
@_config_option
@_json_option
def check(graph: str, mcp_config: str | None, as_json: bool) -> None:
    """Check a graph against the servers it names; nothing is queued.

    Uses the catalogue of the system that is up, else starts each server that the graph names and asks it.
    """
    model = Graph.load(graph)
    servers, offered = _offered(model, mcp_config)
    check_graph(model, servers=servers, catalogue=offered, source=Path(graph).name)
    plan = compile_plan(model)
    if as_json:
        print_json(
            {"graph": model.name, "operations": len(plan.steps), "servers": sorted(plan.servers)}
        )
    else:
        count, names = len(plan.steps), ", ".join(sorted(plan.servers))
        results().print(f"[green]✔[/] {graph}: {count} operations on {names}, nothing wrong")


@click.command()
@_graph_argument
@click.option("--canvas", "as_canvas", is_flag=True, help="The Celery groups and chords.")
@click.option("--mermaid", is_flag=True, help="A Mermaid diagram.")
@_json_option
def plan(graph: str, as_canvas: bool, mermaid: bool, as_json: bool) -> None:
    """Show what a graph compiles to: order, ranks, what is released together."""
    compiled = compile_plan(Graph.load(graph))
    if as_json:
        print_json(_as_json(compiled))
    elif as_canvas:
        click.echo(canvas.describe(compiled))
    else:
        click.echo(draw.mermaid(compiled) if mermaid else draw.text(compiled))


def _as_json(plan: Plan) -> dict[str, Any]:
    steps = {
        name: {
            "needs": step.needs,
            "capabilities": step.capabilities,
            "rank": step.rank,
            "seconds": step.seconds,
        }
        for name, step in plan.steps.items()
    }
    groups = [{"after": needs, "release": ids} for needs, ids in plan.releases.items()]
    return {"graph": plan.graph.name, "operations": steps, "groups": groups, "joins": plan.joins}


def _offered(model: Graph, mcp_config: str | None) -> tuple[set[str], dict[str, Any]]:
    """Return the servers there are, and what those that the graph names offer."""
    url = known_url()
    if url is not None and mcp_config is None:
        store = Store(url)
        store.ping(3.0)
        offered = catalogue(store)
        return set(offered), offered
    configs = server_file(mcp_config).servers
    check_graph(model, servers=configs, source="")
    return set(configs), probe_all({name: configs[name] for name in _named(model)})


def _named(model: Graph) -> set[str]:
    return {operation.server for operation in model.operations}


def probe_all(configs: dict[str, Any]) -> dict[str, Any]:
    """Start each of these servers, ask what it offers, and end it; all at the same time."""
    loop = LoopThread()
    loop.start()
    deadline = current().server_start_timeout
    try:
        asked = {
            name: loop.submit(probe(config, deadline, environ=os.environ))
            for name, config in configs.items()
        }
        return {name: future.result(deadline + 10) for name, future in asked.items()}
    finally:
        loop.stop()
