"""The process that holds shared MCP servers. ``python -m workers.servers SERVER_FILE SOCKET [MAX_BYTES [LOG_FOLDER]]``.

Started by the first agent that needs it (`omx_tasks.mcp.shared`), which waits for this program's end: then the socket
can be connected to, by this user alone. The process that stays is a child of it, in a session of its own, bound to
nobody: it lives for as long as agents are connected, and ends with the last one, however that ended.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

from omx_tasks.deploy.output import redirect
from omx_tasks.logs.begin import begin
from omx_tasks.mcp.program import MAX_MESSAGE
from omx_tasks.mcp.sharer import Sharer

#: Connections that may wait.
BACKLOG = 128


def main(path: str, place: str, max_message: str = str(MAX_MESSAGE), log_dir: str = "") -> None:
    """Bind the socket, then serve it in the background."""
    listening = _bound(place)
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    begin("servers", usual="WARNING")
    redirect(Path(log_dir) / "servers.log" if log_dir else os.devnull, 0o600)
    sharer = Sharer(
        Path(path), dict(os.environ), Path(log_dir) if log_dir else None, int(max_message)
    )
    asyncio.run(sharer.serve(listening, Path(place)))


def _bound(place: str) -> socket.socket:
    """Return the listening socket in the place of one that nobody serves any more; whoever starts us holds the lock."""
    Path(place).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(place)
    finally:
        os.umask(before)
    listening.listen(BACKLOG)
    return listening


if __name__ == "__main__":
    main(*sys.argv[1:])
