"""A server whose state is in its memory: ``add`` counts and says how far it is, ``pid`` says which process counts."""

import os

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

server = MCPServer("counter", log_level="WARNING")
counted = 0


@server.tool(structured_output=False)
async def add() -> str:
    """Count one more."""
    global counted
    counted += 1
    return str(counted)


@server.tool(annotations=ToolAnnotations(read_only_hint=True), structured_output=False)
async def pid() -> str:
    """Say which process this is."""
    return str(os.getpid())


server.run()
