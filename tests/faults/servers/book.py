"""An MCP server with an append-only book: ``book.py FILE``.

``write`` appends its key in the middle of the call, so that a call that is cut off may or may not have been done;
``read`` appends nothing. Both answer with their ``value``. A call that is cancelled ends at once.
"""

import asyncio
import json
import os
import sys
from typing import Any

Message = dict[str, Any]

TOOLS = {"write": {}, "read": {"readOnlyHint": True}}

book = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
calls: dict[Any, asyncio.Task[None]] = {}


def send(request: Message, **answer: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}) + "\n")
    sys.stdout.flush()


async def call(request: Message) -> None:
    given = request["params"]["arguments"]
    await asyncio.sleep(given["seconds"] / 2)
    if request["params"]["name"] == "write":
        os.write(book, f"{given['key']}\n".encode())
    await asyncio.sleep(given["seconds"] / 2)
    text = json.dumps({"value": given["value"]})
    send(request, result={"content": [{"type": "text", "text": text}]})


def handle(message: Message) -> None:
    match message.get("method"):
        case "initialize":
            about = {"name": "book", "version": "1"}
            version = message["params"]["protocolVersion"]
            offers = {"capabilities": {"tools": {}}, "serverInfo": about}
            send(message, result={"protocolVersion": version, **offers})
        case "tools/list":
            schema = {"type": "object"}
            tools = [
                {"name": name, "inputSchema": schema, "annotations": said}
                for name, said in TOOLS.items()
            ]
            send(message, result={"tools": tools})
        case "tools/call":
            task = asyncio.get_running_loop().create_task(call(message))
            calls[message["id"]] = task
            task.add_done_callback(lambda _: calls.pop(message["id"], None))
        case "notifications/cancelled":
            if task := calls.get(message["params"]["requestId"]):
                task.cancel()
        case _ if "id" in message:
            send(message, error={"code": -32601, "message": "no such method"})
        case _:
            pass


async def serve() -> None:
    reader = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        handle(json.loads(line))


asyncio.run(serve())
