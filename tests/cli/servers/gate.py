"""An MCP server whose two tools answer when a file is there, and write into another which agent called them.

``look`` may be called again (the server file says so), ``change`` may not.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

_lock = threading.Lock()
_SCHEMA = {
    "type": "object",
    "properties": {"gate": {"type": "string"}, "calls": {"type": "string"}},
    "required": ["gate", "calls"],
}


def send(request: dict[str, Any], result: dict[str, Any]) -> None:
    with _lock:
        sys.stdout.write(
            json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}) + "\n"
        )
        sys.stdout.flush()


def answer_when_open(request: dict[str, Any]) -> None:
    given = request["params"]["arguments"]
    with Path(given["calls"]).open("a") as calls:
        calls.write(f"{os.getppid()}\n")
    pause = threading.Event()
    while not Path(given["gate"]).exists():
        pause.wait(0.02)
    send(request, {"content": [{"type": "text", "text": "through"}]})


def handle(request: dict[str, Any]) -> None:
    method = request.get("method")
    if method == "initialize":
        about = {"name": "gate", "version": "1"}
        capabilities: dict[str, Any] = {"tools": {}}
        version = request["params"]["protocolVersion"]
        send(
            request, {"protocolVersion": version, "capabilities": capabilities, "serverInfo": about}
        )
    elif method == "tools/list":
        send(request, {"tools": [{"name": n, "inputSchema": _SCHEMA} for n in ("look", "change")]})
    elif method == "tools/call":
        threading.Thread(target=answer_when_open, args=(request,), daemon=True).start()
    elif "id" in request:
        error = {"code": -32601, "message": f"no {method}"}
        with _lock:
            sys.stdout.write(
                json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}) + "\n"
            )
            sys.stdout.flush()


for line in sys.stdin:
    handle(json.loads(line))
