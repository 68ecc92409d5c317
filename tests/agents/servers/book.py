"""An MCP server that writes down when each write begins and ends: ``book.py FILE``.

Each line of the file is ``begin PAGE KEY`` or ``end PAGE KEY``, appended at once. A ``write`` takes ``seconds``, and
does not wait for other calls; told to ``hang``, it never ends, and given a ``gate``, not before that file exists. The
tool ``read`` is read-only and leaves no line.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool, ToolAnnotations

ANY = {"type": "object"}
TOOLS = [
    Tool(name="write", input_schema=ANY),
    Tool(name="set", input_schema=ANY, annotations=ToolAnnotations(idempotent_hint=True)),
    Tool(name="read", input_schema=ANY, annotations=ToolAnnotations(read_only_hint=True)),
]

book = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(word: str, given: dict[str, Any]) -> None:
    os.write(book, f"{word} {given.get('page', '-')} {given['key']}\n".encode())


async def list_tools(_context: Any, _parameters: Any) -> ListToolsResult:
    return ListToolsResult(tools=TOOLS)


async def call_tool(_context: Any, asked: Any) -> CallToolResult:
    given = asked.arguments or {}
    if asked.name != "read":
        note("begin", given)
        while "gate" in given and not Path(given["gate"]).exists():
            await asyncio.sleep(0.01)
        await asyncio.sleep(3600 if given.get("hang") else given.get("seconds", 0))
        note("end", given)
    return CallToolResult(content=[TextContent(type="text", text=str(given.get("key")))])


async def serve() -> None:
    server: Server[Any] = Server("book", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


asyncio.run(serve())
