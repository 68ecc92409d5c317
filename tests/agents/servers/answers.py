"""An MCP server that offers every function of NESTFUL: ``answers.py NESTFUL.json``.

A function answers with all fields that any of the graphs reads of it, and with the arguments it was given. The values
follow from the function, the arguments and the field, and are of all types.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

Calls = list[dict[str, Any]]

REFERENCE = re.compile(r"\$(var\d+)\.?([^$]*)\$")


def fields_of(samples: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return, for each function, the fields that are read of it (``location.name``, ``author[0].id``)."""
    found: dict[str, set[str]] = {}
    for sample in samples:
        names = {call.get("label"): call["name"] for call in sample["output"]}
        for call in sample["output"]:
            fields = found.setdefault(call["name"], set())
            for label, field in REFERENCE.findall(json.dumps(call["arguments"])):
                found[names[label]].add(field)
            fields.discard("")
    return {name: sorted(fields - {""}) for name, fields in found.items()}


def answer(name: str, arguments: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    """Return what a function answers."""
    result: dict[str, Any] = {"function": name, "arguments": arguments}
    for field in fields:
        seed = json.dumps([name, arguments, field], sort_keys=True)
        _put(result, field, _value(seed))
    return result


def _value(seed: str) -> Any:
    digest = hashlib.sha256(seed.encode()).digest()
    number = int.from_bytes(digest[:4], "big")
    kinds: list[Any] = [
        number,
        number / 7,
        f"wörd {number} ${{not a reference}} $var1$",
        number % 2 == 0,
        None,
        [number, "x", None],
        {"deep": {"number": number}},
        "",
    ]
    return kinds[digest[4] % len(kinds)]


def _put(result: dict[str, Any], field: str, value: Any) -> None:
    """Put a value where ``location.name`` or ``author[0].id`` says; what is there already stays."""
    name, _, rest = field.partition(".")
    is_list = name.endswith("[0]")
    name = name.removesuffix("[0]")
    if is_list:
        inner: dict[str, Any] = result.setdefault(name, [{"place": 0}])[0]
    elif rest:
        inner = result.setdefault(name, {})
    else:
        result.setdefault(name, value)
        return
    if rest:
        _put(inner, rest, value)


async def serve(path: str) -> None:
    from mcp.server.lowlevel import Server
    from mcp.server.stdio import stdio_server
    from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool

    fields = fields_of(json.loads(Path(path).read_text())["samples"])
    schema = {"type": "object"}

    async def list_tools(_context: Any, _parameters: Any) -> ListToolsResult:
        return ListToolsResult(tools=[Tool(name=name, input_schema=schema) for name in fields])

    async def call_tool(_context: Any, given: Any) -> CallToolResult:
        value = answer(given.name, given.arguments or {}, fields[given.name])
        text = TextContent(type="text", text=f"{given.name} answered")
        return CallToolResult(content=[text], structured_content=value)

    server: Server[Any] = Server("answers", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


if __name__ == "__main__":
    import anyio

    anyio.run(serve, sys.argv[1])
