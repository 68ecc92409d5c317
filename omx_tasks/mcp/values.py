"""An operation's value, made from what a server answered: ``text``, ``structured``, ``content``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from mcp_types import (
    CallToolResult,
    GetPromptResult,
    ReadResourceResult,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel


def of_tool(result: CallToolResult) -> dict[str, Any]:
    """Return the value of a tool's result."""
    text = tool_text(result)
    structured = result.structured_content
    return {
        "text": text,
        "structured": parsed(text) if structured is None else structured,
        "content": raw(result.content),
    }


def of_resource(result: ReadResourceResult) -> dict[str, Any]:
    """Return the value of a resource that was read; binary contents are in ``content`` only."""
    text = _joined(part.text for part in result.contents if isinstance(part, TextResourceContents))
    return {"text": text, "structured": parsed(text), "content": raw(result.contents)}


def of_prompt(result: GetPromptResult) -> dict[str, Any]:
    """Return the value of a prompt; ``content`` holds its messages."""
    blocks = (message.content for message in result.messages)
    text = _joined(block.text for block in blocks if isinstance(block, TextContent))
    return {"text": text, "structured": parsed(text), "content": raw(result.messages)}


def tool_text(result: CallToolResult) -> str:
    """Return the text contents of a tool's result, joined by newlines."""
    return _joined(block.text for block in result.content if isinstance(block, TextContent))


def raw(items: Sequence[BaseModel]) -> list[dict[str, Any]]:
    """Return models as the JSON they were on the wire."""
    return [item.model_dump(mode="json", by_alias=True, exclude_none=True) for item in items]


def parsed(text: str) -> Any:
    """Return ``text`` read as JSON, or None where it is not JSON, NaN and infinity included."""
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError):
        return None


def _joined(texts: Iterable[str]) -> str:
    return "\n".join(texts)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is too large for a number")
    return number


_JSON = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
