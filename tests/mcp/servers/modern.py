"""A server of the newest protocol whose tools need the client: over pipes, or ``http PORT``."""

import sys
from typing import Annotated

import anyio
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve
from pydantic import BaseModel

server = MCPServer("modern", log_level="INFO" if sys.argv[1:] else "WARNING")


class Sure(BaseModel):
    sure: bool


def confirm() -> Elicit[Sure]:
    return Elicit("Sure?", Sure)


@server.tool()
async def delete(answer: Annotated[Sure, Resolve(confirm)]) -> str:
    return f"deleted: {answer.sure}"


@server.tool()
async def elicit(ctx: Context) -> str:
    return str(await ctx.session.elicit_form("Sure?", Sure.model_json_schema()))


@server.tool()
async def hold() -> str:
    await anyio.sleep_forever()
    return ""


@server.tool()
async def add(a: int, b: int) -> int:
    return a + b


if sys.argv[1:2] == ["http"]:
    server.run("streamable-http", port=int(sys.argv[2]))
elif sys.argv[1:2] == ["sse"]:
    server.run("sse", port=int(sys.argv[2]))
else:
    server.run()
