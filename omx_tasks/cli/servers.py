"""``omx tools`` and ``omx call``: what the servers offer, and one call by hand."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import click
from rich.table import Table

from omx_tasks.agents.registry import catalogue
from omx_tasks.api import submit_graph
from omx_tasks.cli.graphs import probe_all
from omx_tasks.cli.output import first_line, print_json, results
from omx_tasks.cli.run import pairs
from omx_tasks.cli.target import existing_store, known_url, server_file
from omx_tasks.errors import NotFoundError, OperationError, did_you_mean
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.mcp.calls import call as call_server
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.mcp.session import Session
from omx_tasks.runs.view import OperationView
from omx_tasks.settings import current

_config_option = click.option("--mcp-config", metavar="FILE", help="MCP server file.")
_json_option = click.option("--json", "as_json", is_flag=True, help="One line with one object.")


@click.command()
@click.argument("server", required=False)
@_config_option
@_json_option
def tools(server: str | None, mcp_config: str | None, as_json: bool) -> None:
    """List what the servers offer: tools, resources, prompts."""
    offered = _offered(server, mcp_config)
    if as_json:
        print_json(offered)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("server", "kind", "name", "arguments", "what it does"):
        table.add_column(title)
    for name, entry in sorted(offered.items()):
        for row in _rows(entry):
            table.add_row(name, *row)
    results().print(table)


def _offered(server: str | None, mcp_config: str | None) -> dict[str, Any]:
    if mcp_config is None and known_url() is not None:
        offered = catalogue(existing_store())
        return _only(server, offered) if server else offered
    configs = server_file(mcp_config).servers
    return probe_all(_only(server, configs) if server else configs)


def _only(server: str, known: dict[str, Any]) -> dict[str, Any]:
    if server not in known:
        names = ", ".join(sorted(known)) or "none"
        raise NotFoundError(
            f"there is no server {server!r}.{did_you_mean(server, known)} There are: {names}"
        )
    return {server: known[server]}


def _rows(entry: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    rows = []
    for tool in entry["tools"]:
        schema = tool.get("inputSchema") or {}
        required = set(schema.get("required", ()))
        words = [name if name in required else f"[{name}]" for name in schema.get("properties", {})]
        read_only = (tool.get("annotations") or {}).get("readOnlyHint")
        kind = "tool" if read_only else "tool (writes)"
        rows.append((kind, tool["name"], " ".join(words), first_line(tool.get("description"))))
    for resource in entry["resources"]:
        rows.append(("resource", resource["uri"], "", first_line(resource.get("description"))))
    for prompt in entry["prompts"]:
        words = [argument["name"] for argument in prompt.get("arguments") or ()]
        rows.append(
            ("prompt", prompt["name"], " ".join(words), first_line(prompt.get("description")))
        )
    return rows


@click.command()
@click.argument("server")
@click.argument("tool")
@click.argument("arguments", nargs=-1, metavar="[K=V]…")
@_config_option
@_json_option
def call(
    server: str, tool: str, arguments: tuple[str, ...], mcp_config: str | None, as_json: bool
) -> None:
    """Call one tool: on the system that is up, else on a server started for this call.

    A value that is JSON (a number, true, a list …) is taken as such, anything else as text.
    """
    values = {name: _value(text) for name, text in pairs(arguments).items()}
    if mcp_config is None and known_url() is not None:
        view = _through_system(server, tool, values)
    else:
        configs = _only(server, server_file(mcp_config).servers)
        view = _directly(configs[server], tool, values)
    if as_json:
        print_json({"text": view.text, "structured": view.structured, "error": view.error})
    elif view.error:
        click.echo(f"omx: {view.error['message']}", err=True)
    else:
        click.echo(view.text)
    sys.exit(1 if view.error else 0)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _through_system(server: str, tool: str, values: dict[str, Any]) -> OperationView:
    operation = Operation(id="call", server=server, tool=tool, arguments=values)
    graph = Graph(name=f"call {server}.{tool}", operations=(operation,))
    view = submit_graph(existing_store(), graph, {}).wait().operations["call"]
    assert isinstance(view, OperationView)
    return view


def _directly(config: ServerConfig, tool: str, values: dict[str, Any]) -> OperationView:
    loop = LoopThread()
    loop.start()
    try:
        value = loop.run(_one_call(config, tool, values))
    except OperationError as error:
        return OperationView("failed", error=error.as_json())
    finally:
        loop.stop()
    return OperationView("succeeded", text=value["text"], structured=value["structured"])


async def _one_call(config: ServerConfig, tool: str, values: dict[str, Any]) -> dict[str, Any]:
    resolved = config.resolved(os.environ)
    session = await Session.open(
        resolved, deadline=current().server_start_timeout, agent="omx-call"
    )
    try:
        return await call_server(session, "tool", tool, values, timeout=60.0)
    finally:
        await asyncio.shield(session.close())
