"""Become one node of a cluster whose nodes run on several machines, or in several containers.

The process is replaced by the server program, which so gets every signal itself. Its configuration, with the password
in it, comes to it through a pipe: it is in no file and no process list.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from omx_tasks.cluster.binary import find_server
from omx_tasks.cluster.node_config import reachable_config
from omx_tasks.errors import ClusterError

NODE_TIMEOUT_MS = 2000


def become_node(
    folder: Path, host: str, port: int, password: str, server: str | None = None
) -> NoReturn:
    """Run the server program in this process, with its data in ``folder``; others reach it as ``host``.

    Raises ClusterError where there is no program, or no such folder.
    """
    program = find_server(server)
    config = reachable_config(folder.resolve(), host, port, password, NODE_TIMEOUT_MS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reading, writing = os.pipe()
        os.write(writing, config.encode())  # a pipe holds more than this
        os.close(writing)
        os.dup2(reading, 0)
        os.execv(program, [str(program), "-"])  # noqa: S606  # an argument list, and no shell
    except OSError as error:
        raise ClusterError(f"cannot run a node in {folder}: {error}") from error
