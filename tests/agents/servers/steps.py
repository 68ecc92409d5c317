"""An MCP server whose tools say how far they are: ``steps.py``.

``walk`` tells of so many steps, and after each waits until the file of that number is in the folder. ``rush`` tells of
thousands of steps without a pause.
"""

from pathlib import Path

import anyio
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("steps", log_level="WARNING")


@server.tool()
async def walk(folder: str, steps: int, context: Context) -> str:
    for step in range(1, steps + 1):
        await context.report_progress(step, steps, f"step {step}")
        while not (Path(folder) / str(step)).exists():
            await anyio.sleep(0.005)
    return "arrived"


@server.tool()
async def rush(steps: int, context: Context) -> str:
    for step in range(1, steps + 1):
        await context.report_progress(step, None, "x" * 1000)
    return "arrived"


server.run()
