"""What the SDK does at the first call of a kind, done before there is one.

What checks requests and answers is built when it is used first, and so is what checks the structured answers of each
tool. Together that is as much work for an agent as the rest of an operation.

::

    build              what is the same for all servers: once a process, before the fork where agents are forks
    compile_schemas    what follows from a server's tools: once a session, when it is open
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from mcp import Client
from mcp_types import CallToolRequest, CallToolResult, GetPromptRequest, ReadResourceRequest
from mcp_types.methods import SERVER_RESULTS, validate_server_result
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS
from pydantic import ValidationError

_REQUESTS = (CallToolRequest, ReadResourceRequest, GetPromptRequest)
_METHODS = ("tools/list", "tools/call", "resources/read", "prompts/get")
#: Characters of a schema; a longer one is left to the call that needs it, since nothing else is done meanwhile.
LONGEST = 20_000


@cache
def build() -> None:
    """Build the models of calls and of their answers, for all versions of the protocol."""
    for request in _REQUESTS:
        request.model_rebuild()
    for version in KNOWN_PROTOCOL_VERSIONS:
        for method in _METHODS:
            if (method, version) in SERVER_RESULTS:
                with contextlib.suppress(ValidationError):
                    validate_server_result(method, version, {})


async def compile_schemas(
    client: Client, tools: Sequence[dict[str, Any]], needed: Callable[[], bool]
) -> None:
    """Compile the schemas of what tools answer, as they were listed, as long as that is ``needed``.

    One after the other, so that calls which are under way do not wait for all of them. An empty answer is checked for
    that: what is wrong with it means nothing, and what is wrong with its schema is told by the calls that meet it.
    """
    nothing = CallToolResult(content=[], structured_content={})
    for tool in tools:
        schema = tool["outputSchema"]
        if schema is None or len(json.dumps(schema)) > LONGEST:
            continue
        if not needed():
            return
        with contextlib.suppress(Exception):
            await client.session.validate_tool_result(tool["name"], nothing)
        await asyncio.sleep(0)
