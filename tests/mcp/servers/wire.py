"""The least of an MCP server (2025-11-25) over standard input and output, made to misbehave."""

import json
import sys
from collections.abc import Callable
from typing import Any

Message = dict[str, Any]


def send(message: Message) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request: Message, result: Message) -> None:
    send({"id": request["id"], "result": result})


def text(request: Message, words: str, *, is_error: bool = False) -> None:
    answer(request, {"content": [{"type": "text", "text": words}], "isError": is_error})


def refuse(request: Message, code: int, words: str) -> None:
    send({"id": request["id"], "error": {"code": code, "message": words}})


def arguments(request: Message) -> Message:
    return request["params"].get("arguments") or {}


class Server:
    """Answers the handshake and lists; ``tools`` handles calls, ``other`` all else."""

    def __init__(self, tools: dict[str, Callable[[Message], None]], **schemas: Message) -> None:
        self.tools = tools
        self.schemas = schemas
        self.page = 2
        self.on_initialized: Callable[[], None] = lambda: None
        self.other: Callable[[Message], None] = lambda message: None

    def serve(self) -> None:
        for line in sys.stdin:
            self.handle(json.loads(line))

    def handle(self, message: Message) -> None:
        method = message.get("method")
        if method == "initialize":
            answer(
                message,
                {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "wire", "version": "0.1"},
                },
            )
        elif method == "notifications/initialized":
            self.on_initialized()
        elif method == "tools/list":
            self.list(message)
        elif method == "tools/call" and message["params"]["name"] in self.tools:
            self.tools[message["params"]["name"]](message)
        elif method is not None and "id" in message:
            refuse(message, -32601, f"no {method}")
        else:
            self.other(message)

    def list(self, message: Message) -> None:
        begin = int((message.get("params") or {}).get("cursor") or 0)
        names = list(self.tools)[begin : begin + self.page]
        result: Message = {
            "tools": [
                {"name": name, "inputSchema": {"type": "object"}}
                | ({"outputSchema": self.schemas[name]} if name in self.schemas else {})
                for name in names
            ]
        }
        if begin + self.page < len(self.tools):
            result["nextCursor"] = str(begin + self.page)
        answer(message, result)
