"""``omx tools`` and ``omx call``: what the servers offer, and one call by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from omx_tasks.agents.registry import agents, broken_servers, catalogue
from omx_tasks.api import submit_graph
from omx_tasks.cli.output import (
    brief,
    complain,
    config_option,
    first_line,
    json_option,
    print_json,
    print_table,
    warn,
)
from omx_tasks.cli.run import pairs
from omx_tasks.cli.target import existing_store, known_url, server_file
from omx_tasks.errors import GraphError, NotFoundError, UnavailableError, did_you_mean
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.runs.view import OperationView

#: How narrow the columns of names and of arguments may become on a terminal.
_NAME, _ARGUMENTS = 12, 12


@click.command()
@click.argument("server", required=False)
@config_option
@json_option
def tools(server: str | None, mcp_config: str | None, as_json: bool) -> None:
    """List what servers offer: tools, resources, prompts."""
    offered, broken = _offered(server, mcp_config)
    for name, reason in broken.items():
        if name == server:
            raise UnavailableError(reason)
        warn(brief(reason))
    if as_json:
        print_json(offered)
    else:
        rows = [(name, *row) for name, entry in sorted(offered.items()) for row in _rows(entry)]
        titles = ("server", "kind", "name", "arguments", "what it does")
        print_table(titles, rows, {2: _NAME, 3: _ARGUMENTS})


def _offered(server: str | None, mcp_config: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what servers offer, and why some could not be started: as agents saw it, or asked now."""
    if mcp_config is None and known_url() is not None:
        store = existing_store()
        records = agents(store)
        broken = broken_servers(records)
        live = {name for record in records for name in record.servers}
        offered = {name: entry for name, entry in catalogue(store).items() if name in live}
        return _only(server, offered, broken)
    from omx_tasks.cli.direct import probe_all

    configs, _ = _only(server, server_file(mcp_config).servers, {})
    return probe_all(configs)


def _only(
    server: str | None, known: Mapping[str, Any], broken: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the one that is asked for, or all where none is."""
    if server is None:
        return dict(known), broken
    names = sorted(known.keys() | broken.keys())
    if server not in names:
        raise NotFoundError(
            f"there is no server {server!r}.{did_you_mean(server, names)} "
            f"There are: {', '.join(names) or 'none'}"
        )
    pick = {server}
    return (
        {name: known[name] for name in pick & known.keys()},
        {name: broken[name] for name in pick & broken.keys()},
    )


def _rows(entry: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield kind, name, arguments (those that may be left out in brackets) and description of each thing."""
    declared = (entry.get("turns") or {}).get("read_only", ())
    for tool in entry["tools"]:
        schema = tool.get("inputSchema") or {}
        required = set(schema.get("required", ()))
        words = [(name, name in required) for name in schema.get("properties", {})]
        read_only = (tool.get("annotations") or {}).get("readOnlyHint")
        kind = "tool" if read_only or tool["name"] in declared else "tool (may write)"
        yield kind, tool["name"], _arguments(words), first_line(tool.get("description"))
    for resource in entry["resources"]:
        yield "resource", resource["uri"], "", first_line(resource.get("description"))
    for template in entry.get("resourceTemplates", ()):
        yield "resource", template["uriTemplate"], "", first_line(template.get("description"))
    for prompt in entry["prompts"]:
        words = [(one["name"], one.get("required", False)) for one in prompt.get("arguments") or ()]
        yield "prompt", prompt["name"], _arguments(words), first_line(prompt.get("description"))


def _arguments(words: list[tuple[str, bool]]) -> str:
    return " ".join(name if needed else f"[{name}]" for name, needed in words)


@click.command()
@click.argument("server")
@click.argument("tool")
@click.argument("arguments", nargs=-1, metavar="[K=V]…")
@config_option
@json_option
def call(
    server: str, tool: str, arguments: tuple[str, ...], mcp_config: str | None, as_json: bool
) -> None:
    """Call one tool and print what it says.

    The system that is up makes the call, else the server is started for it. A value that is JSON (a number,
    true, a list …) is taken as such, anything else as text.
    """
    values = {name: _value(text) for name, text in pairs(arguments).items()}
    operation = Operation(id="call", server=server, tool=tool, arguments=values)
    try:
        view = _called(operation, mcp_config)
    except GraphError as error:
        raise GraphError(str(error).replace("operation 'call': ", "")) from error
    if as_json:
        print_json({"text": view.text, "structured": view.structured, "error": view.error})
    elif view.error:
        complain(view.error["message"])
    else:
        click.echo(view.text)
    sys.exit(1 if view.error else 0)


def _value(text: str) -> Any:
    """Return JSON as what it means and other text as it is; ``${`` has no meaning in a single call."""
    try:
        return json.loads(text.replace("${", "$${"))
    except ValueError:
        return text.replace("${", "$${")


def _called(operation: Operation, mcp_config: str | None) -> OperationView:
    if mcp_config is None and known_url() is not None:
        return _through_system(operation)
    from omx_tasks.cli.direct import call_once

    configs, _ = _only(operation.server, server_file(mcp_config).servers, {})
    return call_once(configs[operation.server], operation)


def _through_system(operation: Operation) -> OperationView:
    graph = Graph(name=f"call {operation.server}.{operation.tool}", operations=(operation,))
    submitted = submit_graph(existing_store(), graph, {})
    try:
        view = submitted.wait().operations[operation.id]
    except KeyboardInterrupt:
        submitted.cancel()
        raise
    assert isinstance(view, OperationView)
    return view
