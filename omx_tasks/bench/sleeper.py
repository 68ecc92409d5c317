"""The server of the graphs' bench: a tool that sleeps, for many callers at once, and does nothing else.

Run over standard input and output; the file needs nothing of the project's.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

NAME, TOOL = "sleeper", "sleep"
READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)

Seconds = Annotated[float, Field(ge=0, le=3600)]


def build() -> MCPServer[None]:
    """Return the server; nothing runs yet."""
    server: MCPServer[None] = MCPServer(NAME, version="1.0", log_level="WARNING")

    @server.tool(annotations=READS, structured_output=False)
    async def sleep(seconds: Seconds, task: str = "") -> str:
        """Sleep for some seconds; ``task`` tells calls apart, since equal ones may share an answer."""
        await asyncio.sleep(seconds)
        return f"{task} slept"

    return server


if __name__ == "__main__":
    build().run()
