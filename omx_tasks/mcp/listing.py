"""What a server offers, as plain JSON: read once, when a connection is opened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from mcp import Client, MCPError
from mcp_types import METHOD_NOT_FOUND, PromptArgument, Tool
from pydantic import BaseModel


class _Page(Protocol):
    @property
    def next_cursor(self) -> str | None: ...


_P = TypeVar("_P", bound=_Page)
_I = TypeVar("_I", bound=BaseModel)


async def read(client: Client) -> dict[str, Any]:
    """Return ``tools``, ``resources``, ``resourceTemplates`` and ``prompts``, all pages of each.

    Tools are always asked for, the rest where the server announces it.
    """
    offers = client.server_capabilities
    found: dict[str, Any] = {"resources": [], "resourceTemplates": [], "prompts": []}
    tools = await _all(client.list_tools, lambda page: page.tools)
    found["tools"] = [_tool(tool) for tool in tools]
    if offers.resources is not None:
        found["resources"] = _plain(await _all(client.list_resources, lambda page: page.resources))
        found["resourceTemplates"] = _plain(
            await _all(client.list_resource_templates, lambda page: page.resource_templates)
        )
    if offers.prompts is not None:
        prompts = await _all(client.list_prompts, lambda page: page.prompts)
        found["prompts"] = [
            {
                "name": prompt.name,
                "description": prompt.description or "",
                "arguments": [_argument(argument) for argument in prompt.arguments or ()],
            }
            for prompt in prompts
        ]
    return found


async def _all(ask: Callable[..., Awaitable[_P]], items: Callable[[_P], Sequence[_I]]) -> list[_I]:
    """Follow the cursors to the end; a server that lacks the method has none of it."""
    found: list[_I] = []
    seen: set[str] = set()
    cursor: str | None = None
    while True:
        try:
            page = await ask(cursor=cursor)
        except MCPError as error:
            if error.code == METHOD_NOT_FOUND:
                return found
            raise
        found.extend(items(page))
        cursor = page.next_cursor
        if not cursor or cursor in seen:
            return found
        seen.add(cursor)


def _tool(tool: Tool) -> dict[str, Any]:
    annotations = tool.annotations
    return {
        "name": tool.name,
        "description": tool.description or "",
        "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema,
        "annotations": {} if annotations is None else _json(annotations),
    }


def _argument(argument: PromptArgument) -> dict[str, Any]:
    return {
        "name": argument.name,
        "required": bool(argument.required),
        "description": argument.description or "",
    }


def _plain(items: Sequence[BaseModel]) -> list[dict[str, Any]]:
    return [_json(item) for item in items]


def _json(item: BaseModel) -> dict[str, Any]:
    return item.model_dump(mode="json", by_alias=True, exclude_none=True)
