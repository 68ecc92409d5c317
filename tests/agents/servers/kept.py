"""An MCP server whose resource may be kept for an hour: ``kept.py FILE`` writes a line for each reading."""

import sys
from pathlib import Path
from typing import Any

import anyio
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import (
    ListResourcesResult,
    ListToolsResult,
    ReadResourceResult,
    Resource,
    TextResourceContents,
)

URI = "kept://notes"


async def list_tools(_context: Any, _parameters: Any) -> ListToolsResult:
    return ListToolsResult(tools=[])


async def list_resources(_context: Any, _parameters: Any) -> ListResourcesResult:
    return ListResourcesResult(resources=[Resource(name="notes", uri=URI)])


async def read_resource(_context: Any, given: Any) -> ReadResourceResult:
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{given.uri}\n")
    return ReadResourceResult(contents=[TextResourceContents(uri=URI, text="dig")])


async def serve() -> None:
    server: Server[Any] = Server(
        "kept",
        on_list_tools=list_tools,
        on_list_resources=list_resources,
        on_read_resource=read_resource,
        cache_hints={"resources/read": CacheHint(ttl_ms=3_600_000)},
    )
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


anyio.run(serve)
