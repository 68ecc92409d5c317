"""An MCP server that writes down each execution: ``ledger.py FILE``.

Each call appends one line, ``TOOL KEY``, to the file before anything else, and one to ``FILE.ended`` when it is about
to be answered. ``seconds`` is how long a call takes; calls do not wait for one another. Given a ``gate``, a call does
not end before that file exists. With ``once`` a call hangs the first time that its key is written down; the tool
``die`` ends the server then; ``poison`` ends the agent each time. A call that its client cancelled appends
``cancelled KEY``.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

Message = dict[str, Any]

READS = {"readOnlyHint": True}
TOOLS: dict[str, Message] = {
    "read": READS,
    "write": {},
    "fail": {},
    "refuse": {},
    "sample": {},
    "die": READS,
    "poison": READS,
}
SAMPLING = {"messages": [], "maxTokens": 10}

ledger, ended = (
    os.open(sys.argv[1] + suffix, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for suffix in ("", ".ended")
)
asked: dict[str, Message] = {}
calls: set[asyncio.Task[None]] = set()
keys: dict[Any, str] = {}


def lines() -> list[str]:
    return Path(sys.argv[1]).read_text().splitlines()


def send(message: Message) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request: Message, words: str, *, is_error: bool = False) -> None:
    content = [{"type": "text", "text": words}]
    send({"id": request["id"], "result": {"content": content, "isError": is_error}})


async def call(request: Message) -> None:
    tool, given = request["params"]["name"], request["params"].get("arguments") or {}
    if tool not in TOOLS:
        send({"id": request["id"], "error": {"code": -32602, "message": f"unknown tool {tool}"}})
        return
    key = keys[request["id"]] = str(given.get("key", ""))
    os.write(ledger, f"{tool} {key}\n".encode())
    first = (given.get("once") or tool == "die") and lines().count(f"{tool} {key}") == 1
    if first and tool != "die":
        await asyncio.sleep(3600)
    while "gate" in given and not Path(given["gate"]).exists():
        await asyncio.sleep(0.01)
    await asyncio.sleep(given.get("seconds", 0))
    os.write(ended, f"{tool} {key}\n".encode())
    match tool:
        case "fail":
            answer(request, f"{key} is broken", is_error=True)
        case "refuse":
            send({"id": request["id"], "error": {"code": -32602, "message": f"{key} is refused"}})
        case "sample":
            asked[f"ask-{request['id']}"] = request
            send(
                {
                    "id": f"ask-{request['id']}",
                    "method": "sampling/createMessage",
                    "params": SAMPLING,
                }
            )
        case "die" if first:
            os._exit(3)
        case "poison":
            os.kill(int(os.environ["OMX_AGENT_PROCESS"].partition(":")[0]), signal.SIGKILL)
        case _:
            answer(request, json.dumps({"key": given.get("key"), "value": given.get("value")}))


def greet(request: Message) -> None:
    result = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "ledger", "version": "1"},
    }
    send({"id": request["id"], "result": result})


def list_tools(request: Message) -> None:
    tools = [
        {"name": name, "inputSchema": {"type": "object"}, "annotations": annotations}
        for name, annotations in TOOLS.items()
    ]
    send({"id": request["id"], "result": {"tools": tools}})


def handle(message: Message) -> None:
    match message.get("method"):
        case "initialize":
            greet(message)
        case "tools/list":
            list_tools(message)
        case "tools/call":
            task = asyncio.get_running_loop().create_task(call(message))
            calls.add(task)
            task.add_done_callback(calls.discard)
        case "notifications/cancelled":
            os.write(ledger, f"cancelled {keys.get(message['params']['requestId'])}\n".encode())
        case None if message.get("id") in asked:
            answer(asked.pop(message["id"]), "it was refused", is_error=True)
        case _ if "id" in message and "method" in message:
            send({"id": message["id"], "error": {"code": -32601, "message": "no such method"}})
        case _:
            pass


async def serve() -> None:
    reader = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        handle(json.loads(line))


asyncio.run(serve())
