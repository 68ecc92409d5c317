"""The first call of a session builds nothing that could have been built before, and strange schemas harm nobody."""

from __future__ import annotations

import subprocess
import sys

import pytest

from omx_tasks.errors import OperationError
from omx_tasks.mcp.calls import call
from omx_tasks.mcp.session import Session

#: Counts what a first call builds: what checks answers of a kind, and what checks schemas.
FIRST_CALL = """
import asyncio, sys
from pathlib import Path
from jsonschema import Draft202012Validator
from mcp_types import CallToolRequest, methods
from omx_tasks.mcp import beforehand
from omx_tasks.mcp.calls import call
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.session import Session

config = ServerConfig(
    name="time", path=Path("mcp.json"), transport="stdio",
    command=sys.executable, args=("-m", "mcp_server_time"),
).resolved({})
checked = []
check = Draft202012Validator.check_schema
Draft202012Validator.check_schema = lambda schema, **keys: (checked.append(schema), check(schema, **keys))

async def main():
    beforehand.build()
    session = await Session.open(config, deadline=20, agent="first call")
    async with asyncio.timeout(10):
        while len(checked) < 2:
            await asyncio.sleep(0.01)
    assert CallToolRequest.__pydantic_complete__
    before = methods._adapter.cache_info().misses
    await call(session, "tool", "get_current_time", {"timezone": "UTC"}, timeout=10)
    print(len(checked), methods._adapter.cache_info().misses - before)
    await session.close()

asyncio.run(main())
"""


def test_a_first_call_finds_everything_built() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["2", "0"], done.stderr


def test_strange_schemas_cost_no_session_and_no_other_tool(run, agent, script) -> None:
    async def scenario():
        session = await Session.open(script("schemas"), deadline=20, agent=agent)
        with pytest.raises(OperationError, match="wrong"):
            await call(session, "tool", "wrong", {}, timeout=10)
        value = await call(session, "tool", "fine", {}, timeout=10)
        alive = session.alive
        await session.close()
        return value, alive

    value, alive = run(scenario())
    assert value["structured"] == {}
    assert alive
